//! How jointoken is removed: the commands of docs/operations.md, by the real kubectl and Helm, as they stand there.
//!
//! Run by `cargo xtask test`. They are for the whole cluster, and take the definition of JoinTokens with them: so this is a
//! test program of its own, since one runs after the other, and its tests wait for each other.

#[path = "../marks/marks.rs"]
mod marks;
#[path = "../operator/port.rs"]
mod port;
#[path = "../operator/program.rs"]
#[allow(dead_code, reason = "what other tests need of it")]
mod program;
#[path = "../operator/server.rs"]
#[allow(dead_code, reason = "what other tests need of it")]
mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use program::{jointoken, text};
use server::{Server, Setup, wait_until};

/// The namespaces of JoinTokens.
const EDGES: [&str; 2] = ["removal-blue", "removal-green"];
const CRD: &str = "jointokens.jointoken.io";
/// What has no namespace.
const CLUSTER_WIDE: &str = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";

static ONE_BY_ONE: Mutex<()> = Mutex::new(());

/// The section of the document, and the commands of its blocks.
struct Documented {
    section: String,
    blocks: Vec<Vec<String>>,
}

impl Documented {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let docs = std::fs::read_to_string(path).unwrap();
        let section = docs.split("\n## Removing jointoken\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap().to_owned();
        let blocks = section.split("```sh\n").skip(1).map(|block| {
            let block = block.split("```").next().unwrap();
            let commands = block.lines().map(|line| line.split('#').next().unwrap());
            commands.map(|line| line.trim().to_owned()).collect()
        });
        let blocks = blocks.collect();
        Self { section, blocks }
    }

    /// A command out of a sentence.
    fn inline(&self, begins: &str) -> String {
        let found = self
            .section
            .split('`')
            .find(|part| part.starts_with(begins));
        found.unwrap_or_else(|| panic!("no {begins}")).to_owned()
    }
}

/// The cluster, for one test at a time. When it is dropped the definition is there for whoever comes after.
struct Cluster {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    fn new() -> Self {
        let alone = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        define();
        // What tests have left behind that failed.
        run("jointoken finalizers release --all-namespaces --yes");
        ok("kubectl delete jointokens --all --all-namespaces --timeout=60s");
        for edge in EDGES {
            ok(&format!("kubectl create namespace {edge}"));
        }
        Self {
            folder: tempfile::tempdir().unwrap(),
            _alone: alone,
        }
    }

    fn helm_install(&self) {
        let values = "--create-namespace --set trustDomain=example.internal";
        ok(&format!(
            "helm install jointoken charts/jointoken -n jointoken-system {values}"
        ));
    }

    /// Pods do not run here: a process stands for them, with the same namespace for its keys.
    fn operator(&self) -> Server {
        let (door, metrics, probes) = (port::reserve(), port::reserve(), port::reserve());
        let data = self.folder.path().join("data");
        let arguments = [
            "operator",
            "--data-dir",
            text(&data),
            "--system-namespace",
            "jointoken-system",
            "--trust-domain",
            "example.internal",
            "--listen",
            &format!("127.0.0.1:{door}"),
            "--advertise-url",
            &format!("https://127.0.0.1:{door}"),
            "--metrics-listen",
            &format!("127.0.0.1:{metrics}"),
            "--probe-listen",
            &format!("127.0.0.1:{probes}"),
        ];
        let setup = Setup {
            arguments: arguments.map(str::to_owned).into(),
            environment: vec![("KUBECONFIG".to_owned(), kubeconfig())],
            metrics_port: metrics,
            probe_port: probes,
            log: self.folder.path().join("log"),
            program: None,
        };
        setup.start()
    }

    /// JoinTokens with live tokens, two in each namespace.
    fn join_tokens(&self) {
        let mut all = String::new();
        for (edge, name) in EDGES.iter().flat_map(|edge| [(edge, "n1"), (edge, "n2")]) {
            let metadata = format!("metadata: {{name: {name}, namespace: {edge}}}");
            let kind = "apiVersion: jointoken.io/v1alpha1\nkind: JoinToken";
            write!(all, "{kind}\n{metadata}\nspec: {{}}\n---\n").unwrap();
        }
        let file = self.folder.path().join("tokens.yaml");
        std::fs::write(&file, all).unwrap();
        ok(&format!("kubectl apply -f {}", text(&file)));
        for edge in EDGES {
            ok(&format!(
                "kubectl wait --for=condition=Usable --timeout=60s -n {edge} jointokens --all"
            ));
        }
    }

    /// Nothing of it is left, and nothing waits.
    fn is_clean(&self) {
        for gone in [
            format!("crd {CRD}"),
            "namespace jointoken-system".to_owned(),
        ] {
            fails(&format!("kubectl get {gone}"), "NotFound");
        }
        let left =
            format!("kubectl get {CLUSTER_WIDE} -l app.kubernetes.io/name=jointoken -o name");
        assert_eq!(ok(&left), "");
        for edge in EDGES {
            ok(&format!("kubectl delete namespace {edge}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // For the tests that come after.
            for command in [
                "helm uninstall jointoken -n jointoken-system",
                "jointoken finalizers release --all-namespaces --yes",
                "kubectl delete -k deploy --wait=false",
                &format!(
                    "kubectl delete namespace {} jointoken-system",
                    EDGES.join(" ")
                ),
                &format!("kubectl wait --for=delete --timeout=60s crd/{CRD}"),
            ] {
                run(command);
            }
        }
        define();
    }
}

fn define() {
    for command in [
        "kubectl apply --server-side -f crds",
        "kubectl wait --for=condition=Established --timeout=60s -f crds",
    ] {
        let output = run(command);
        let is_so = output.status.success() || std::thread::panicking();
        assert!(is_so, "{command}: {}", said(&output));
    }
}

fn kubeconfig() -> String {
    variable("JOINTOKEN_TEST_KUBECONFIG")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set, this test needs a Kubernetes API: run `cargo xtask test`")
    })
}

/// Runs a command as it is written, in the source tree. One that does not end is ended.
fn run(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let mut command = match words.next() {
        Some("kubectl") => Command::new(variable("JOINTOKEN_TEST_KUBECTL")),
        Some("helm") => Command::new(variable("JOINTOKEN_TEST_HELM")),
        Some("jointoken") => jointoken(),
        other => panic!("{other:?} is no command that is known here"),
    };
    let mut child = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("KUBECONFIG", kubeconfig())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting the command");
    // What they say fits into the pipe.
    let mut has_ended = || child.try_wait().expect("looking after it").is_some();
    // Namespaces take their time: they are looked at again ever more seldom.
    if !(0..3).any(|_| wait_until(&mut has_ended)) {
        let _ = child.kill();
        println!("{line}: did not end");
    }
    child.wait_with_output().expect("its end")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|said| String::from_utf8_lossy(said).into_owned())
        .concat()
}

/// It succeeds; what it prints.
#[track_caller]
fn ok(line: &str) -> String {
    println!("$ {line}");
    let output = run(line);
    assert!(output.status.success(), "{line}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn fails(line: &str, says: &str) {
    println!("$ {line}");
    let output = run(line);
    assert!(!output.status.success(), "{line}: {}", said(&output));
    assert!(said(&output).contains(says), "{line}: {}", said(&output));
}

#[test]
fn a_helm_release_is_removed_in_the_documented_order() {
    let (cluster, documented) = (Cluster::new(), Documented::read());
    cluster.helm_install();
    let operator = cluster.operator();
    cluster.join_tokens();
    ok(&documented.blocks[0].join(" "));
    assert!(operator.terminate().0.success());
    ok(&documented.inline("helm uninstall"));
    for command in &documented.blocks[1][..2] {
        ok(command);
    }
    cluster.is_clean();
}

#[test]
fn a_kustomization_is_removed_in_the_documented_order() {
    let (cluster, documented) = (Cluster::new(), Documented::read());
    ok("kubectl apply --server-side -k deploy");
    let operator = cluster.operator();
    cluster.join_tokens();
    ok(&documented.blocks[0].join(" "));
    assert!(operator.terminate().0.success());
    ok(&documented.blocks[1][2]);
    cluster.is_clean();
}

#[test]
fn when_the_operator_went_first_what_waits_is_ended_by_it_or_released() {
    let (cluster, documented) = (Cluster::new(), Documented::read());
    cluster.helm_install();
    let operator = cluster.operator();
    cluster.join_tokens();
    operator.kill();
    ok(&documented.inline("helm uninstall"));
    let [blue, green] = EDGES;
    fails(
        &format!("kubectl delete jointoken n1 -n {blue} --timeout=2s"),
        "timed out",
    );
    // It is installed again, on the same volume and Secrets.
    cluster.helm_install();
    let operator = cluster.operator();
    ok(&format!(
        "kubectl wait --for=delete --timeout=60s -n {blue} jointoken/n1"
    ));
    operator.kill();

    // It is gone for good, and everything waits for it.
    ok(&documented.inline("helm uninstall"));
    ok(&format!("kubectl delete namespace {green} --wait=false"));
    fails(
        &format!("{} --timeout=2s", documented.blocks[1][0]),
        "timed out",
    );
    let release = &documented.blocks[2][0];
    fails(release, "give --yes");
    let released = ok(&format!("{release} --yes"));
    for held in [format!("{blue}/n2"), format!("{green}/n1")] {
        assert!(released.contains(&held), "{released}");
    }
    ok(&format!(
        "kubectl wait --for=delete --timeout=60s crd/{CRD}"
    ));
    ok(&format!(
        "kubectl wait --for=delete --timeout=150s namespace/{green}"
    ));
    ok(&format!("kubectl create namespace {green}"));
    ok(&documented.blocks[1][1]);
    cluster.is_clean();
}

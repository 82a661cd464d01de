//! What goes when namespaces, JoinTokens and the operator itself are removed, and in which order.

use std::fs::File;
use std::process::{Command, Output};

use jointoken::controller::FINALIZER;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::DOMAIN;
use super::cluster::{Ground, run, said, variable};
use super::marks;
use super::render::{chart, folder, helm};
use super::scene::{self, admin};

async fn tokens(scene: &scene::Ground, names: &[&str]) {
    for name in names {
        scene.create(name, json!({})).await;
    }
    for name in names {
        scene.wait_for(name, "Usable", "True", "Issued").await;
    }
}

async fn until_gone(scene: &scene::Ground) {
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    scene
        .until("the namespace to go", async || {
            let found = namespaces.get_opt(&scene.namespace).await.unwrap();
            found.is_none()
        })
        .await;
}

/// The namespace controller deletes kind by kind in no order: the Role may go first.
#[tokio::test]
async fn a_watched_namespace_goes_though_its_role_goes_first() {
    let home = Ground::new("home").await;
    let scene = scene::Ground::new("watched-goes").await;
    let release = format!("jointoken-{}", home.namespace);
    let watched = format!("watchNamespaces={{{}}}", scene.namespace);
    let rights: Vec<Value> = chart(&release, &home.namespace, &[DOMAIN, &watched])
        .into_iter()
        .filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1")
        .collect();
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": rights}).to_string();
    // The rights name their namespaces themselves.
    let kubectl = |args: &[&str]| {
        let mut kubectl = Command::new(variable("JOINTOKEN_TEST_KUBECTL"));
        let kubeconfig = variable("JOINTOKEN_TEST_KUBECONFIG");
        kubectl.env("KUBECONFIG", kubeconfig).args(args);
        run(kubectl, &rights)
    };
    let applied = kubectl(&["apply", "-f", "-"]);
    assert!(applied.status.success(), "{}", said(&applied));

    let mut config = admin().await;
    config.auth_info.impersonate = Some(format!(
        "system:serviceaccount:{}:{release}",
        home.namespace
    ));
    let client = Client::try_from(config).unwrap();
    // The Role's rights come a moment later than the binding; a Secret's deletion is the Role's alone.
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(client.clone(), &scene.namespace);
    scene
        .until("the rights", async || {
            let deleted = secrets.delete("nothing", &DeleteParams::default()).await;
            matches!(deleted, Err(kube::Error::Api(status)) if status.is_not_found())
        })
        .await;
    let operator = scene.operator_with(client, |effects| effects);
    tokens(&scene, &["n1", "n2", "n3"]).await;

    let name = format!("{release}-watch");
    let roles: Api<k8s_openapi::api::rbac::v1::RoleBinding> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    roles.delete(&name, &DeleteParams::default()).await.unwrap();
    scene
        .until("the rights to go", async || {
            let deleted = secrets.delete("nothing", &DeleteParams::default()).await;
            matches!(deleted, Err(kube::Error::Api(status)) if status.is_forbidden())
        })
        .await;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    let params = DeleteParams::default();
    namespaces.delete(&scene.namespace, &params).await.unwrap();
    until_gone(&scene).await;
    for name in ["n1", "n2", "n3"] {
        assert!(scene.record(name).phase.is_terminal(), "{name}");
    }
    operator.stop().await;
    let removed = kubectl(&["delete", "--ignore-not-found", "-f", "-"]);
    assert!(removed.status.success(), "{}", said(&removed));
    home.remove().await;
}

fn jointoken(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jointoken"));
    command
        .env("KUBECONFIG", variable("JOINTOKEN_TEST_KUBECONFIG"))
        .args(args);
    let ran = run(command, "");
    marks::check(&said(&ran));
    ran
}

/// The operator went first, and the namespace waits for its finalizers.
#[tokio::test]
async fn what_an_operator_left_behind_is_let_go_of_by_hand() {
    let home = Ground::new("gone-home").await;
    let scene = scene::Ground::new("left").await;
    let operator = scene.operator();
    tokens(&scene, &["n1", "n2"]).await;
    operator.stop().await;
    let others = json!({"metadata": {"finalizers": [FINALIZER, "example.org/others"]}});
    scene.patch("n2", others).await;

    let release = format!("jointoken-{}", home.namespace);
    // Cluster-wide names carry the class, so that other tests may install it at the same time.
    let class = format!("className={}", home.namespace);
    helm(&home, &["install", &release], &[DOMAIN, &class]);
    let at_home = ["--system-namespace", &home.namespace];
    let command = ["finalizers", "release", "--namespace", &scene.namespace];
    let released = |more: &[&str]| jointoken(&[&command[..], &at_home, more].concat());
    let refused = released(&["--yes"]);
    assert_eq!(refused.status.code(), Some(8), "{}", said(&refused));
    let there = format!(
        "the operator is there: StatefulSet {}/{release}",
        home.namespace
    );
    assert!(said(&refused).contains(&there), "{}", said(&refused));
    helm(&home, &["uninstall", &release], &[]);

    // What the API server refuses is told as prose.
    let kubeconfig = std::fs::read_to_string(variable("JOINTOKEN_TEST_KUBECONFIG")).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&kubeconfig).unwrap();
    kubeconfig["users"][0]["user"]["as"] = "nobody".into();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
    let forbidden = released(&["--kubeconfig", file.path().to_str().unwrap()]);
    assert_eq!(forbidden.status.code(), Some(1), "{}", said(&forbidden));
    for says in [
        "cannot be known",
        "user nobody may not list statefulsets.apps",
        "403 Forbidden",
    ] {
        assert!(said(&forbidden).contains(says), "{}", said(&forbidden));
    }

    let unasked = released(&[]);
    assert_eq!(unasked.status.code(), Some(2), "{}", said(&unasked));
    assert!(said(&unasked).contains("give --yes"), "{}", said(&unasked));
    for name in ["n1", "n2"] {
        let now = scene.resources().get(name).await.unwrap();
        assert!(now.finalizers().contains(&FINALIZER.to_owned()));
    }
    let done = released(&["--yes", "--output=json"]);
    assert!(done.status.success(), "{}", said(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let both = ["n1", "n2"].map(|name| format!("{}/{name}", scene.namespace));
    assert_eq!(report["released"], json!(both));
    let finalizers = async |name: &str| {
        let now = scene.resources().get(name).await.unwrap();
        now.finalizers().to_vec()
    };
    assert_eq!(finalizers("n1").await, Vec::<String>::new());
    assert_eq!(finalizers("n2").await, ["example.org/others"]);
    // It is done, though nobody could be told.
    let held = json!({"metadata": {"finalizers": [FINALIZER]}});
    scene.patch("n1", held).await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut untold = Command::new(env!("CARGO_BIN_EXE_jointoken"));
    untold.args(command).args(at_home).arg("--yes").stdout(full);
    untold.env("KUBECONFIG", variable("JOINTOKEN_TEST_KUBECONFIG"));
    assert_eq!(untold.status().unwrap().code(), Some(0));
    assert_eq!(finalizers("n1").await, Vec::<String>::new());
    let nothing = released(&["--yes"]);
    assert!(
        said(&nothing).contains("there was nothing to let go of"),
        "{}",
        said(&nothing)
    );
    scene.remove().await;
    home.remove().await;
}

/// docs/operations.md: the commands, in their order, and no others.
#[tokio::test]
async fn the_documented_removal_leaves_nothing_that_waits() {
    let docs = folder("docs/operations.md");
    let section = docs.split("## Removing jointoken").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let delete = "kubectl delete jointokens --all --all-namespaces";
    assert!(section.contains(delete), "{section}");
    assert!(folder("deploy/kustomization.yaml").contains(delete));

    let scene = scene::Ground::new("removal").await;
    let operator = scene.operator();
    tokens(&scene, &["n1", "n2", "n3"]).await;
    // Of this namespace alone, since other tests have theirs.
    let mine = Ground {
        client: scene.client.clone(),
        namespace: scene.namespace.clone(),
    };
    let args: Vec<&str> = delete.split(' ').skip(1).collect();
    let args: Vec<&str> = args
        .into_iter()
        .filter(|arg| *arg != "--all-namespaces")
        .collect();
    let namespace = scene.namespace.clone();
    let deleted = tokio::task::spawn_blocking(move || mine.kubectl(&args, "")).await;
    let deleted = deleted.unwrap();
    assert!(deleted.status.success(), "{}", said(&deleted));
    let left = scene
        .resources()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(left.items.len(), 0);
    operator.stop().await;
    // Nothing holds the namespace any more, though the operator is gone.
    let config_maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &namespace);
    config_maps
        .create(
            &PostParams::default(),
            &ConfigMap {
                metadata: kube::core::ObjectMeta {
                    name: Some("something".to_owned()),
                    ..Default::default()
                },
                ..ConfigMap::default()
            },
        )
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    let params = DeleteParams::default();
    namespaces.delete(&namespace, &params).await.unwrap();
    until_gone(&scene).await;
}

//! The same on the API server: applied, checked by its admission, removed.

use serde_json::{Value, json};

use super::DOMAIN;
use super::cluster::{Ground, said};
use super::render::{self, chart, kustomization};

#[tokio::test]
async fn the_api_server_takes_the_chart() {
    let ground = Ground::new("chart").await;
    enforce_pod_security(&ground);
    let watched = format!("watchNamespaces={{{}}}", ground.namespace);
    // Cluster-wide names carry the namespace's, so that other tests may install it at the same time.
    let release = format!("jointoken-{}", ground.namespace);
    let class = format!("className={}", ground.namespace);
    for values in [
        vec![DOMAIN, class.as_str()],
        vec![DOMAIN, watched.as_str(), "service.type=NodePort"],
    ] {
        let objects = chart(&release, &ground.namespace, &values);
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let dry_run = [args.as_slice(), &["--dry-run=server"]].concat();
        assert_taken(&ground, &dry_run, &list(&objects));
        // The CRD is there already, and other tests rely on it.
        let mut mine = objects;
        mine.retain(|object| object["kind"] != "CustomResourceDefinition");
        assert_taken(&ground, &args, &list(&mine));
        let delete = ["delete", "--wait=false", "-f", "-"];
        assert_taken(&ground, &delete, &list(&mine));
    }
    ground.remove().await;
}

#[tokio::test]
async fn the_api_server_takes_the_kustomization_and_the_samples() {
    let ground = Ground::new("deploy").await;
    enforce_pod_security(&ground);
    let objects: Vec<Value> = kustomization()
        .into_iter()
        .map(|object| render::move_to(object, "jointoken-system", &ground.namespace))
        .filter(|object| object["kind"] != "Namespace")
        .collect();
    let args = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
        "-f",
        "-",
    ];
    assert_taken(&ground, &args, &list(&objects));

    let samples = render::path("deploy/samples");
    assert_taken(&ground, &["apply", "-f", &samples], "");
    let names = ground.kubectl(&["get", "jointokens", "-o", "name"], "");
    assert_eq!(said(&names).lines().count(), 4, "{}", said(&names));
    ground.remove().await;
}

#[tokio::test]
async fn helm_installs_upgrades_and_removes() {
    let ground = Ground::new("helm").await;
    let release = format!("jointoken-{}", ground.namespace);
    let class = format!("className={}", ground.namespace);
    let notes = render::helm(&ground, &["install", &release], &[DOMAIN, &class]);
    assert!(
        notes.contains("its trust domain is example.internal, for good"),
        "{notes}"
    );
    let notes = render::helm(
        &ground,
        &["upgrade", &release],
        &[DOMAIN, &class, "service.type=NodePort"],
    );
    // A second release for the same JoinTokens, whatever it is called and wherever it is.
    let other = Ground::new("helm-too").await;
    let second = format!("jointoken-{}", other.namespace);
    let refused = render::helm_refuses(&other, &["install", &second], &[DOMAIN, &class]);
    assert!(
        refused.contains("cannot be imported into the current release"),
        "{refused}"
    );
    let class_too = format!("className={}", other.namespace);
    render::helm(&other, &["install", &second], &[DOMAIN, &class_too]);
    render::helm(&other, &["uninstall", &second], &[]);
    other.remove().await;
    assert!(!notes.contains("and service.type"), "{notes}");
    let set = ground.kubectl(
        &[
            "get",
            "statefulset",
            &release,
            "-o",
            "jsonpath={.spec.replicas}",
        ],
        "",
    );
    assert_eq!(said(&set), "3");
    render::helm(&ground, &["uninstall", &release], &[]);
    let left = ground.kubectl(
        &[
            "get",
            "statefulset,role,serviceaccount",
            "-l",
            "app.kubernetes.io/name=jointoken",
            "-o",
            "name",
        ],
        "",
    );
    assert_eq!(said(&left).trim(), "");
    ground.remove().await;
}

/// The namespace as `deploy/namespace.yaml` has it: a pod that asks for too much is refused with a
/// warning at the StatefulSet already.
fn enforce_pod_security(ground: &Ground) {
    let level = "pod-security.kubernetes.io/warn=restricted";
    let labelled = ground.kubectl(&["label", "namespace", &ground.namespace, level], "");
    assert!(labelled.status.success(), "{}", said(&labelled));
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// The API server takes it, and admission has nothing to say against it.
fn assert_taken(ground: &Ground, args: &[&str], input: &str) {
    let output = ground.kubectl(args, input);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(!warnings.contains("violate"), "{args:?}: {warnings}");
}

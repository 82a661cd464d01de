//! The same on the API server: applied, checked by its admission, removed.

use std::time::{Duration, Instant};

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

#[tokio::test]
async fn an_even_number_of_replicas_is_refused() {
    let ground = Ground::new("even").await;
    let release = format!("jointoken-{}", ground.namespace);
    let class = format!("className={}", ground.namespace);
    render::helm(&ground, &["install", &release], &[DOMAIN, &class]);
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        ground.kubectl(&["scale", "statefulset", &release, &replicas], "")
    };
    // A policy is in force a moment after it is there.
    let deadline = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        let answer = scale("4");
        if !answer.status.success() {
            break said(&answer);
        }
        assert!(Instant::now() < deadline, "4 replicas are taken");
        assert!(scale("3").status.success());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(
        refused.contains("runs with 1, 3 or 5 replicas"),
        "{refused}"
    );
    for (replicas, is_taken) in [
        ("2", false),
        ("7", false),
        ("5", true),
        ("1", true),
        ("0", true),
    ] {
        let answer = scale(replicas);
        assert_eq!(
            answer.status.success(),
            is_taken,
            "{replicas}: {}",
            said(&answer)
        );
    }
    let patch = |spec: &str| {
        let args = ["patch", "statefulset", &release, "--type=merge", "-p", spec];
        ground.kubectl(&args, "")
    };
    assert!(!patch(r#"{"spec":{"replicas":4}}"#).status.success());
    assert!(
        patch(r#"{"metadata":{"labels":{"team":"edge"}}}"#)
            .status
            .success()
    );
    // Others' StatefulSets are none of its business.
    let other = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "other"},
        "spec": {
            "replicas": 4, "serviceName": "other", "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "c", "image": "c"}]},
            },
        },
    });
    let created = ground.kubectl(&["create", "-f", "-"], &other.to_string());
    assert!(created.status.success(), "{}", said(&created));
    render::helm(&ground, &["uninstall", &release], &[]);
    ground.remove().await;
}

#[tokio::test]
async fn volumes_that_are_to_grow_are_told_how() {
    let ground = Ground::new("grow").await;
    let release = format!("jointoken-{}", ground.namespace);
    let class = format!("className={}", ground.namespace);
    render::helm(&ground, &["install", &release], &[DOMAIN, &class]);
    let upgrade = ["upgrade", &release];
    for (value, complaint) in [
        ("persistence.size=5Gi", "has volumes of 1Gi"),
        ("persistence.storageClassName=fast", "class \"\""),
        ("persistence.labels.team=edge", "exclude-from-backup"),
    ] {
        let refused = render::helm_refuses(&ground, &upgrade, &[DOMAIN, &class, value]);
        assert!(refused.contains(complaint), "{refused}");
        assert!(refused.contains("--cascade=orphan"), "{refused}");
    }
    // The same size in other words.
    let same = "persistence.size=1024Mi";
    render::helm(&ground, &upgrade, &[DOMAIN, &class, same]);
    let readme = render::folder("charts/jointoken/README.md");
    assert!(readme.contains("### Growing a volume"), "{readme}");
    let orphan = ["delete", "statefulset", &release, "--cascade=orphan"];
    let deleted = ground.kubectl(&orphan, "");
    assert!(deleted.status.success(), "{}", said(&deleted));
    let more = "persistence.size=5Gi";
    render::helm(&ground, &upgrade, &[DOMAIN, &class, more]);
    render::helm(&ground, &["uninstall", &release], &[]);
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

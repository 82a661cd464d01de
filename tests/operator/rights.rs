//! The operator as it is deployed: with the ServiceAccount of `deploy/`, its token, and no other right.

use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{run, said, variable};
use crate::place::Place;
use crate::port;
use crate::program::Machine;
use crate::replicas::apply_stateful_set;
use crate::server::Setup;

const DEPLOYED: &str = "jointoken-system";

/// ServiceAccount, roles and bindings of `deploy/`, moved to another namespace; what is cluster-wide has its name.
pub fn rights(namespace: &str) -> Value {
    let mut kustomize = Command::new(variable("JOINTOKEN_TEST_KUBECTL"));
    kustomize.args(["kustomize", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy")]);
    let output = run(kustomize, "");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.replace(DEPLOYED, namespace);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut items = Vec::new();
    for mut object in objects {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind.starts_with("ClusterRole") {
            let name = format!("jointoken-{namespace}");
            object["metadata"]["name"] = name.as_str().into();
            if kind == "ClusterRoleBinding" {
                object["roleRef"]["name"] = name.into();
            }
        } else if !kind.starts_with("Role") && kind != "ServiceAccount" {
            continue;
        }
        items.push(object);
    }
    // Two roles, two bindings, one account: a right that is not found here would be missed below.
    assert_eq!(items.len(), 5);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The operator started with the token of that account.
pub fn deployed(place: &Place) -> Setup {
    let token = place
        .system
        .kubectl(&["create", "token", "jointoken", "--duration=1h"], "");
    assert!(token.status.success(), "{}", said(&token));
    let token = String::from_utf8(token.stdout).unwrap();
    let config = place
        .system
        .kubectl(&["config", "view", "--raw", "--minify", "-o", "json"], "");
    let mut config: Value = serde_json::from_slice(&config.stdout).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = place.path("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    // As one of a group that is as large as its StatefulSet.
    let peers = format!("127.0.0.1:{}", port::reserve());
    let flags =
        ["--peer-address", "--peer-listen", "--peers"].map(|flag| format!("{flag}={peers}"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut setup = place.setup_with(&[&flags[..], &["--stateful-set=jointoken"]].concat());
    let path = path.display().to_string();
    setup.environment = vec![("KUBECONFIG".to_owned(), path)];
    setup
}

/// The API server learns of changed rights a moment after they are stored.
pub fn until_it_may_list(place: &Place) {
    let account = format!(
        "--as=system:serviceaccount:{}:jointoken",
        place.system.namespace
    );
    let may = [
        "auth",
        "can-i",
        "list",
        "jointokens.jointoken.io",
        "-A",
        &account,
    ];
    assert!(crate::server::wait_until(|| {
        place.system.kubectl(&may, "").status.success()
    }));
}

pub fn remove(place: &Place, rights: &str) {
    let removed = place
        .system
        .kubectl(&["delete", "--wait=false", "-f", "-"], rights);
    assert!(removed.status.success(), "{}", said(&removed));
}

#[tokio::test]
async fn with_the_rights_of_the_deployment_it_does_all_that_it_has_to() {
    let place = Place::new("rights").await;
    let rights = rights(&place.system.namespace).to_string();
    let setup = {
        // Without them it says which are missing, and makes nothing.
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jointoken"},
        });
        let applied = place
            .system
            .kubectl(&["apply", "-f", "-"], &account.to_string());
        assert!(applied.status.success(), "{}", said(&applied));
        let setup = deployed(&place);
        setup
            .run()
            .fails(1, &["JoinTokens cannot be listed", "deploy/rbac.yaml"]);
        assert!(!place.data().join("identity").exists());
        setup
    };
    let applied = place.system.kubectl(&["apply", "-f", "-"], &rights);
    assert!(applied.status.success(), "{}", said(&applied));
    until_it_may_list(&place);

    let operator = setup.start();
    operator.wait_for_log("there is no such StatefulSet");
    apply_stateful_set(&place, 1);
    operator.wait_for_log("the StatefulSet has another number of replicas");
    let token = place.issue("edge-1", json!({})).await;
    Machine::new().join(&token).ok();
    place.wait_for_phase("edge-1", "Consumed").await;
    Machine::new().join(&token).fails(5, &["used"]);
    place
        .wait_for("edge-1", "Contested", "True", "UsedByAnotherKey")
        .await;
    place.issue("edge-2", json!({})).await;
    place.patch("edge-2", json!({"revoked": true})).await;
    place.wait_for("edge-2", "Ready", "True", "Revoked").await;
    place.issue("edge-3", json!({})).await;
    place.delete("edge-3").await;
    place.delete("edge-1").await;
    place.create("edge-1", json!({})).await;
    place
        .wait_for("edge-1", "Adopted", "True", "AdoptedConsumed")
        .await;
    place
        .wait_for_events("edge-1", &["Issued", "Admitted", "Contested", "Adopted"])
        .await;
    let log = operator.log();
    assert!(operator.terminate().0.success());
    // Started again, and its Secrets looked at.
    let operator = setup.start();
    place.issue("edge-4", json!({})).await;
    for log in [log, operator.log()] {
        let denied = log
            .lines()
            .find(|line| line.to_lowercase().contains("forbidden"));
        assert_eq!(denied, None);
    }
    assert!(operator.terminate().0.success());
    remove(&place, &rights);
    place.remove().await;
}

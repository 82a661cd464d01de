//! A status that tells of an epoch to which no store has come.

use std::process::Command;

use jointoken::api::JoinToken;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::restoring::Lost;
use super::*;

/// The last but one that there can be: a store above it would be the last.
const EDITED: u64 = (1 << 53) - 2;

/// A JoinToken of the namespace, whose status somebody has edited.
async fn edit(replica: &Replica) {
    let namespace = &replica.ground.namespace;
    let tokens: Api<JoinToken> = Api::namespaced(replica.ground.client.clone(), namespace);
    let token = json!({
        "apiVersion": "jointokens.jointoken.io/v1alpha1", "kind": "JoinToken",
        "metadata": {"name": "n1"}, "spec": {},
    });
    let token: JoinToken = serde_json::from_value(token).unwrap();
    let created = tokens.create(&PostParams::default(), &token).await;
    created.unwrap();
    let edited = Patch::Merge(json!({"status": {"storeEpoch": EDITED}}));
    let params = PatchParams::default();
    tokens.patch_status("n1", &params, &edited).await.unwrap();
}

/// Runs the program on the cluster, and returns what it said.
fn run(replica: &Replica, arguments: &[&str]) -> String {
    let namespace = &*replica.ground.namespace;
    let mut command = Command::new(env!("CARGO_BIN_EXE_jointoken"));
    command
        .env("KUBECONFIG", cluster::variable("JOINTOKEN_TEST_KUBECONFIG"))
        .args(arguments)
        .args(["--system-namespace", namespace, "--namespace", namespace])
        .arg("--yes");
    let output = cluster::run(command, "");
    let said = cluster::said(&output);
    assert!(output.status.success(), "{said}");
    marks::check(&said);
    said
}

/// It once had the next store take the last epoch that there is, after which none could be restored or founded any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_status_neither_uses_up_the_epochs_nor_stops_a_restore() {
    let lost = Lost::new("edited").await;
    let replica = &lost.replica;
    edit(replica).await;
    let named = format!(
        "JoinToken {}/n1 says storeEpoch {EDITED}, and nothing else tells of an epoch above",
        replica.ground.namespace
    );
    let path = |name: &str| lost.folder.path().join(name).display().to_string();
    let snapshot = path("snapshot");
    std::fs::write(&snapshot, lost.backup.encode()).unwrap();

    let restored = path("restored");
    let said = run(
        replica,
        &[
            "store",
            "snapshot",
            "restore",
            &snapshot,
            "--data-dir",
            &restored,
        ],
    );
    assert!(said.contains(&named), "{said}");
    assert!(said.contains(&format!("--epoch-above {EDITED}")), "{said}");
    let (store_id, epoch) = replica.mark().await;
    assert_eq!(epoch, "2");

    let found = |lost: &str, name: &str, above: &str| {
        let arguments = ["store", "found", "--trust-domain", "prod.example.com"];
        let more = ["--replace-lost", lost, "--data-dir", &path(name)];
        let above = ["--epoch-above", above];
        run(replica, &[&arguments[..], &more[..], &above[..]].concat())
    };
    let said = found(&store_id, "founded", "0");
    assert!(said.contains(&named), "{said}");
    let (store_id, epoch) = replica.mark().await;
    assert_eq!(epoch, "3");

    // What an administrator says is believed.
    let said = found(&store_id, "insisted", &EDITED.to_string());
    assert!(!said.contains(&named), "{said}");
    assert_eq!(replica.mark().await.1, (EDITED + 1).to_string());
    lost.replica.ground.remove().await;
}

//! Two JoinTokens of one namespace that name the same machine.

use serde_json::json;

use crate::ground::Ground;

/// Two machines were admitted under the same names, and nothing said so.
#[tokio::test]
async fn two_that_name_one_machine_are_told_of() {
    let ground = Ground::new("same-node").await;
    let operator = ground.operator();
    ground.create("n1", json!({"nodeName": "edge-7"})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.create("n2", json!({"nodeName": "edge-7"})).await;
    ground.create("n3", json!({"nodeName": "edge-8"})).await;
    let reasons = ground.event_reasons("n2", 2).await;
    assert_eq!(reasons, ["Issued", "NodeNameShared"]);
    let events = ground.events("n2", 2).await;
    let note = events[1].note.clone().unwrap_or_default();
    assert!(
        note.contains("JoinToken n1") && note.contains("edge-7"),
        "{note}"
    );
    // Both may be used all the same: a machine is replaced in this way.
    ground.admit("n1", 1).await;
    ground.admit("n2", 2).await;
    ground.wait_for_phase("n2", "Consumed").await;
    operator.stop().await;
    assert_eq!(ground.event_reasons("n3", 1).await, ["Issued"]);
    ground.remove().await;
}

//! Deleting and re-creating a resource never issues a token silently.

use jointoken::lifecycle::Phase as StorePhase;
use serde_json::json;

use crate::ground::{Ground, condition};

#[tokio::test]
async fn a_resource_created_anew_after_use_adopts_and_says_what_to_do() {
    let ground = Ground::new("adopt").await;
    let operator = ground.operator();
    let first = ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.admit("n1", 5).await;
    ground.wait_for_phase("n1", "Consumed").await;
    ground.delete("n1").await;
    ground.wait_gone(&first).await;

    ground.create("n1", json!({})).await;
    let adopted = ground
        .wait_for("n1", "Adopted", "True", "AdoptedConsumed")
        .await;
    let (_, _, message) = condition(&adopted, "Adopted").unwrap();
    assert!(message.contains("revision 1 was used at 20"), "{message}");
    let patch = format!(
        "kubectl -n {} patch jointoken n1 --type=merge -p '{{\"spec\":{{\"revision\":2}}}}'",
        ground.namespace
    );
    assert!(message.contains(&patch), "{message}");
    assert_eq!(condition(&adopted, "Succeeded").unwrap().0, "True");
    assert_eq!(ground.secret_data("n1").await, None);
    assert_eq!(ground.entry("n1").unwrap().reissue, 0);

    // What it says to do works, and the condition goes.
    ground.patch("n1", json!({"spec": {"revision": 2}})).await;
    let issued = ground
        .wait("n1", "issued at revision 2", |_, status| {
            status.revision == Some(2) && status.secret_name.is_some()
        })
        .await;
    assert_eq!(condition(&issued, "Adopted"), None);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_live_issuance_is_taken_over_with_its_token() {
    let ground = Ground::new("adopt-live").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    let issued = ground.wait_for_phase("n1", "Issued").await;
    let token = ground.secret_data("n1").await.unwrap()["token"].clone();
    operator.stop().await;
    // Somebody tears the finalizer off, and the resource vanishes without the operator's knowing.
    ground
        .patch("n1", json!({"metadata": {"finalizers": null}}))
        .await;
    ground.delete("n1").await;
    ground.wait_gone(&issued).await;

    ground.create("n1", json!({})).await;
    let operator = ground.operator();
    let adopted = ground
        .wait("n1", "adopted, with finalizer", |resource, _| {
            condition(resource, "Adopted").is_some()
                && resource
                    .metadata
                    .finalizers
                    .as_ref()
                    .is_some_and(|f| !f.is_empty())
        })
        .await;
    assert_eq!(condition(&adopted, "Adopted").unwrap().1, "AdoptedLive");
    assert_eq!(
        adopted.status.unwrap().token_id,
        issued.status.unwrap().token_id
    );
    assert_eq!(ground.secret_data("n1").await.unwrap()["token"], token);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn other_frozen_fields_under_a_used_revision_stall() {
    let ground = Ground::new("differs").await;
    let operator = ground.operator();
    let first = ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.admit("n1", 5).await;
    ground.wait_for_phase("n1", "Consumed").await;
    ground.delete("n1").await;
    ground.wait_gone(&first).await;

    ground
        .create("n1", json!({"nodeName": "somebody-else"}))
        .await;
    let stalled = ground
        .wait_for("n1", "Stalled", "True", "SpecDiffers")
        .await;
    assert_eq!(condition(&stalled, "Ready").unwrap().0, "False");
    assert_eq!(condition(&stalled, "Succeeded").unwrap().0, "False");
    let (_, _, message) = condition(&stalled, "Stalled").unwrap();
    assert!(
        message.contains("delete this resource and apply it with what was registered")
            && message.contains("\"revision\":2"),
        "{message}"
    );
    assert_eq!(ground.entry("n1").unwrap().phase, StorePhase::Consumed);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_name_that_its_namespace_may_not_use_is_not_issued() {
    let mut ground = Ground::new("names").await;
    let pattern = "edge-*".parse().unwrap();
    ground.config.node_names = [(ground.namespace.clone(), pattern)].into();
    let operator = ground.operator();
    ground.create("db-1", json!({})).await;
    ground.create("edge-1", json!({})).await;
    ground.wait_for_phase("edge-1", "Issued").await;
    let stalled = ground
        .wait_for("db-1", "Stalled", "True", "NameNotAllowed")
        .await;
    let (_, _, message) = condition(&stalled, "Stalled").unwrap();
    assert!(
        message.contains("edge-*") && message.contains("db-1"),
        "{message}"
    );
    assert_eq!(ground.entry("db-1"), None);
    assert_eq!(ground.secret_data("db-1").await, None);
    operator.stop().await;
    ground.remove().await;
}

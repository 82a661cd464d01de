//! One token after the other for the same resource.

use jointoken::api::Phase;
use jointoken::lifecycle::Reason;
use serde_json::json;

use crate::ground::{Ground, MINUTE_MS, condition, conditions};

#[tokio::test]
async fn raising_the_revision_issues_another_token() {
    let ground = Ground::new("revision").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.event_reasons("n1", 1).await;
    let first = ground.record("n1");
    ground
        .patch(
            "n1",
            json!({"spec": {"revision": 2, "nodeName": "other", "secretName": "moved-join-token"}}),
        )
        .await;
    let second = ground
        .wait("n1", "revision 2", |_, status| {
            status.revision == Some(2) && status.phase == Some(Phase::Issued)
        })
        .await;
    let status = second.status.unwrap();
    assert_ne!(status.token_id, Some(first.token_id.to_string()));
    assert_eq!(status.joiner.unwrap().node_name.as_deref(), Some("other"));
    assert_eq!(status.secret_name.as_deref(), Some("moved-join-token"));
    ground.wait_secret_gone("n1-join-token").await;
    let first = ground.store.record(&first.token_id).unwrap();
    assert_eq!(first.aborted, Some(Reason::Superseded));
    // Each with its own text, however soon after the other.
    let told = ground.events("n1", 3).await;
    let told = told.iter().map(|event| {
        let note = event.note.as_deref().unwrap_or_default();
        let words: Vec<&str> = note.split(' ').take(6).collect();
        format!(
            "{}: {}",
            event.reason.as_deref().unwrap_or_default(),
            words.join(" ")
        )
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "Issued: the token is in the Secret",
            "Aborted: revision 1: a later token took",
            "Issued: the token is in the Secret",
        ]
    );

    // Back to a lower one: accepted, ignored, said.
    ground.patch("n1", json!({"spec": {"revision": 1}})).await;
    let low = ground
        .wait_for("n1", "Ready", "True", "RevisionTooLow")
        .await;
    let (_, _, message) = condition(&low, "Ready").unwrap();
    assert!(message.contains("lower than 2"), "{message}");
    let status = low.status.clone().unwrap();
    assert_eq!(
        (status.revision, status.phase),
        (Some(2), Some(Phase::Issued))
    );
    assert_eq!(status.secret_name.as_deref(), Some("moved-join-token"));
    // And what is in force can still be revoked from there.
    ground.patch("n1", json!({"spec": {"revoked": true}})).await;
    ground.wait_for_phase("n1", "Aborted").await;
    ground.wait_secret_gone("moved-join-token").await;
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn an_unused_token_is_issued_again_if_asked() {
    let ground = Ground::new("reissue").await;
    let operator = ground.operator();
    ground
        .create(
            "n1",
            json!({"ttlSeconds": 60, "reissuePolicy": "WhenUnused"}),
        )
        .await;
    ground.wait_for_phase("n1", "Issued").await;
    let first = ground.record("n1").token_id;

    ground.pass(MINUTE_MS).await;
    let delayed = ground
        .wait_for("n1", "Ready", "True", "ReissueDelayed")
        .await;
    assert_eq!(delayed.status.unwrap().phase, Some(Phase::Expired));
    ground.pass(9 * MINUTE_MS).await;
    ground.poke("n1").await;
    let again = ground
        .wait("n1", "issued again", |_, status| {
            status.reissues == Some(1) && status.phase == Some(Phase::Issued)
        })
        .await;
    assert_ne!(
        again.status.as_ref().unwrap().token_id,
        Some(first.to_string())
    );
    assert_eq!(
        conditions(&again),
        [
            "Ready=True/Issued",
            "Succeeded=Unknown/Issued",
            "Usable=True/Issued"
        ]
    );
    assert_eq!(
        ground.verified_token("n1").await.token_id,
        ground.record("n1").token_id
    );

    // A used one never is.
    ground.admit("n1", 5).await;
    ground.wait_for_phase("n1", "Consumed").await;
    ground.pass(60 * MINUTE_MS).await;
    ground.poke("n1").await;
    operator.stop().await;
    assert_eq!(ground.entry("n1").unwrap().reissue, 1);
    ground.remove().await;
}

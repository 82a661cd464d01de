//! The Secret of a token: there while it lives, and never in another's place.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::ground::{Ground, condition};

#[tokio::test]
async fn somebody_elses_secret_is_never_touched() {
    let ground = Ground::new("conflict").await;
    let theirs: Secret = serde_json::from_value(json!({
        "metadata": { "name": "n1-join-token" }, "stringData": { "password": "theirs" },
    }))
    .unwrap();
    let theirs = ground
        .secrets()
        .create(&PostParams::default(), &theirs)
        .await
        .unwrap();
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    let stalled = ground
        .wait_for("n1", "Stalled", "True", "SecretConflict")
        .await;
    let (_, _, message) = condition(&stalled, "Ready").unwrap();
    assert!(
        message.contains("n1-join-token") && message.contains("delete"),
        "{message}"
    );
    let now = ground.secrets().get("n1-join-token").await.unwrap();
    assert_eq!(
        now.metadata.resource_version,
        theirs.metadata.resource_version
    );
    // A token whose time runs while nobody can have it would be of no use.
    assert_eq!(ground.entry("n1"), None);

    ground
        .secrets()
        .delete("n1-join-token", &DeleteParams::default())
        .await
        .unwrap();
    ground.poke("n1").await;
    let issued = ground.wait_for_phase("n1", "Issued").await;
    assert_eq!(condition(&issued, "Stalled"), None);
    assert_eq!(
        ground.verified_token("n1").await.token_id,
        ground.record("n1").token_id
    );
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_secret_of_another_join_token_is_named_as_such() {
    let ground = Ground::new("shared").await;
    let operator = ground.operator();
    let spec = json!({"secretName": "shared-join-token"});
    ground.create("n1", spec.clone()).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.create("n2", spec).await;
    let stalled = ground
        .wait_for("n2", "Stalled", "True", "SecretConflict")
        .await;
    let (_, _, message) = condition(&stalled, "Stalled").unwrap();
    assert!(message.contains("belongs to JoinToken n1"), "{message}");
    ground
        .patch(
            "n2",
            json!({"spec": {"revision": 2, "secretName": "n2-join-token"}}),
        )
        .await;
    ground.wait_for_phase("n2", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn the_secret_of_a_live_token_is_restored_as_it_was_and_a_dead_ones_never() {
    let ground = Ground::new("restore").await;
    let operator = ground.operator();
    let labels = json!({"metadata": {"labels": {"team": "edge"}}});
    ground.create("n1", json!({})).await;
    ground.patch("n1", labels).await;
    ground.wait_for_phase("n1", "Issued").await;
    let first = ground.secrets().get("n1-join-token").await.unwrap();
    assert_eq!(first.immutable, Some(true));
    assert_eq!(first.labels().get("team"), None);
    assert_eq!(first.owner_references().len(), 1);

    ground
        .secrets()
        .delete("n1-join-token", &DeleteParams::default())
        .await
        .unwrap();
    ground.poke("n1").await;
    let reasons = ground.event_reasons("n1", 2).await;
    assert_eq!(reasons, ["Issued", "SecretRestored"]);
    let second = ground.secrets().get("n1-join-token").await.unwrap();
    assert_ne!(second.uid(), first.uid());
    assert_eq!(second.data, first.data);

    ground.admit("n1", 5).await;
    ground.wait_for_phase("n1", "Consumed").await;
    ground.wait_secret_gone("n1-join-token").await;
    ground.poke("n1").await;
    operator.stop().await;
    assert_eq!(ground.secret_data("n1").await, None);
    ground.remove().await;
}

#[tokio::test]
async fn a_new_address_of_the_door_re_renders_the_same_token() {
    let mut ground = Ground::new("rerender").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    let before = ground.secret_data("n1").await.unwrap();
    let token_id = ground.verified_token("n1").await.token_id;
    operator.stop().await;

    ground.minting.delivery.urls = vec![
        "https://new.example:8443".to_owned(),
        "https://other.example".to_owned(),
    ];
    let operator = ground.operator();
    let condition = |secret: Option<&Secret>| {
        secret
            .and_then(|secret| secret.data.as_ref())
            .is_some_and(|data| data["url"].0 == b"https://new.example:8443\nhttps://other.example")
    };
    kube::runtime::wait::await_condition(ground.secrets(), "n1-join-token", condition)
        .await
        .unwrap();
    let after = ground.secret_data("n1").await.unwrap();
    assert_ne!(after["token"], before["token"]);
    assert_eq!(ground.verified_token("n1").await.token_id, token_id);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_kept_secret_stays_after_use() {
    let ground = Ground::new("keep").await;
    let operator = ground.operator();
    ground
        .create("n1", json!({"secretRetention": "Keep"}))
        .await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.admit("n1", 5).await;
    let used = ground.wait_for_phase("n1", "Consumed").await;
    operator.stop().await;
    assert_eq!(
        used.status.unwrap().secret_name.as_deref(),
        Some("n1-join-token")
    );
    assert!(ground.secret_data("n1").await.is_some());
    ground.remove().await;
}

/// A key has vanished: what is there stays, nothing is rendered, and the status says why.
#[tokio::test]
async fn while_the_stores_keys_are_not_in_order_no_secret_is_made() {
    let ground = Ground::new("amiss").await;
    let in_order = tokio::sync::watch::Sender::new(true);
    let operator = ground.run(ground.client.clone(), |operator| {
        operator.with_keys_in_order(in_order.subscribe())
    });
    ground.create("there", json!({})).await;
    ground.create("gone", json!({})).await;
    ground.wait_for_phase("there", "Issued").await;
    ground.wait_for_phase("gone", "Issued").await;
    in_order.send_replace(false);
    let params = DeleteParams::default();
    ground
        .secrets()
        .delete("gone-join-token", &params)
        .await
        .unwrap();
    ground.poke("there").await;
    ground.poke("gone").await;
    let stalled = ground
        .wait_for("gone", "Stalled", "True", "KeyUnavailable")
        .await;
    let (_, _, message) = condition(&stalled, "Stalled").unwrap();
    assert!(message.contains("the log of its operator"), "{message}");
    ground.create("next", json!({})).await;
    ground
        .wait_for("next", "Stalled", "True", "KeyUnavailable")
        .await;
    assert_eq!(ground.entry("next"), None);
    assert!(ground.secret_data("there").await.is_some());
    assert_eq!(ground.secret_data("gone").await, None);
    // What ends a token needs no key.
    let revoked = json!({"spec": {"revoked": true}});
    ground.patch("there", revoked).await;
    ground.wait_for_phase("there", "Aborted").await;

    in_order.send_replace(true);
    ground.poke("gone").await;
    ground.wait_for("gone", "Usable", "True", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

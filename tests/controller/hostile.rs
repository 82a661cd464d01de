//! What somebody with rights in one namespace can do to the operator: harm to his own resources at the most.

use jointoken::api::Phase;
use jointoken::lifecycle::command::Register;
use jointoken::lifecycle::{IssuanceEntry, Phase as StorePhase, Reason};
use jointoken::store::submit;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::ground::{Ground, condition};

/// The API server takes these dates and we do not. The list of all resources failed with the one that
/// had them, and the operator saw none at all any more.
#[tokio::test]
async fn a_status_that_cannot_be_read_stops_nobody() {
    let ground = Ground::new("unreadable").await;
    ground.create("strange", json!({})).await;
    let strange = json!({
        "issuedAt": "2031-02-03T04:05:06+99:99",
        "consumedAt": "2031-02-03T04:05:06x7Z",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Mine", "message": "",
            "lastTransitionTime": "2031-02-03T04:05:06+24:01",
        }],
    });
    ground.forge_status("strange", strange.clone()).await;
    let operator = ground.operator();
    ground.create("other", json!({})).await;
    ground.wait_for_phase("other", "Issued").await;
    // And it is set right, all of it. Asked for, not watched: a watch of types is what such a status stops,
    // and "other" may be issued before "strange" has been mended.
    let is_right = async || match ground.resources().get("strange").await {
        Ok(strange) => strange.status.unwrap_or_default().consumed_at.is_none(),
        Err(_) => false,
    };
    ground.until("a status that is right", is_right).await;
    let right = ground.wait_for_phase("strange", "Issued").await;
    let status = right.status.unwrap();
    assert!(status.issued_at.is_some());
    assert_eq!(status.consumed_at, None);
    // The same while the operator watches.
    ground.forge_status("strange", strange).await;
    ground.until("a status that is right", is_right).await;
    ground.create("third", json!({})).await;
    ground.wait_for_phase("third", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_status_ahead_of_the_store_neither_keeps_a_token_alive_nor_goes_unsaid() {
    let ground = Ground::new("ahead").await;
    let operator = ground.operator();
    for name in ["revoked", "deleted", "left"] {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
    }
    operator.stop().await;
    let ahead = json!({"storeEpoch": 1, "storeIndex": 1u64 << 40});
    for name in ["revoked", "deleted", "left"] {
        ground.forge_status(name, ahead.clone()).await;
    }
    ground
        .patch("revoked", json!({"spec": {"revoked": true}}))
        .await;
    let deleted = ground.resources().get("deleted").await.unwrap();
    ground.delete("deleted").await;

    let operator = ground.operator();
    ground.wait_gone(&deleted).await;
    assert_eq!(ground.record("deleted").aborted, Some(Reason::Deleted));
    ground
        .wait_for("revoked", "Stalled", "True", "StatusAhead")
        .await;
    assert_eq!(ground.record("revoked").aborted, Some(Reason::Revoked));
    let left = ground
        .wait_for("left", "Stalled", "True", "StatusAhead")
        .await;
    assert_eq!(ground.record("left").aborted, Some(Reason::Restored));
    assert_eq!(left.status.as_ref().unwrap().phase, Some(Phase::Aborted));
    assert_eq!(left.status.as_ref().unwrap().store_index, Some(1 << 40));
    ground.wait_secret_gone("left-join-token").await;

    // What it says to do helps.
    let (_, _, message) = condition(&left, "Stalled").unwrap();
    assert!(
        message.contains("create it again, with spec.revision 2"),
        "{message}"
    );
    ground.delete("left").await;
    ground.wait_gone(&left).await;
    ground.create("left", json!({"revision": 2})).await;
    ground.wait_for_phase("left", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

/// What the store has reached meanwhile says nothing about this token: a store that was set back looks the same. An
/// edited status ends its own token at the worst.
#[tokio::test]
async fn a_wrong_position_within_reach_of_the_store_ends_the_token_too() {
    let ground = Ground::new("within").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    let index = ground.record("n1").changed_at_index;
    for _ in 0..10 {
        ground.pass(0).await;
    }
    let forged = json!({"storeIndex": index + 5, "phase": "Consumed"});
    ground.forge_status("n1", forged).await;
    ground.wait_for("n1", "Stalled", "True", "Restored").await;
    assert_eq!(ground.record("n1").aborted, Some(Reason::Restored));
    // From there it goes on by itself.
    ground.patch("n1", json!({"spec": {"revision": 2}})).await;
    ground
        .wait("n1", "revision 2", |_, status| {
            status.revision == Some(2) && status.phase == Some(Phase::Issued)
        })
        .await;
    ground.admit("n1", 5).await;
    ground.wait_for_phase("n1", "Consumed").await;
    operator.stop().await;
    ground.remove().await;
}

/// It once issued a second token for the same revision, and then failed for ever to say so.
#[tokio::test]
async fn what_a_lost_store_issued_is_not_issued_again_by_the_next() {
    let mut ground = Ground::new("anew").await;
    let operator = ground.operator();
    for name in ["n1", "n2"] {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
        ground.admit(name, 5).await;
        ground.wait_for_phase(name, "Consumed").await;
    }
    operator.stop().await;
    ground.found_anew().await;
    // The new store's log is shorter than what one status tells of, and longer than the other's.
    let reached = |resource: &jointoken::api::JoinToken| {
        resource.status.as_ref().unwrap().store_index.unwrap()
    };
    let first = reached(&ground.resources().get("n1").await.unwrap());
    for _ in 0..=first {
        ground.pass(0).await;
    }
    let operator = ground.operator();
    ground.wait_for("n1", "Stalled", "True", "Restored").await;
    let second = ground.resources().get("n2").await.unwrap();
    ground
        .wait("n2", "Stalled", |resource, _| {
            matches!(
                condition(resource, "Stalled"),
                Some(("True", "StatusAhead" | "Restored", _))
            )
        })
        .await;
    assert_eq!(ground.entry("n1"), None);
    // What is beyond all that the new store has reached it has come to know, as ended.
    let ended = |entry: IssuanceEntry| entry.phase == StorePhase::Aborted;
    assert!(ground.entry("n2").is_none_or(ended));
    assert_eq!(second.status.unwrap().phase, Some(Phase::Consumed));
    // Where the position allows it, another revision is enough.
    ground.patch("n1", json!({"spec": {"revision": 2}})).await;
    ground
        .wait("n1", "revision 2", |_, status| {
            status.revision == Some(2) && status.phase == Some(Phase::Issued)
        })
        .await;
    operator.stop().await;
    ground.remove().await;
}

/// kube puts a name into the path as it is, and the operator may read and delete every Secret.
#[tokio::test]
async fn a_name_in_a_status_leads_nowhere() {
    let ground = Ground::new("path").await;
    let victim = Ground::new("path-victim").await;
    let operator = victim.operator();
    victim.create("n1", json!({})).await;
    victim.wait_for_phase("n1", "Issued").await;
    operator.stop().await;

    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    let path = format!("../../{}/secrets/n1-join-token", victim.namespace);
    ground.forge_status("n1", json!({"secretName": path})).await;
    ground.admit("n1", 5).await;
    let operator = ground.operator();
    ground.wait_for_phase("n1", "Consumed").await;
    ground.wait_secret_gone("n1-join-token").await;
    let text = operator.metrics.encode().unwrap();
    assert!(!text.contains("errors_total{"), "{text}");
    operator.stop().await;
    assert!(victim.secret_data("n1").await.is_some());
    ground.remove().await;
    victim.remove().await;
}

/// The token's time was running, and nothing said why there was no Secret.
#[tokio::test]
async fn a_secret_that_the_namespace_may_not_have_is_said() {
    let ground = Ground::new("quota").await;
    let quotas: Api<ResourceQuota> = Api::namespaced(ground.client.clone(), &ground.namespace);
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    // Its limits count once the controller manager has seen it.
    let seen = |quota: Option<&ResourceQuota>| {
        let status = quota.and_then(|quota| quota.status.as_ref());
        status.is_some_and(|status| status.hard.is_some())
    };
    kube::runtime::wait::await_condition(quotas.clone(), "none", seen)
        .await
        .unwrap();

    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    let stalled = ground
        .wait_for("n1", "Stalled", "True", "SecretRefused")
        .await;
    let (_, _, message) = condition(&stalled, "Stalled").unwrap();
    assert!(message.contains("exceeded quota: none"), "{message}");
    let token_id = ground.record("n1").token_id;
    quotas
        .delete("none", &DeleteParams::default())
        .await
        .unwrap();
    let issued = ground.wait_for_phase("n1", "Issued").await;
    ground.wait_for("n1", "Usable", "True", "Issued").await;
    assert_eq!(ground.verified_token("n1").await.token_id, token_id);
    drop(issued);
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_secret_that_something_holds_is_said() {
    let mut ground = Ground::new("held").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    let hold = |finalizers: serde_json::Value| {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        let secrets = ground.secrets();
        async move {
            let params = PatchParams::default();
            secrets.patch("n1-join-token", &params, &patch).await
        }
    };
    hold(json!(["example.org/hold"])).await.unwrap();
    let release = hold(json!(null));
    let secrets = ground.secrets();
    secrets
        .delete("n1-join-token", &DeleteParams::default())
        .await
        .unwrap();
    ground.minting.delivery.urls = vec!["https://new.example:8443".to_owned()];
    let operator = ground.operator();
    let stalled = ground
        .wait_for("n1", "Stalled", "True", "SecretConflict")
        .await;
    let (_, _, message) = condition(&stalled, "Stalled").unwrap();
    assert!(message.contains("is being deleted"), "{message}");
    release.await.unwrap();
    ground.poke("n1").await;
    ground.wait_for("n1", "Usable", "True", "Issued").await;
    operator.stop().await;
    ground.remove().await;
}

/// A tool made the resource the owner of a Secret of the user's, so that both go together.
#[tokio::test]
async fn a_users_secret_that_the_resource_owns_is_the_users() {
    let ground = Ground::new("owned").await;
    let resource = ground.create("n1", json!({})).await;
    let theirs: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": "n1-join-token",
            "ownerReferences": [{
                "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken", "controller": true,
                "name": "n1", "uid": resource.uid().unwrap(),
            }],
        },
        "stringData": { "password": "theirs" },
    }))
    .unwrap();
    let theirs = ground
        .secrets()
        .create(&PostParams::default(), &theirs)
        .await
        .unwrap();
    let operator = ground.operator();
    ground
        .wait_for("n1", "Stalled", "True", "SecretConflict")
        .await;
    operator.stop().await;
    let now = ground.secrets().get("n1-join-token").await.unwrap();
    assert_eq!(now.uid(), theirs.uid());
    ground.remove().await;
}

#[tokio::test]
async fn a_deletion_ends_the_token_though_the_finalizer_was_taken_away() {
    let ground = Ground::new("stripped").await;
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    let others = json!({"metadata": {"finalizers": ["example.org/hold"]}});
    ground.patch("n1", others).await;
    ground.delete("n1").await;
    let operator = ground.operator();
    let is_ended = async || ground.record("n1").phase == StorePhase::Aborted;
    ground.until("the token's end", is_ended).await;
    assert_eq!(ground.record("n1").aborted, Some(Reason::Deleted));
    operator.stop().await;
    ground.remove().await;
}

/// Whoever had the namespace's name before may still hold the token.
#[tokio::test]
async fn a_live_token_of_a_former_namespace_is_not_handed_to_the_next() {
    let ground = Ground::new("former").await;
    let register = Register {
        namespace_uid: "of the former namespace".to_owned(),
        ..ground.registration(&ground.namespace)
    };
    submit(&*ground.store, register).await.unwrap();
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Aborted").await;
    assert_eq!(ground.record("n1").aborted, Some(Reason::Deleted));
    assert_eq!(ground.secret_data("n1").await, None);
    operator.stop().await;
    ground.remove().await;
}

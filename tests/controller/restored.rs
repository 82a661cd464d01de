//! A store that was restored from a snapshot which is older than what the statuses tell. Whatever was issued after the
//! snapshot, no revision ever gets a second token.

use std::sync::Arc;

use jointoken::controller::FormerStores;
use jointoken::lifecycle::command::{AdoptKey, Founded};
use jointoken::lifecycle::{Phase, Reason, Restore, State};
use jointoken::store::reference::InMemoryStore;
use jointoken::store::submit;
use jointoken::token::{KeyId, Purpose, SigningKey, StoreId};
use kube::ResourceExt;
use serde_json::json;

use crate::ground::{Ground, MINUTE_MS, condition};

/// The store is restored from what it once was.
async fn restore(ground: &mut Ground, snapshot: State) {
    let restore = Restore {
        index: snapshot.last_change() + 1,
        founded: Founded {
            store_id: StoreId([8; 16]),
            epoch: 2,
            ..snapshot.founded().unwrap().clone()
        },
        clock_ms: None,
    };
    let former = snapshot.founded().unwrap().store_id;
    ground.former_stores = FormerStores::new([former].into());
    let state = snapshot.restore(&restore).unwrap();
    let clock = Arc::new(ground.clock.clone());
    ground.store = Arc::new(InMemoryStore::with_state(clock, state));
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([2; 8]), &[0x6b; 32]);
    let adopt = AdoptKey {
        key_id: key.id(),
        purpose: Purpose::Resource,
        fingerprint: key.fingerprint(),
        max_ttl_ms: None,
        node_pattern: None,
    };
    submit(&*ground.store, adopt).await.unwrap();
    ground.minting.key = Arc::new(key);
}

async fn is_restored(ground: &Ground, name: &str) {
    ground.wait_for(name, "Ready", "False", "Restored").await;
    assert_eq!(ground.secret_data(name).await, None, "{name}");
    let entry = ground.entry(name).expect("known now");
    assert!(entry.phase.is_terminal(), "{name}: {entry:?}");
}

#[tokio::test]
async fn nothing_that_was_issued_after_the_snapshot_is_issued_again() {
    let (mut ground, memory) = Ground::with_memory("restored").await;
    let operator = ground.operator();
    let when_unused = json!({"reissuePolicy": "WhenUnused", "ttlSeconds": 60});
    ground.create("issued", json!({})).await;
    ground.create("raised", json!({})).await;
    ground.create("reissued", when_unused.clone()).await;
    for name in ["issued", "raised", "reissued"] {
        ground.wait_for_phase(name, "Issued").await;
    }
    ground.pass(2 * MINUTE_MS).await;
    ground
        .wait_for("reissued", "Ready", "True", "ReissueDelayed")
        .await;
    let snapshot = memory.state();

    // What the snapshot does not know.
    ground.admit("issued", 5).await;
    let consumed = ground.wait_for_phase("issued", "Consumed").await;
    let raise = json!({"spec": {"revision": 2}});
    ground.patch("raised", raise.clone()).await;
    ground
        .wait("raised", "revision 2", |_, status| {
            status.revision == Some(2) && status.secret_name.is_some()
        })
        .await;
    ground.admit("raised", 6).await;
    ground.pass(10 * MINUTE_MS).await;
    ground.poke("reissued").await;
    ground
        .wait("reissued", "issued again", |_, status| {
            status.reissues == Some(1) && status.secret_name.is_some()
        })
        .await;
    ground.admit("reissued", 7).await;
    ground.create("new", json!({})).await;
    ground.wait_for_phase("new", "Issued").await;
    ground.admit("new", 8).await;
    ground.create("live", when_unused).await;
    ground.wait_for_phase("live", "Issued").await;
    for name in ["raised", "reissued", "new"] {
        ground.wait_for_phase(name, "Consumed").await;
    }
    operator.stop().await;
    // Created when nobody was there.
    ground.create("waiting", json!({})).await;

    restore(&mut ground, snapshot).await;
    ground.pass(11 * MINUTE_MS).await;
    let operator = ground.operator();
    let names = ["issued", "raised", "reissued", "new", "live"];
    for name in names {
        is_restored(&ground, name).await;
    }
    ground.wait_for_phase("waiting", "Issued").await;
    assert_eq!(ground.entry("raised").unwrap().revision, 2);
    // The statuses go on telling what they told.
    let told = ground.resources().get("issued").await.unwrap();
    let (told, before) = (told.status.unwrap(), consumed.status.unwrap());
    assert_eq!(
        (told.token_id, told.joiner),
        (before.token_id, before.joiner)
    );
    // And say that it was used, where they tell it, and only there.
    for (name, says) in [
        ("issued", "the token was used at "),
        ("new", "the token was used at "),
        (
            "live",
            "whether it had been used cannot be known: set spec.revision",
        ),
    ] {
        let told = ground.resources().get(name).await.unwrap();
        let (_, _, message) = condition(&told, "Ready").unwrap();
        assert!(message.contains(says), "{name}: {message}");
        let is_known = !message.contains("cannot be known");
        assert_eq!(
            is_known,
            message.contains("by the key "),
            "{name}: {message}"
        );
    }
    let new = ground.wait_for_phase("new", "Consumed").await;
    assert!(new.status.unwrap().consumed_at.is_some());

    // To create it again, as GitOps does, does not help: the store knows by now.
    for name in names {
        let spec = ground.resources().get(name).await.unwrap().spec;
        ground.recreate(name, json!(spec)).await;
        let again = ground
            .wait(name, "adopted or stalled", |_, status| {
                status.phase.is_some_and(|phase| phase.is_terminal())
            })
            .await;
        let (_, reason, _) = condition(&again, "Ready").unwrap();
        assert_eq!(reason, "Restored", "{name}");
        assert_eq!(ground.secret_data(name).await, None, "{name}");
    }
    // The way out.
    for name in names {
        let revision = ground.entry(name).unwrap().revision + 1;
        ground
            .patch(name, json!({"spec": {"revision": revision}}))
            .await;
        ground.wait_for_phase(name, "Issued").await;
        assert_eq!(ground.record(name).phase, Phase::Issued);
    }
    operator.stop().await;
    ground.remove().await;
}

#[tokio::test]
async fn a_status_that_somebody_emptied_issues_nothing_again() {
    let (mut ground, memory) = Ground::with_memory("restored-emptied").await;
    let snapshot = memory.state();
    let operator = ground.operator();
    ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    ground.admit("n1", 5).await;
    ground.wait_for_phase("n1", "Consumed").await;
    operator.stop().await;
    let empty = json!({
        "phase": null, "revision": null, "tokenId": null, "reissues": null, "conditions": null,
    });
    ground.forge_status("n1", empty).await;
    restore(&mut ground, snapshot).await;
    let operator = ground.operator();
    is_restored(&ground, "n1").await;
    assert_eq!(ground.entry("n1").unwrap().aborted, Some(Reason::Restored));
    operator.stop().await;
    ground.remove().await;
}

/// The one that is deleted before anybody looks at it: its finalizer holds it until the store knows.
#[tokio::test]
async fn a_live_one_that_is_deleted_after_the_restore_is_known_before_it_goes() {
    let (mut ground, memory) = Ground::with_memory("restored-deleted").await;
    let snapshot = memory.state();
    let operator = ground.operator();
    let live = ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    ground.delete("n1").await;
    assert!(
        !ground
            .resources()
            .get("n1")
            .await
            .unwrap()
            .finalizers()
            .is_empty()
    );
    restore(&mut ground, snapshot).await;
    let operator = ground.operator();
    ground.wait_gone(&live).await;
    ground.create("n1", json!({})).await;
    is_restored(&ground, "n1").await;
    operator.stop().await;
    ground.remove().await;
}

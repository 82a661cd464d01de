//! A store whose data were set back to an older copy of themselves: the same id, the same epoch, and a log that goes on
//! as if nothing had been after the copy. Whatever was used or issued since admits nobody.

use std::sync::Arc;

use jointoken::lifecycle::Phase;
use jointoken::lifecycle::outcome::BeginOutcome;
use jointoken::store::reference::InMemoryStore;
use serde_json::json;

use crate::ground::{Ground, condition};

#[tokio::test]
async fn what_was_used_or_issued_after_the_copy_is_ended_and_never_issued_again() {
    let (mut ground, memory) = Ground::with_memory("set-back").await;
    let operator = ground.operator();
    let used: Vec<String> = (0..6).map(|n| format!("used{n}")).collect();
    let since: Vec<String> = (0..8).map(|n| format!("since{n}")).collect();
    let (raised, untouched) = ("raised", "untouched");
    for name in used.iter().map(String::as_str).chain([raised, untouched]) {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
    }
    let copy = memory.state();

    for name in &used {
        ground.admit(name, 5).await;
        ground.wait_for_phase(name, "Consumed").await;
    }
    ground.patch(raised, json!({"spec": {"revision": 2}})).await;
    ground
        .wait(raised, "revision 2", |_, status| {
            status.revision == Some(2) && status.secret_name.is_some()
        })
        .await;
    ground.admit(raised, 6).await;
    ground.wait_for_phase(raised, "Consumed").await;
    for name in &since {
        ground.create(name, json!({})).await;
        ground.wait_for_phase(name, "Issued").await;
    }
    operator.stop().await;

    let clock = Arc::new(ground.clock.clone());
    ground.store = Arc::new(InMemoryStore::with_state(clock, copy));
    // It has gone far beyond what it lost before anybody looks.
    for _ in 0..200 {
        ground.pass(0).await;
    }
    let operator = ground.operator();
    for name in used
        .iter()
        .chain(&since)
        .map(String::as_str)
        .chain([raised])
    {
        let stalled = ground
            .wait(name, "Stalled", |resource, _| {
                matches!(
                    condition(resource, "Stalled"),
                    Some(("True", "StatusAhead" | "Restored", _))
                )
            })
            .await;
        assert_eq!(ground.secret_data(name).await, None, "{name}");
        let told = stalled.status.unwrap().token_id.unwrap().parse().unwrap();
        let begun = ground.begin(told, 9).await;
        assert!(
            !matches!(begun, BeginOutcome::Granted { .. }),
            "{name} admits a second key: {begun:?}"
        );
    }
    // The store has come to know what it had lost, as ended: not even a resource that is created again gets a token.
    let lost = since.iter().map(|name| (name.as_str(), 1));
    for (name, revision) in lost.chain([(raised, 2)]) {
        let entry = ground.entry(name).expect("known now");
        assert_eq!((entry.revision, entry.phase), (revision, Phase::Aborted));
        ground.recreate(name, json!({"revision": revision})).await;
        ground.wait_for(name, "Ready", "False", "Restored").await;
        assert_eq!(ground.secret_data(name).await, None, "{name}");
    }
    // Whoever was admitted stays told.
    let told = ground.resources().get(&used[0]).await.unwrap();
    let status = told.status.unwrap();
    assert!(status.consumed_at.is_some() && status.joiner.unwrap().address.is_some());
    // And what the copy knows rightly is as it was.
    ground.poke(untouched).await;
    ground.wait_for_phase(untouched, "Issued").await;
    ground.admit(untouched, 7).await;
    ground.wait_for_phase(untouched, "Consumed").await;
    // The way out.
    let first = &used[0];
    ground.patch(first, json!({"spec": {"revision": 2}})).await;
    ground
        .wait(first, "revision 2", |_, status| {
            status.revision == Some(2) && status.secret_name.is_some()
        })
        .await;
    operator.stop().await;
    ground.remove().await;
}

/// Deleted before anybody looks at it: its finalizer holds it until the store knows what it had lost.
#[tokio::test]
async fn what_was_issued_after_the_copy_and_is_deleted_is_known_before_it_goes() {
    let (mut ground, memory) = Ground::with_memory("set-back-deleted").await;
    let copy = memory.state();
    let operator = ground.operator();
    let resource = ground.create("n1", json!({})).await;
    ground.wait_for_phase("n1", "Issued").await;
    operator.stop().await;
    ground.delete("n1").await;
    let clock = Arc::new(ground.clock.clone());
    ground.store = Arc::new(InMemoryStore::with_state(clock, copy));
    let operator = ground.operator();
    ground.wait_gone(&resource).await;
    ground.create("n1", json!({})).await;
    ground.wait_for("n1", "Ready", "False", "Restored").await;
    assert_eq!(ground.secret_data("n1").await, None);
    operator.stop().await;
    ground.remove().await;
}

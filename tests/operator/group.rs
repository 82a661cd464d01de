//! Three operators that are one: founded in whatever order they start, each with a door, one with a controller.

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use crate::place::Place;
use crate::program::{Machine, id_of};
use crate::replicas::Replicas;
use crate::statuses::Statuses;

/// Who says in an event that it issued the token of this resource.
async fn issuer(place: &Place, name: &str) -> Option<String> {
    let events = place.wait_for_events(name, &["Issued"]).await;
    let issued = |reason: &Option<String>| reason.as_deref() == Some("Issued");
    let mut issued = events.into_iter().filter(|event| issued(&event.reason));
    issued.next()?.reporting_instance
}

#[tokio::test]
async fn a_group_of_operators_outlives_its_leader() {
    let mut group = Replicas::new("group", 3).await;
    // Whoever cannot found waits, alive and not ready.
    for ordinal in [2, 1] {
        group.start(ordinal);
        let server = group.server(ordinal);
        server.wait_for_log("waiting for the first of the group to make its keys");
        assert!(group.answers(ordinal, "/livez", 200));
        assert!(group.answers(ordinal, "/readyz", 503));
        assert!(!group.data(ordinal).join("identity").exists());
    }
    group.start(0);
    group.until_whole(3).await;
    let statuses = Statuses::watch(&group.place);

    let first = group.leader().await;
    let followers: Vec<usize> = (0..3).filter(|of| *of != first).collect();
    let token = group.place.issue("edge-1", json!({})).await;
    let door = group.door_url(followers[0]);
    Machine::new().join_with(&token, &["--url", &door]).ok();
    group.place.wait_for_phase("edge-1", "Consumed").await;
    let late = Machine::new();
    let door = group.door_url(followers[1]);
    late.join_with(&token, &["--url", &door])
        .fails(5, &["used"]);
    // Only the leader reconciles.
    assert_eq!(
        issuer(&group.place, "edge-1").await,
        Some(Replicas::name(first))
    );
    assert!(group.effects(first) > 0);
    assert_eq!(
        followers.iter().map(|of| group.effects(*of)).sum::<u64>(),
        0
    );

    group.kill(first);
    let token = group.place.issue("edge-2", json!({})).await;
    let second = group.leader().await;
    assert_eq!(
        issuer(&group.place, "edge-2").await,
        Some(Replicas::name(second))
    );
    // The door of the one that is gone is among those that the token names.
    Machine::new().join(&token).ok();
    group.place.wait_for_phase("edge-2", "Consumed").await;
    group.place.wait_for_phase("edge-1", "Consumed").await;

    // It comes back, and leadership is handed over when a leader is told to stop.
    group.start(first);
    group.until_whole(3).await;
    let (status, _) = group.take(second).terminate();
    assert!(status.success(), "{status}");
    let third = group.leader().await;
    group.place.issue("edge-3", json!({})).await;
    assert_eq!(
        issuer(&group.place, "edge-3").await,
        Some(Replicas::name(third))
    );
    group.start(second);
    group.until_whole(3).await;
    statuses.never_went_back(3);
    group.remove().await;
}

#[tokio::test]
async fn a_leader_that_stood_still_finds_another_and_writes_nothing_more() {
    let mut group = Replicas::of_three("deposed").await;
    let statuses = Statuses::watch(&group.place);
    let first = group.leader().await;
    let others: Vec<usize> = (0..3).filter(|of| *of != first).collect();
    let names: Vec<String> = (0..16).map(|n| format!("n{n}")).collect();
    let place = &group.place;
    join_all(names.iter().map(|name| place.create(name, json!({})))).await;
    // In the midst of it.
    while place.secret("n3").await.is_none() {}
    group.server(first).signal(Signal::STOP);
    group.leader_among(&others).await;
    for name in &names {
        group.place.wait_for_phase(name, "Issued").await;
    }
    group.place.patch("n5", json!({"revoked": true})).await;
    group.place.delete("n6").await;
    group.place.wait_for("n5", "Ready", "True", "Revoked").await;

    group.server(first).signal(Signal::CONT);
    group.until_whole(3).await;
    // What it had begun before it stood still may end only now, and is done again alike; what comes is the new leader's.
    let leader = group.leader().await;
    group.place.issue("later", json!({})).await;
    assert_eq!(
        issuer(&group.place, "later").await,
        Some(Replicas::name(leader))
    );
    for name in names
        .iter()
        .filter(|name| !["n5", "n6"].contains(&name.as_str()))
    {
        let resource = group.place.wait_for_phase(name, "Issued").await;
        let token = group.place.token(name).await;
        assert_eq!(resource.status.unwrap().token_id, Some(id_of(&token)));
        Machine::new().join(&token).ok();
    }
    // One that it was about to create when it stood still is taken away again.
    let is_gone = async |group: &Replicas| group.place.secret("n5").await.is_none();
    group.until("the Secret of n5 is gone", is_gone).await;
    let revoked = group.place.wait("n5", "Aborted", |_, status| {
        status
            .phase
            .is_some_and(|phase| phase.as_str() == "Aborted")
    });
    revoked.await;
    statuses.never_went_back(16);
    group.remove().await;
}

#[tokio::test]
async fn a_wiped_replica_comes_back_and_never_founds() {
    let mut group = Replicas::of_three("wiped").await;
    let token = group.place.issue("edge-1", json!({})).await;
    group.server(0).wait_for_log("founded_now=true");
    let was = group.node_id(1, 0).await;
    // The first of the list, with all others out of reach.
    for ordinal in 0..3 {
        group.kill(ordinal);
    }
    group.wipe(0);
    group.start(0);
    group
        .until("it has found whose replica it is", async |group| {
            group.data(0).join("store/identity").exists()
        })
        .await;
    let waits = "waits until the group of this store lets it in";
    group.server(0).wait_for_log(waits);
    assert!(group.answers(0, "/readyz", 503));
    group.start(1);
    group.start(2);
    group
        .until("another is in its place", async |group| {
            let now = group.node_id(1, 0).await;
            now.is_some() && now != was
        })
        .await;
    group.until_whole(3).await;
    group.server(0).wait_for_log("founded_now=false");
    // It has everything, and its door admits.
    Machine::new()
        .join_with(&token, &["--url", &group.door_url(0)])
        .ok();
    group.place.wait_for_phase("edge-1", "Consumed").await;
    group.remove().await;
}

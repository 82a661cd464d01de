//! The group grows and shrinks with its StatefulSet. No pods run here: these tests are the kubelet, which starts and stops the
//! replica of each ordinal as Kubernetes would.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::cluster::said;
use crate::program::{Machine, Ran};
use crate::replicas::{Replicas, apply_stateful_set};

/// Ordinals for so many, of a StatefulSet with so many replicas.
pub async fn replicas_of(test: &str, most: usize, replicas: usize) -> Replicas {
    let group = Replicas::new(test, most)
        .await
        .with(&["--stateful-set=jointoken"]);
    apply_stateful_set(&group.place, replicas);
    group
}

#[track_caller]
fn kubectl(group: &Replicas, args: &[&str], input: &str) {
    let ran = group.place.system.kubectl(args, input);
    assert!(ran.status.success(), "{}", said(&ran));
}

#[track_caller]
fn scale(group: &Replicas, replicas: usize) {
    let replicas = format!("--replicas={replicas}");
    kubectl(group, &["scale", "statefulset/jointoken", &replicas], "");
}

/// All are told to stop at the same moment, as by a StatefulSet whose pods are managed in parallel; how they ended.
#[track_caller]
fn stop(group: &mut Replicas, ordinals: &[usize]) -> Vec<Ran> {
    for ordinal in ordinals {
        group.server(*ordinal).signal(Signal::TERM);
    }
    let ended = ordinals.iter().map(|ordinal| group.take(*ordinal).end());
    ended.collect()
}

/// The replica's data were set aside, since it was removed.
fn is_set_aside(group: &Replicas, ordinal: usize) -> bool {
    let entries = fs::read_dir(group.data(ordinal)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    names.iter().any(|name| name.starts_with("removed-")) && !names.contains(&"identity".to_owned())
}

/// The addresses of the voters, as this one sees them.
async fn voters(group: &Replicas, ordinal: usize) -> Option<Vec<String>> {
    let seen = group.members(ordinal).await?.members;
    let voters = seen.into_iter().filter(|of| of.role != "learner");
    let mut voters: Vec<_> = voters.map(|of| of.address).collect();
    voters.sort();
    Some(voters)
}

/// Waits until exactly these vote, as the first sees it.
async fn until_these_vote(group: &mut Replicas, ordinals: &[usize]) {
    let mut wanted: Vec<_> = ordinals.iter().map(|of| group.address(*of)).collect();
    wanted.sort();
    let what = format!("{ordinals:?} vote and nobody else");
    let asked = ordinals[0];
    group
        .until(&what, async |group| {
            voters(group, asked).await.as_ref() == Some(&wanted)
        })
        .await;
}

/// A JoinToken is issued, and admits at each of these doors.
async fn works(group: &Replicas, name: &str, ordinals: &[usize]) {
    for ordinal in ordinals {
        let name = format!("{name}-{ordinal}");
        let token = group.place.issue(&name, json!({})).await;
        let door = group.door_url(*ordinal);
        Machine::new().join_with(&token, &["--url", &door]).ok();
        group.place.wait_for_phase(&name, "Consumed").await;
    }
}

#[tokio::test]
async fn the_group_is_as_large_as_its_stateful_set() {
    let mut group = replicas_of("scaling", 5, 3).await;
    // The founder waits for as many as there are to be, and learns of another number while it waits.
    group.start(0);
    let waits = "waiting for the other replicas before the group is founded";
    group.server(0).wait_for_log(waits);
    scale(&group, 1);
    // So it founds alone; nobody restarts it to let others in.
    group.until_whole(1).await;
    works(&group, "one", &[0]).await;

    scale(&group, 3);
    group.start(1);
    group.start(2);
    group.until_whole(3).await;
    works(&group, "three", &[1]).await;

    // An even number lets nobody in, and removes nobody who has a pod.
    scale(&group, 4);
    group.start(3);
    group
        .server(0)
        .wait_for_log("of the StatefulSet's replicas only so many are let into the group");
    group
        .server(3)
        .wait_for_log("only so many are let into the group");
    group
        .until("the metrics tell of both numbers", async |group| {
            let (_, text) = group.server(0).get("/metrics").unwrap_or_default();
            text.contains("jointoken_controller_replicas_wanted 4\n")
                && text.contains("jointoken_controller_replicas_in_group 3\n")
        })
        .await;
    group
        .until("the fourth knows the store", async |group| {
            group.data(3).join("store/identity").exists()
        })
        .await;
    group.until_whole(3).await;
    assert!(group.answers(3, "/readyz", 503));

    scale(&group, 5);
    group.start(4);
    group.until_whole(5).await;
    works(&group, "five", &[3, 4]).await;

    // The leader is among those that leave.
    if group.leader().await == 0 {
        stop(&mut group, &[0]);
        group.leader().await;
        group.start(0);
        group.until_whole(5).await;
    }
    scale(&group, 1);
    for ran in stop(&mut group, &[1, 2, 3, 4]) {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains("it votes on until it is removed"));
        assert!(ran.stderr.contains("as it should be"), "{ran:?}");
    }
    until_these_vote(&mut group, &[0]).await;
    assert!((1..5).all(|ordinal| is_set_aside(&group, ordinal)));
    works(&group, "again-one", &[0]).await;

    // Their volumes are still there, and of no use.
    scale(&group, 3);
    group.start(1);
    group.start(2);
    group.until_whole(3).await;
    works(&group, "again-three", &[2]).await;

    scale(&group, 2);
    let ended = stop(&mut group, &[2]);
    assert_eq!(ended[0].code, Some(0), "{ended:?}");
    until_these_vote(&mut group, &[0, 1]).await;
    group.remove().await;
}

#[tokio::test]
async fn a_group_that_was_stopped_as_a_whole_comes_back_as_it_was() {
    let mut group = replicas_of("stopped", 3, 3).await;
    for ordinal in [1, 2, 0] {
        group.start(ordinal);
    }
    group.until_whole(3).await;
    works(&group, "before", &[0]).await;
    let mut before = Vec::new();
    for ordinal in 0..3 {
        before.push(group.node_id(0, ordinal).await);
    }

    scale(&group, 0);
    for ran in stop(&mut group, &[0, 1, 2]) {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!ran.stderr.contains("votes on"), "{ran:?}");
    }
    assert!((0..3).all(|ordinal| !is_set_aside(&group, ordinal)));
    scale(&group, 3);
    for ordinal in 0..3 {
        group.start(ordinal);
    }
    group.until_whole(3).await;

    // Without a StatefulSet nobody is removed and everybody goes on; who is told to stop stops.
    let delete = ["delete", "statefulset/jointoken", "--cascade=orphan"];
    kubectl(&group, &delete, "");
    works(&group, "orphans", &[0, 1, 2]).await;
    for ordinal in 0..3 {
        let ended = stop(&mut group, &[ordinal]);
        assert_eq!(ended[0].code, Some(0), "{ended:?}");
        assert!(!ended[0].stderr.contains("votes on"), "{ended:?}");
        group.start(ordinal);
        group
            .server(ordinal)
            .wait_for_log("there is no such StatefulSet");
        group.until_whole(3).await;
    }
    for (ordinal, before) in before.iter().enumerate() {
        assert_eq!(group.node_id(0, ordinal).await, *before);
    }
    group.remove().await;
}

#[tokio::test]
async fn nobody_is_removed_while_those_that_would_be_left_do_not_answer() {
    let mut group = replicas_of("majority", 3, 3).await;
    for ordinal in 0..3 {
        group.start(ordinal);
    }
    group.until_whole(3).await;
    group.kill(0);
    let leader = group.leader().await;
    scale(&group, 1);
    group
        .server(leader)
        .wait_for_log("of those that would be left no majority is there");
    assert_eq!(voters(&group, leader).await.map(|all| all.len()), Some(3));
    works(&group, "two-of-three", &[leader]).await;

    // Back again, it is the only one that is wanted.
    let leaving: Vec<_> = [1, 2].map(|ordinal| group.take(ordinal)).into();
    group.start(0);
    until_these_vote(&mut group, &[0]).await;
    for server in leaving {
        let ran = server.end();
        ran.fails(1, &["this replica was removed from the group"]);
    }
    group.until_whole(1).await;
    works(&group, "one", &[0]).await;
    group.remove().await;
}

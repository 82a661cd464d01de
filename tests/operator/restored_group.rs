//! A group in Kubernetes that has lost everything, or all but one replica, and is made anew as docs/operations.md says.

use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use crate::program::{Machine, text};
use crate::replicas::Replicas;
use crate::restored_cluster::{json_of, restore_into, save};
use crate::restoring::contents;
use crate::statuses::Statuses;

const OTHERS: &str = "waits until the group of this store lets it in";

/// Everything in a data folder is moved into a folder in it, which counts as nothing. Where it is.
pub fn set_aside(group: &Replicas, ordinal: usize) -> PathBuf {
    let data = group.data(ordinal);
    let aside = data.join("removed-lost");
    let entries: Vec<_> = fs::read_dir(&data).unwrap().collect();
    fs::create_dir(&aside).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        fs::rename(entry.path(), aside.join(entry.file_name())).unwrap();
    }
    aside
}

/// All have opened the store that the cluster's mark names, in this epoch.
async fn are_of_the_marked_store(group: &Replicas, epoch: u64) {
    let system = &group.place.system;
    let marks: Api<ConfigMap> = Api::namespaced(system.client.clone(), &system.namespace);
    let mark = marks.get("jointoken-founding").await.unwrap().data.unwrap();
    assert_eq!(mark["epoch"], epoch.to_string());
    for ordinal in 0..3 {
        group.server(ordinal).wait_for_log("the store is open");
        let log = group.server(ordinal).log();
        let opened = log.lines().find(|line| line.contains("the store is open"));
        let opened = opened.unwrap_or_else(|| panic!("{ordinal} has opened none:\n{log}"));
        for said in [&mark["store-id"], &format!("epoch={epoch}")] {
            assert!(opened.contains(said.as_str()), "{ordinal}: {opened}");
        }
    }
}

/// A machine is admitted at this door, and no other anywhere.
pub async fn admits_once(group: &Replicas, name: &str, ordinal: usize) {
    let token = group.place.token(name).await;
    let join_at = |ordinal| {
        let door = group.door_url(ordinal);
        Machine::new().join_with(&token, &["--url", &door])
    };
    join_at(ordinal).ok();
    for ordinal in 0..3 {
        join_at(ordinal).fails(5, &["used"]);
    }
    group.place.wait_for_phase(name, "Consumed").await;
}

async fn admits_at_every_door(group: &Replicas, name: &str) {
    for ordinal in 0..3 {
        let name = format!("{name}-{ordinal}");
        group.place.issue(&name, json!({})).await;
        admits_once(group, &name, ordinal).await;
    }
}

#[track_caller]
pub fn refused_at_every_door(group: &Replicas, tokens: &[&String]) {
    for token in tokens {
        for ordinal in 0..3 {
            let door = group.door_url(ordinal);
            let joined = Machine::new().join_with(token, &["--url", &door]);
            joined.fails(3, &["not valid here"]);
        }
    }
}

#[tokio::test]
async fn three_that_lost_everything_are_one_group_again_and_admit_nobody_twice() {
    let mut group = Replicas::of_three("restored-group").await;
    let statuses = Statuses::watch(&group.place);
    let place = &group.place;
    let used = place.issue("used", json!({})).await;
    let machine = Machine::new();
    machine.join(&used).ok();
    place.wait_for_phase("used", "Consumed").await;
    let live = place.issue("live", json!({})).await;
    let file = place.path("a.snapshot");
    save(&group.data(0), &file);
    // What the snapshot does not know: the live one is used at another door, one more is, and one waits.
    let join_at = |token: &str, ordinal| {
        let door = group.door_url(ordinal);
        Machine::new().join_with(token, &["--url", &door]).ok()
    };
    join_at(&live, 1);
    let since = place.issue("since", json!({})).await;
    join_at(&since, 2);
    let waiting = place.issue("waiting", json!({})).await;
    for name in ["live", "since"] {
        place.wait_for_phase(name, "Consumed").await;
    }
    let told = place.resources().get("since").await.unwrap().status;
    let before = group.node_ids(0).await;

    for ordinal in 0..3 {
        group.kill(ordinal);
    }
    group.wipe(0);
    group.wipe(1);
    let what = ["store", "snapshot", "restore", text(&file)];
    let yes = ["--yes", "--output", "json"];
    let restored = json_of(restore_into(&group.data(0), &group.place, &what, &yes));
    assert_eq!(restored["epoch"], 2);

    // One that comes back with its former data harms nobody, and says what to do.
    let old = contents(&group.data(2));
    let ran = group.setup(2).run();
    let says = [
        "jointoken-founding names store",
        "the store was restored",
        "move what is in its data folder away",
    ];
    ran.fails(1, &says);
    assert_eq!(contents(&group.data(2)), old);
    set_aside(&group, 2);
    for ordinal in [2, 1] {
        group.start(ordinal);
        group.server(ordinal).wait_for_log(OTHERS);
        assert!(group.answers(ordinal, "/readyz", 503));
    }
    group.start(0);
    group.until_whole(3).await;
    are_of_the_marked_store(&group, 2).await;
    let after = group.node_ids(0).await;
    assert!(after.iter().all(|id| !before.contains(id)), "{after:?}");

    let place = &group.place;
    for name in ["live", "since", "waiting"] {
        let message = place.wait_for(name, "Ready", "False", "Restored").await;
        assert!(message.contains("spec.revision to 2"), "{message}");
        assert!(place.secret(name).await.is_none());
    }
    place
        .wait_for("used", "Succeeded", "True", "Consumed")
        .await;
    // Who was admitted stays told.
    let now = place.resources().get("since").await.unwrap().status;
    let joiner = |status: Option<jointoken::api::JoinTokenStatus>| status.unwrap().joiner;
    assert_eq!(joiner(now), joiner(told));
    refused_at_every_door(&group, &[&used, &live, &since, &waiting]);

    // To create it again does not help; the revision does.
    place.delete("live").await;
    place.create("live", json!({})).await;
    place.wait_for("live", "Ready", "False", "Restored").await;
    for name in ["live", "since"] {
        place.patch(name, json!({"revision": 2})).await;
        place.wait_for_phase(name, "Issued").await;
    }
    admits_once(&group, "live", 1).await;
    admits_once(&group, "since", 2).await;
    admits_at_every_door(&group, "fresh").await;

    // It is a group: without the one that was restored the others go on.
    group.kill(0);
    group.leader_among(&[1, 2]).await;
    let token = group.place.issue("without-0", json!({})).await;
    let joined = Machine::new();
    joined.join(&token).ok();
    assert_eq!(joined.file("ca.crt"), machine.file("ca.crt"));
    group.start(0);
    group.until_whole(3).await;
    statuses.never_went_back(8);
    group.remove().await;
}

#[tokio::test]
async fn what_one_of_three_has_left_is_recovered_and_the_others_come_back_to_it() {
    let mut group = Replicas::of_three("recovered-group").await;
    let statuses = Statuses::watch(&group.place);
    let survivor = 2;
    let used = group.place.issue("used", json!({})).await;
    Machine::new().join(&used).ok();
    group.place.wait_for_phase("used", "Consumed").await;
    let live = group.place.issue("live", json!({})).await;
    // So that it knows of both.
    let door = group.door_url(survivor);
    Machine::new()
        .join_with(&used, &["--url", &door])
        .fails(5, &["used"]);
    group.kill(survivor);
    // The two others have a majority.
    group.leader_among(&[0, 1]).await;
    let without = group.place.issue("without", json!({})).await;
    Machine::new().join(&without).ok();
    group.place.wait_for_phase("without", "Consumed").await;
    for ordinal in [0, 1] {
        group.kill(ordinal);
        group.wipe(ordinal);
    }

    // In its own volume, whichever that is.
    let data = group.data(survivor);
    let former = text(&data).to_owned();
    let in_place = ["store", "recover", &former];
    let ran = restore_into(&data, &group.place, &in_place, &["--yes"]);
    ran.fails(
        2,
        &["is not empty", "identity, store", "begins with removed-"],
    );
    let aside = set_aside(&group, survivor);
    let what = ["store", "recover", text(&aside)];
    let yes = ["--yes", "--output", "json"];
    let recovered = json_of(restore_into(&data, &group.place, &what, &yes));
    assert_eq!(
        (&recovered["epoch"], &recovered["endedTokens"]),
        (&json!(2), &json!(1))
    );

    // The first of the list founds nothing, and says how nothing more is lost. In its folder there is nothing.
    group.start(0);
    let server = group.server(0);
    server.wait_for_log(OTHERS);
    server.wait_for_log("`jointoken store snapshot restore` makes a new store of a snapshot");
    group.kill(0);
    let empty = group.data(0);
    let none = ["store", "recover", text(&empty)];
    let ran = restore_into(&group.place.path("none"), &group.place, &none, &["--yes"]);
    ran.fails(2, &["nothing to recover", "never let into its group"]);
    group.start(0);
    group.start(survivor);
    group.start(1);
    group.until_whole(3).await;
    are_of_the_marked_store(&group, 2).await;
    for name in ["live", "without"] {
        let place = &group.place;
        place.wait_for(name, "Ready", "False", "Restored").await;
    }
    refused_at_every_door(&group, &[&used, &live, &without]);
    admits_at_every_door(&group, "fresh").await;
    statuses.never_went_back(6);
    group.remove().await;
}

/// Somebody forgets to stop the others first.
#[tokio::test]
async fn a_restore_beside_replicas_that_still_run_stops_them_from_issuing() {
    let mut group = Replicas::of_three("restored-beside").await;
    let file = group.place.path("a.snapshot");
    save(&group.data(0), &file);
    let live = group.place.issue("live", json!({})).await;
    group.kill(0);
    group.wipe(0);
    group.leader_among(&[1, 2]).await;
    let what = ["store", "snapshot", "restore", text(&file)];
    restore_into(&group.data(0), &group.place, &what, &["--yes"]).ok();
    for ordinal in [1, 2] {
        let server = group.server(ordinal);
        server.wait_for_log("minting and signing have stopped");
        server.wait_for_log("it comes back as a new one");
    }
    group.place.create("later", json!({})).await;
    for ordinal in [1, 2] {
        let door = group.door_url(ordinal);
        let options = ["--url", &door, "--timeout", "1s"];
        Machine::new().join_with(&live, &options).fails(7, &[]);
    }
    // The new store begins beside them, and has nobody yet.
    group.start(0);
    group
        .place
        .wait_for("live", "Ready", "False", "Restored")
        .await;
    group.place.wait_for_phase("later", "Issued").await;
    Machine::new()
        .join_with(&live, &["--url", &group.door_url(0)])
        .fails(3, &["not valid here"]);
    for ordinal in [1, 2] {
        let (status, _) = group.take(ordinal).terminate();
        assert!(status.success(), "{status}");
        set_aside(&group, ordinal);
        group.start(ordinal);
    }
    group.until_whole(3).await;
    are_of_the_marked_store(&group, 2).await;
    admits_once(&group, "later", 1).await;
    group.remove().await;
}

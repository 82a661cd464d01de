//! A replica that has lost its disk comes back as a new one, and never founds.

use std::fs;

use crate::group::Group;
use crate::program::Machine;

/// The ids of all stores that any replica has ever told of.
fn store_ids(group: &Group) -> Vec<String> {
    let mut ids: Vec<String> = (0..group.size())
        .filter_map(|replica| fs::read_to_string(group.path(&format!("log-{replica}"))).ok())
        .flat_map(|log| {
            let lines = log.lines().filter_map(|line| {
                let (_, rest) = line.split_once("store_id=")?;
                rest.split_whitespace().next().map(str::to_owned)
            });
            lines.collect::<Vec<_>>()
        })
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn a_wiped_replica_takes_the_place_of_what_it_was() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let token = minter.token();
    Machine::new().join(&token).ok();
    let before = group.node_ids(0);
    let wiped = group.follower();
    group.kill(wiped);
    group.wipe(wiped);
    group.start(wiped);
    let asked = (wiped + 1) % 3;
    group.until("another is in its place", |group| {
        let seen = group.try_members(asked);
        seen.is_some_and(|seen| seen.members.iter().all(|of| of.node_id != before[wiped]))
    });
    group.until_whole();
    let after = group.node_ids(wiped);
    for replica in 0..3 {
        assert_eq!(after[replica] == before[replica], replica != wiped);
    }
    assert_eq!(store_ids(&group).len(), 1);
    // It knows what was before its time.
    let url = group.door_url(wiped);
    let late = Machine::new().join_with(&token, &["--url", &url]);
    late.fails(5, &["used"]);
    Machine::new()
        .join_with(&minter.token(), &["--url", &url])
        .ok();
    group.terminate_all();
    for replica in 0..3 {
        group.start(replica);
    }
    group.until_whole();
    assert_eq!(group.node_ids(0), after);
    group.terminate_all();
}

#[test]
fn the_first_that_was_wiped_founds_nothing_though_nobody_answers() {
    let mut group = Group::of_three();
    let token = group.minter(0).token();
    Machine::new().join(&token).ok();
    let before = group.node_ids(0);
    group.kill(0);
    group.wipe(0);
    group.freeze(1);
    group.freeze(2);
    // Even if somebody says that there is no group yet.
    group.start_founder();
    group.until("it has a node id", |group| {
        group.data(0).join("store/identity").exists()
    });
    // Far longer than a founding takes.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(!group.is_ready(0));
    assert!(!group.server(0).log().contains("the store is open"));
    group.thaw(1);
    group.thaw(2);
    group.until_whole();
    let after = group.node_ids(0);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..]);
    assert_eq!(store_ids(&group).len(), 1);
    let url = group.door_url(0);
    let late = Machine::new().join_with(&token, &["--url", &url]);
    late.fails(5, &["used"]);
    group.terminate_all();
}

#[test]
fn the_first_that_was_wiped_with_its_keys_founds_nothing() {
    let mut group = Group::of_three();
    group.kill(0);
    group.wipe(0);
    let keys = format!("keysDir: {}", group.keys().display());
    let nowhere = format!("keysDir: {}", group.path("nowhere").display());
    let config = group.config(0).replace(&keys, &nowhere);
    let ran = group.setup_of(0, &config).run();
    ran.fails(1, &["--new-group", "if there is one, put its keys there"]);
    assert!(!group.path("nowhere").exists());
    group.start(0);
    group.until_whole();
    group.terminate_all();
}

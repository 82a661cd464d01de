//! Replicas are set back with all that would tell so, while the one that has what was committed since stands still: two of three,
//! or one, whom one that was stopped meanwhile elects.

use std::fs;

use crate::group::{Group, Minter, copy_folder};
use crate::program::{Machine, run, text};

/// What each says that ends for it, also when it is started again.
const SAYS: [&str; 3] = [
    "a majority of the group goes on without entry",
    "which was committed and is applied",
    "`jointoken store recover` of the folder of the replica that has applied this entry",
];

/// What a replica has on its volume.
fn volume(group: &Group, replica: usize) -> [(std::path::PathBuf, std::path::PathBuf); 2] {
    [
        (group.data(replica), group.path(&format!("copy-{replica}"))),
        (
            group.keys_of(replica),
            group.path(&format!("copy-keys-{replica}")),
        ),
    ]
}

/// One of these leads, as it says.
fn leads(group: &Group, replicas: &[usize]) -> bool {
    let seen = replicas.iter().filter_map(|of| group.try_members(*of));
    let mut members = seen.flat_map(|seen| seen.members);
    members.any(|of| of.is_asked && of.role == "leader")
}

/// A group, its leader, and a key that the copies know which are made of the volumes of the replicas that `copied` names.
fn group_of_three(copied: impl Fn(usize) -> Vec<usize>) -> (Group, usize, Minter) {
    let mut group = Group::of_three();
    group.terminate_all();
    group.part_keys();
    (0..3).for_each(|replica| group.start(replica));
    group.until_whole();
    let minter = group.minter(0);
    let leader = group.leader();
    for replica in copied(leader) {
        group.terminate(replica);
        for (place, copy) in volume(&group, replica) {
            copy_folder(&place, &copy);
        }
        group.start(replica);
        group.until_whole();
    }
    assert_eq!(group.leader(), leader);
    (group, leader, minter)
}

fn used_tokens(minter: &Minter) -> Vec<String> {
    let used: Vec<_> = (0..5).map(|_| minter.token()).collect();
    for token in &used {
        Machine::new().join(token).ok();
    }
    used
}

fn set_back(group: &mut Group, replicas: &[usize]) {
    for replica in replicas {
        group.kill(*replica);
        for (place, copy) in volume(group, *replica) {
            fs::remove_dir_all(&place).expect("removing it");
            copy_folder(&copy, &place);
        }
    }
    for replica in replicas {
        group.start(*replica);
    }
}

/// As `docs/operations.md` says: a new store is made of one folder, with whose keys the others come back empty.
fn recover(group: &mut Group, survivor: usize) {
    let former = group.path("former");
    let former_keys = group.path("former-keys");
    fs::rename(group.data(survivor), &former).expect("moving the folder aside");
    fs::rename(group.keys_of(survivor), &former_keys).expect("moving the keys aside");
    let data = group.data(survivor);
    let folders = ["--data-dir", text(&data), "--keys-dir", text(&former_keys)];
    let what = ["store", "recover", text(&former), "--yes"];
    run(&[&what[..], &folders].concat()).ok();
    let keys = group.keys_of(survivor);
    fs::rename(data.join("keys"), &keys).expect("moving the new keys");
    for other in (0..3).filter(|replica| *replica != survivor) {
        group.wipe(other);
        fs::remove_dir_all(group.keys_of(other)).expect("removing the former keys");
        copy_folder(&keys, &group.keys_of(other));
    }
    (0..3).for_each(|replica| group.start(replica));
    group.until_whole();
}

/// The others go on without the one that stands still, until that is back.
fn all_end_once_it_is_back(group: &mut Group, still: usize, others: [usize; 2], used: &[String]) {
    group.until("they go on without it", |group| leads(group, &others));
    // Which is why they must end.
    let url = group.door_url(others[0]);
    Machine::new().join_with(&used[0], &["--url", &url]).ok();

    group.thaw(still);
    for replica in 0..3 {
        group.take(replica).end().fails(1, &SAYS);
    }
    for replica in 0..3 {
        group.setup(replica).run().fails(1, &SAYS);
        let log = fs::read_to_string(group.path(&format!("log-{replica}"))).expect("a log");
        let is_fault = ["a fault of the program", "panicked"].map(|says| log.contains(says));
        assert_eq!(is_fault, [false, false], "{log}");
    }
}

#[test]
fn a_majority_that_was_set_back_behind_its_leader_stops_once_that_is_back() {
    let others_of = |leader| [1, 2].map(|further| (leader + further) % 3);
    let (mut group, leader, minter) = group_of_three(|leader| others_of(leader).into());
    let others = others_of(leader);
    let mut used = used_tokens(&minter);

    group.freeze(leader);
    set_back(&mut group, &others);
    group.until("they go on without it", |group| leads(group, &others));
    let meanwhile = minter.token();
    let url = group.door_url(others[0]);
    Machine::new().join_with(&meanwhile, &["--url", &url]).ok();
    all_end_once_it_is_back(&mut group, leader, others, &used);

    recover(&mut group, leader);
    used.push(meanwhile);
    for replica in 0..3 {
        let url = group.door_url(replica);
        for token in &used {
            let late = Machine::new().join_with(token, &["--url", &url, "--timeout", "10s"]);
            assert_ne!(late.code, Some(0), "{late:?}");
        }
    }
    let fresh = group.minter(0).token();
    Machine::new().join(&fresh).ok();
    Machine::new().join(&fresh).fails(5, &["used"]);
    group.terminate_all();
}

/// Only one was set back. With one that was merely away it is a majority.
#[test]
fn one_that_was_set_back_and_one_that_was_away_stop_once_the_leader_is_back() {
    let (mut group, leader, minter) = group_of_three(|leader| vec![(leader + 2) % 3]);
    let [away, older] = [1, 2].map(|further| (leader + further) % 3);
    group.terminate(away);
    let used = used_tokens(&minter);

    group.freeze(leader);
    set_back(&mut group, &[older]);
    group.start(away);
    all_end_once_it_is_back(&mut group, leader, [away, older], &used);
}

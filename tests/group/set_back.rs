//! A data folder that is set back to an older copy: its replica goes back on what it has acknowledged.

use std::fs;

use jointoken::admin::MemberOfGroup;
use jointoken::pki::JoinerKey;

use crate::group::{Group, copy_folder, runtime};
use crate::in_process;
use crate::program::Machine;
use crate::raw_joiner::RawJoiner;

const LACKS: &str = "a replica lacks entries which it had acknowledged";

#[test]
fn a_follower_that_is_set_back_is_sent_what_it_lacks() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let leader = group.leader();
    let [set_back, other] = [1, 2].map(|further| (leader + further) % 3);
    let ids = group.node_ids(leader);
    Machine::new().join(&minter.token()).ok();
    group.terminate(set_back);
    let copy = group.path("copy");
    copy_folder(&group.data(set_back), &copy);
    group.start(set_back);
    group.until_whole();

    // Its own door answers when it has what it says that it has.
    let url = group.door_url(set_back);
    let mut used: Vec<_> = (0..10).map(|_| minter.token()).collect();
    for token in &used {
        Machine::new().join_with(token, &["--url", &url]).ok();
    }
    assert_eq!(group.leader(), leader);
    group.kill(set_back);
    group.wipe(set_back);
    copy_folder(&copy, &group.data(set_back));
    group.start(set_back);
    group.until("the leader says so", |group| {
        group.server(leader).log().contains(LACKS)
    });
    group.until_whole();

    for replica in [leader, other].repeat(5) {
        let token = minter.token();
        let url = group.door_url(replica);
        Machine::new().join_with(&token, &["--url", &url]).ok();
        used.push(token);
    }
    assert_eq!(group.leader(), leader);
    let log = group.server(leader).log();
    let said: Vec<_> = log.lines().filter(|line| line.contains(LACKS)).collect();
    assert!(
        said.len() == 1 && said[0].contains(&ids[set_back]),
        "{said:?}"
    );
    // It knows again what was used.
    for token in &used[8..10] {
        let key = JoinerKey::generate().expect("a key");
        let machine = RawJoiner::new(token, key, group.ports[set_back].door);
        if let Ok((code, answer)) = runtime().block_on(machine.ask()) {
            assert_eq!(code, 410, "{answer}");
        }
    }
    group.none_has_ended();
    for token in &used {
        let late = Machine::new().join_with(token, &["--url", &url]);
        late.fails(5, &["used"]);
    }
    Machine::new()
        .join_with(&minter.token(), &["--url", &url])
        .ok();
    group.terminate_all();
    fs::remove_dir_all(&copy).expect("removing the copy");
    runtime().block_on(in_process::common_state(&group));
}

#[test]
fn a_majority_that_is_set_back_under_a_leader_is_sent_what_it_lacks() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let leader = group.leader();
    let set_back = [1, 2].map(|further| (leader + further) % 3);
    let copies = set_back.map(|replica| group.path(&format!("copy-{replica}")));
    for (replica, copy) in set_back.iter().zip(&copies) {
        group.terminate(*replica);
        copy_folder(&group.data(*replica), copy);
        group.start(*replica);
        group.until_whole();
    }
    let used: Vec<_> = (0..5).map(|_| minter.token()).collect();
    for token in &used {
        Machine::new().join(token).ok();
    }
    assert_eq!(group.leader(), leader);
    for replica in set_back {
        group.kill(replica);
    }
    for (replica, copy) in set_back.iter().zip(&copies) {
        group.wipe(*replica);
        copy_folder(copy, &group.data(*replica));
        group.start(*replica);
    }
    for replica in set_back {
        let server = group.server(replica);
        server.wait_for_log("does not campaign");
        server.wait_for_log("has caught up with what was committed");
    }
    group.until_whole();
    // By itself, under the same leader.
    assert_eq!(group.leader(), leader);
    group.none_has_ended();
    let said = |line: &&str| line.contains(LACKS);
    assert_eq!(group.server(leader).log().lines().filter(said).count(), 2);
    for replica in 0..3 {
        let url = group.door_url(replica);
        for token in &used {
            let late = Machine::new().join_with(token, &["--url", &url]);
            late.fails(5, &["used"]);
        }
        let fresh = minter.token();
        Machine::new().join_with(&fresh, &["--url", &url]).ok();
    }
    group.terminate_all();
    runtime().block_on(in_process::common_state(&group));
}

#[test]
fn a_group_that_is_set_back_as_a_whole_elects_nobody_until_one_is_current() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let token = minter.token();
    let copies = [0, 1, 2].map(|replica| group.path(&format!("copy-{replica}")));
    let current = group.path("current");
    for (replica, copy) in copies.iter().enumerate() {
        group.terminate(replica);
        copy_folder(&group.data(replica), copy);
        group.start(replica);
        group.until_whole();
    }
    Machine::new().join(&token).ok();
    group.terminate_all();
    copy_folder(&group.data(2), &current);
    for (replica, copy) in copies.iter().enumerate() {
        group.wipe(replica);
        copy_folder(copy, &group.data(replica));
        group.start(replica);
    }
    for replica in 0..3 {
        let server = group.server(replica);
        server.wait_for_log("does not campaign");
        server.wait_for_log("all that are there were set back");
        let (code, said) = server.get("/readyz").expect("an answer");
        assert!(
            code == 503 && said.contains("lacks entries that were committed"),
            "{code}: {said}"
        );
        let members = group.members(replica).members;
        let is_so = |of: &MemberOfGroup| of.is_asked == (of.health == "incomplete");
        assert!(members.iter().all(is_so), "{members:?}");
        let url = group.door_url(replica);
        let late = Machine::new().join_with(&token, &["--url", &url, "--timeout", "1s"]);
        assert_ne!(late.code, Some(0), "{late:?}");
    }
    group.kill(2);
    group.wipe(2);
    copy_folder(&current, &group.data(2));
    group.start(2);
    group.until_whole();
    for replica in 0..3 {
        let url = group.door_url(replica);
        let late = Machine::new().join_with(&token, &["--url", &url]);
        late.fails(5, &["used"]);
    }
    group.terminate_all();
}

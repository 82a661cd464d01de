//! Replicas that are taken out of the group, and what becomes of them.

use jointoken::pki::JoinerKey;

use crate::group::{Group, runtime};
use crate::program::Machine;
use crate::raw_joiner::RawJoiner;

pub const REMOVED: &str = "this replica was removed from the group";

pub fn remove<'a>(ids: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    [&["store", "members", "remove"], ids, options].concat()
}

/// Its data are set aside, and it is as good as new.
pub fn has_set_aside(group: &Group, replica: usize, id: &str) {
    let data = group.data(replica);
    assert!(
        data.join(format!("removed-{id}"))
            .join("store/log")
            .is_dir()
    );
    assert!(!data.join("store").exists() && !data.join("identity").exists());
}

#[test]
fn one_that_will_never_come_back_is_removed() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    let gone = group.follower();
    let asked = (0..3).find(|replica| *replica != gone).expect("another");
    for (wrong, says) in [
        ("0123456789abcdef", "there is no member of this id"),
        ("xyz", "16 hexadecimal digits"),
    ] {
        group.ask(asked, &remove(&[wrong], &[])).fails(8, &[says]);
    }
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let nobody = group.ask(asked, &remove(&all, &["--force"]));
    nobody.fails(8, &["no member at all"]);
    group.kill(gone);
    let ran = group.ask(asked, &remove(&[&ids[gone]], &[])).ok();
    assert!(ran.stdout.contains(&ids[gone]), "{ran:?}");
    group.until("it is gone everywhere", |group| {
        let running = group.running();
        running.iter().all(|replica| {
            let seen = group.try_members(*replica);
            seen.is_some_and(|seen| seen.members.len() == 2)
        })
    });
    Machine::new().join(&minter.token()).ok();
    let again = group.ask(asked, &remove(&[&ids[gone]], &[]));
    again.fails(8, &["there is no member of this id"]);

    // With its old data it is told so, and with none it takes the free place.
    group.start(gone);
    let ran = group.take(gone).end();
    ran.fails(1, &[REMOVED]);
    has_set_aside(&group, gone, &ids[gone]);
    group.start(gone);
    group.until_whole();
    assert_ne!(group.node_ids(gone)[gone], ids[gone]);
    Machine::new().join(&minter.token()).ok();
    group.terminate_all();
}

#[test]
fn one_that_runs_stops_and_comes_back_as_another() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    for removes_itself in [false, true] {
        let ids = group.node_ids(0);
        let gone = group.follower();
        let asked = if removes_itself { gone } else { (gone + 1) % 3 };
        let server = group.take(gone);
        let ran = group.ask(asked, &remove(&[&ids[gone]], &[]));
        // Who is removed may have stopped before it could say so.
        assert!(removes_itself || ran.code == Some(0), "{ran:?}");
        server.end().fails(1, &[REMOVED]);
        has_set_aside(&group, gone, &ids[gone]);
        group.start(gone);
        group.until_whole();
        let after = group.node_ids(gone);
        for replica in 0..3 {
            assert_eq!(after[replica] == ids[replica], replica != gone);
        }
        Machine::new().join(&minter.token()).ok();
    }
    group.terminate_all();
}

#[test]
fn what_the_majority_needs_is_not_removed_unless_forced() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    let leader = group.leader();
    let [one, other] = [1, 2].map(|further| (leader + further) % 3);
    group.kill(one);
    group.kill(other);
    let door = group.ports[leader].door;
    group.until("the one that is left has noticed", |_| {
        let key = JoinerKey::generate().expect("a key");
        let machine = RawJoiner::new(&minter.token(), key, door);
        runtime().block_on(machine.try_join()).1["code"] == "no_leader"
    });
    let ran = group.ask(leader, &remove(&[&ids[one]], &[]));
    ran.fails(8, &["no majority", "--force"]);

    // Nothing can be decided without a majority of those that are members, whoever forces it; and nothing is.
    for removed in [&[&*ids[one]][..], &[&ids[one], &ids[other]]] {
        let ran = group.ask(leader, &remove(removed, &["--force"]));
        ran.fails(7, &["no majority of the members", "store recover"]);
    }
    group.start(one);
    group.start(other);
    group.until_whole();
    assert_eq!(group.node_ids(0), ids);
    Machine::new().join(&minter.token()).ok();
    group.terminate_all();
}

#[test]
fn what_was_forced_is_done_once_a_majority_of_those_left_is_back() {
    let mut group = Group::new(5);
    group.found();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    let leader = group.leader();
    let [removed, one, other] = [1, 2, 3].map(|further| (leader + further) % 5);
    group.kill(one);
    group.kill(other);
    group.until("they are missed", |group| {
        let seen = group.members(leader).members;
        seen.iter().filter(|of| of.health == "silent").count() == 2
    });
    let ran = group.ask(leader, &remove(&[&ids[removed]], &[]));
    ran.fails(8, &["no majority", "--force"]);
    Machine::new().join(&minter.token()).ok();

    let ran = group.ask(leader, &remove(&[&ids[removed]], &["--force"]));
    ran.fails(7, &[]);
    let token = minter.token();
    let machine = Machine::new();
    let ran = machine.join_with(&token, &["--timeout", "3s"]);
    ran.fails(7, &["run the same command again"]);
    let server = group.take(removed);
    group.start(one);
    server.end().fails(1, &[REMOVED]);
    machine.join(&token).ok();
    has_set_aside(&group, removed, &ids[removed]);
    group.start(removed);
    group.start(other);
    group.until_whole();
    assert_ne!(group.node_ids(0)[removed], ids[removed]);
    group.terminate_all();
}

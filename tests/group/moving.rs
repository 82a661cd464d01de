//! Replicas whose address changes: they are served at the new one within seconds, whoever else is there.

use std::fs;
use std::time::{Duration, Instant};

use crate::group::{Group, runtime};
use crate::in_process;
use crate::port;
use crate::program::Machine;

/// From the start at the new address until all is well. The others listen to a node id at another address only once it has
/// been silent for three seconds.
const MOVED: Duration = Duration::from_secs(20);
/// An address whose owner has moved as well is free once that one has been silent for thirty seconds.
const SWAPPED: Duration = Duration::from_secs(60);

/// From its next start on the replica is at another address, and all that start from now on are told so.
fn move_away(group: &mut Group, replica: usize) {
    group.ports[replica].peers = port::reserve();
}

fn restart(group: &mut Group, replica: usize) {
    group.terminate(replica);
    group.start(replica);
    group.until("it is back", |group| group.is_ready(replica));
}

/// Starts it where it is to be now, and waits until it and its leader call everything well.
#[track_caller]
fn start_moved(group: &mut Group, replica: usize, others: &[usize]) {
    let began = Instant::now();
    let address = group.peer_address(replica);
    group.start(replica);
    let asked = [others, &[replica]].concat();
    let is_well = |group: &Group, of: usize| {
        let seen = group.try_members(of);
        let member =
            seen.and_then(|seen| seen.members.into_iter().find(|it| it.address == address));
        member.is_some_and(|member| member.health == "ok")
    };
    group.until("the moved one is served", |group| {
        group.is_ready(replica) && asked.iter().all(|of| is_well(group, *of))
    });
    let took = began.elapsed();
    eprintln!("served {took:.1?} after its start at another address");
    assert!(took < MOVED, "{took:?}");
}

#[test]
fn a_replica_that_moves_is_served_by_the_same_leader() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    for round in 0..2 {
        let moved = (group.leader() + 1 + round) % 3;
        let others: Vec<_> = (0..3).filter(|of| *of != moved).collect();
        move_away(&mut group, moved);
        for other in &others {
            restart(&mut group, *other);
        }
        group.terminate(moved);
        Machine::new().join(&minter.token()).ok();
        start_moved(&mut group, moved, &others);
        group.until_whole();
        assert_eq!(group.node_ids(0), ids);
        let url = group.door_url(moved);
        Machine::new()
            .join_with(&minter.token(), &["--url", &url])
            .ok();
    }
    for replica in 0..3 {
        let log = fs::read_to_string(group.path(&format!("log-{replica}"))).unwrap();
        assert!(!log.contains("a data folder was copied"), "{log}");
    }
    group.terminate_all();
    runtime().block_on(in_process::common_state(&group));
}

/// Nothing can be committed without the one that moves, its new address not either.
#[test]
fn a_replica_that_moves_while_another_is_down_makes_the_majority() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    let moved = group.follower();
    let others: Vec<_> = (0..3).filter(|of| *of != moved).collect();
    move_away(&mut group, moved);
    for other in &others {
        restart(&mut group, *other);
    }
    group.terminate(moved);
    let leader = group.leader();
    let down = others.into_iter().find(|of| *of != leader).unwrap();
    group.terminate(down);
    start_moved(&mut group, moved, &[leader]);
    Machine::new()
        .join_with(&minter.token(), &["--url", &group.door_url(leader)])
        .ok();
    group.start(down);
    group.until_whole();
    assert_eq!(group.node_ids(0), ids);
    group.terminate_all();
}

#[test]
fn a_group_of_which_all_addresses_change_is_a_group_again() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let ids = group.node_ids(0);
    Machine::new().join(&minter.token()).ok();
    group.terminate_all();
    for replica in 0..3 {
        move_away(&mut group, replica);
    }
    let began = Instant::now();
    (0..3).for_each(|replica| group.start(replica));
    group.until_whole();
    let took = began.elapsed();
    eprintln!("whole {took:.1?} after all started elsewhere");
    assert!(took < MOVED, "{took:?}");
    assert_eq!(group.node_ids(0), ids);
    Machine::new().join(&minter.token()).ok();

    // As when a network gives its addresses out anew: each is where another was.
    group.terminate_all();
    let first = group.ports[0].peers;
    group.ports[0].peers = group.ports[1].peers;
    group.ports[1].peers = group.ports[2].peers;
    group.ports[2].peers = first;
    let began = Instant::now();
    (0..3).for_each(|replica| group.start(replica));
    group.until_whole();
    let took = began.elapsed();
    eprintln!("whole {took:.1?} after each started where another was");
    assert!(took < SWAPPED, "{took:?}");
    assert_eq!(group.node_ids(0), ids);
    Machine::new().join(&minter.token()).ok();
    group.terminate_all();
    runtime().block_on(in_process::common_state(&group));
}

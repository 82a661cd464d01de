//! A group that gets smaller while machines join all the time, and a replica is killed while members are removed.

use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::group::{Group, runtime};
use crate::in_process;
use crate::load::Load;
use crate::program::Ran;
use crate::removal::{REMOVED, has_set_aside, remove};

const PAIRS: usize = 3;

/// Who leads when it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leader {
    Goes,
    Stays,
}

/// Who is killed while it is done.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Killed {
    Leader,
    FollowerThatGoes,
    FollowerThatStays,
}

pub fn nap(milliseconds: u64) {
    let random = rand::rng().random_range(0..milliseconds);
    thread::sleep(Duration::from_millis(random));
}

/// Each of them lists these alone, one after the other.
fn shorten_lists(group: &mut Group, stays: &[usize]) {
    for replica in stays {
        group.restart_with_list(*replica, stays);
    }
}

/// Has one of these lead.
fn until_one_leads(group: &mut Group, load: &Load, of: &[usize]) {
    loop {
        let leader = group.leader();
        if of.contains(&leader) {
            return;
        }
        group.kill(leader);
        // It would come to lead again if it were back before.
        group.leader();
        load.until_more(3);
        group.start(leader);
        group.until("all are ready", |group| {
            group
                .running()
                .iter()
                .all(|replica| group.is_ready(*replica))
        });
    }
}

/// Whether this command has done it, or another one before.
fn is_done(ran: &Ran) -> bool {
    let says = |text| ran.stderr.contains(text);
    match ran.code {
        Some(0) => true,
        Some(8) if says("there is no member of this id") => true,
        // Who was killed is not back yet, or the others have not noticed that it is.
        Some(8) if says("no majority") => false,
        Some(1 | 2 | 7) => false,
        _ => panic!("{ran:?}"),
    }
}

/// Leaves these alone, while one is killed and started again. Under load, whatever the command says at first.
fn shrink_to(group: &mut Group, load: &Load, stays: &[usize], leader: Leader, killed: Killed) {
    let goes: Vec<_> = (group.running().into_iter())
        .filter(|replica| !stays.contains(replica))
        .collect();
    shorten_lists(group, stays);
    let leaders = if leader == Leader::Goes { &goes } else { stays };
    until_one_leads(group, load, leaders);
    let leads = group.leader();
    let candidates = match killed {
        Killed::Leader => &[leads][..],
        Killed::FollowerThatGoes => &goes,
        Killed::FollowerThatStays => stays,
    };
    let victim = candidates
        .iter()
        .copied()
        .find(|replica| killed == Killed::Leader || *replica != leads)
        .expect("one to be killed");
    let ids: Vec<_> = goes.iter().map(|gone| group.node_id(*gone)).collect();
    let command = remove(&ids.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let began = Instant::now();
    let server = group.take(victim);
    let mut ran = thread::scope(|scope| {
        let asking = scope.spawn(|| group.ask(stays[0], &command));
        nap(300);
        server.kill();
        asking.join().expect("it ran")
    });
    let at_first = ran.code;
    group.start(victim);
    // Who goes ends when it is told, and not before.
    let leaving = goes.iter().map(|gone| (*gone, group.take(*gone)));
    let leaving: Vec<_> = leaving.zip(&ids).collect();
    while !is_done(&ran) {
        nap(300);
        ran = group.ask(stays[0], &command);
    }
    for ((gone, server), id) in leaving {
        server.end().fails(1, &[REMOVED]);
        has_set_aside(group, gone, id);
    }
    group.until("those that stay are the group", |group| {
        stays.iter().all(|replica| {
            let seen = group.try_members(*replica);
            group.is_ready(*replica) && seen.is_some_and(|seen| seen.members.len() == stays.len())
        })
    });
    load.until_more(10);
    let pause = load.longest_pause_since(began);
    eprintln!(
        "to {}, the leader {leader:?}, {killed:?} killed: exit code {at_first:?} at first, {pause:?} without an admission",
        stays.len()
    );
}

/// Everybody who was let in is in, and nobody else, by the last one alone.
fn ends_well(mut group: Group, load: Load, last: usize) {
    let ended = load.end();
    let count = ended.races.len();
    ended.check_at(&[group.ports[last].door]);
    assert_eq!(group.running(), [last]);
    group.terminate(last);
    let state = runtime().block_on(in_process::common_state_of(&group, &[last]));
    assert_eq!(state.record_count(), count);
}

fn load(group: &Group) -> Load {
    Load::in_pairs(group.minter(0), group.doors(), PAIRS)
}

#[test]
fn five_to_three_to_one() {
    let mut group = Group::new(5);
    group.found();
    let load = load(&group);
    shrink_to(
        &mut group,
        &load,
        &[0, 2, 4],
        Leader::Goes,
        Killed::FollowerThatStays,
    );
    // Who was removed and is not in the list is not let in again.
    group.start(1);
    group.until("it waits", |group| {
        group
            .server(1)
            .log()
            .contains("it waits until the group of this store lets it in")
    });
    group.terminate(1);
    shrink_to(&mut group, &load, &[4], Leader::Stays, Killed::Leader);
    ends_well(group, load, 4);
}

#[test]
fn three_to_one_whoever_leads_and_is_killed() {
    for (leader, killed) in [
        (Leader::Goes, Killed::Leader),
        (Leader::Goes, Killed::FollowerThatGoes),
        (Leader::Goes, Killed::FollowerThatStays),
        (Leader::Stays, Killed::Leader),
        (Leader::Stays, Killed::FollowerThatGoes),
    ] {
        let mut group = Group::of_three();
        let load = load(&group);
        let last = rand::rng().random_range(0..3);
        shrink_to(&mut group, &load, &[last], leader, killed);
        ends_well(group, load, last);
    }
}

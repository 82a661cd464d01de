//! A group that grows from one to three to five while machines join all the time, and a replica is killed while it grows.

use std::time::Instant;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use crate::group::{Group, runtime};
use crate::in_process;
use crate::load::Load;
use crate::shrinking::nap;

const PAIRS: usize = 3;

/// Who is killed while the group grows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Killed {
    Leader,
    Follower,
    Newcomer,
}

/// What a user does, one after the other.
#[derive(Debug, Clone, Copy)]
enum Step {
    Relist(usize),
    Start(usize),
}

/// How many are members, and how many of them vote, as one that was a member before sees it.
fn size(group: &Group, before: usize) -> Option<(usize, usize)> {
    let mut running = group.running().into_iter().filter(|of| *of < before);
    let seen = running.find_map(|replica| group.try_members(replica))?;
    let votes = |role: &str| role == "leader" || role == "voter";
    let voters = seen.members.iter().filter(|of| votes(&of.role)).count();
    assert!(voters % 2 == 1, "an even number votes: {seen:#?}");
    Some((seen.members.len(), voters))
}

fn has_grown_to(group: &Group, before: usize, so_many: usize) -> bool {
    size(group, before).is_some_and(|(members, _)| members >= so_many)
}

/// Kills one and starts it again at once, as whatever looks after it would.
fn kill_one(group: &mut Group, before: usize, killed: Killed) -> String {
    let leader = group.leader();
    let running = group.running().into_iter().filter(|of| *of != leader);
    let candidates: Vec<_> = match killed {
        Killed::Leader => vec![leader],
        Killed::Follower => running.filter(|of| *of < before).collect(),
        Killed::Newcomer => running.filter(|of| *of >= before).collect(),
    };
    let victim = candidates[rand::rng().random_range(0..candidates.len())];
    nap(600);
    let seen = size(group, before);
    group.kill(victim);
    group.start(victim);
    format!("{killed:?} {victim} killed at (members, voters) {seen:?}")
}

/// Gives those that run the longer list, one after the other, and starts the new ones before, between or after.
fn grow(group: &mut Group, load: &Load, before: usize, after: usize, killed: Killed) {
    let list: Vec<_> = (0..after).collect();
    let mut steps: Vec<_> = (0..before).map(Step::Relist).collect();
    steps.extend((before..after).map(Step::Start));
    steps.shuffle(&mut rand::rng());
    // The first learner is there, or the last, and voting comes next.
    let when = rand::rng().random_range(before + 1..=after);
    let began = Instant::now();
    let mut was_killed = None;
    for step in &steps {
        match *step {
            Step::Relist(replica) => group.restart_with_list(replica, &list),
            Step::Start(replica) => {
                group.set_list(replica, &list);
                group.start(replica);
                load.add_door(group.ports[replica].door);
            }
        }
        if was_killed.is_none() && has_grown_to(group, before, when) {
            was_killed = Some(kill_one(group, before, killed));
        }
        load.until_more(3);
    }
    let was_killed = was_killed.unwrap_or_else(|| {
        group.until("it grows", |group| has_grown_to(group, before, when));
        kill_one(group, before, killed)
    });
    group.until("all are ready voters", |group| {
        size(group, before) == Some((after, after)) && list.iter().all(|of| group.is_ready(*of))
    });
    load.until_more(20);
    let pause = load.longest_pause_since(began);
    eprintln!(
        "{before} to {after}: {steps:?}; {was_killed}; {:?} in all, {pause:?} without an admission",
        began.elapsed()
    );
}

fn one_to_three_to_five(first_killed: Killed, then_killed: Killed) {
    let mut group = Group::new(5);
    group.set_list(0, &[0]);
    group.start_founder();
    group.until("it is a group of one", |group| group.is_ready(0));
    let load = Load::in_pairs(group.minter(0), vec![group.ports[0].door], PAIRS);
    load.until_more(10);
    grow(&mut group, &load, 1, 3, first_killed);
    grow(&mut group, &load, 3, 5, then_killed);
    group.until_whole();
    let lost = load.lost();
    let ended = load.end();
    let count = ended.races.len();
    eprintln!("{count} admissions, {lost} answers lost");
    ended.check();
    group.none_has_ended();
    group.terminate_all();

    let state = runtime().block_on(in_process::common_state(&group));
    assert_eq!(state.record_count(), count);
}

#[test]
fn the_lone_one_is_killed_and_then_the_leader() {
    one_to_three_to_five(Killed::Leader, Killed::Leader);
}

#[test]
fn the_lone_one_is_killed_and_then_a_follower() {
    one_to_three_to_five(Killed::Leader, Killed::Follower);
}

#[test]
fn a_newcomer_is_killed_and_then_another() {
    one_to_three_to_five(Killed::Newcomer, Killed::Newcomer);
}

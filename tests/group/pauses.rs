//! The leader goes, and who is joining notices nothing but a pause.

use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::group::Group;
use crate::load::Load;
use crate::program::{Machine, Ran};

/// Machines that join all at once, two for each token; how each pair fared.
fn race(tokens: &[String], meanwhile: impl FnOnce()) -> Vec<[Ran; 2]> {
    let join = |token: &String| {
        let token = token.clone();
        // A machine that is not in before the end has failed.
        thread::spawn(move || Machine::new().join_with(&token, &["--timeout", "90s"]))
    };
    let pairs: Vec<_> = (tokens.iter().map(|token| [join(token), join(token)])).collect();
    meanwhile();
    let ended = pairs.into_iter();
    ended
        .map(|pair| pair.map(|machine| machine.join().expect("it ran")))
        .collect()
}

#[test]
fn whoever_is_joining_while_the_leader_is_killed_gets_in_once() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    for round in 0..4 {
        let leader = group.leader();
        let tokens: Vec<_> = (0..4).map(|_| minter.token()).collect();
        let server = group.take(leader);
        let began = Instant::now();
        let pairs = race(&tokens, || {
            let milliseconds = rand::rng().random_range(0..300);
            thread::sleep(Duration::from_millis(milliseconds));
            server.kill();
        });
        eprintln!("round {round}: all decided after {:?}", began.elapsed());
        for pair in pairs {
            let admitted = pair.iter().filter(|ran| ran.code == Some(0)).count();
            assert_eq!(admitted, 1, "{pair:?}");
            let other = pair.iter().find(|ran| ran.code != Some(0));
            other.expect("another").fails(5, &["used"]);
        }
        group.start(leader);
        group.until_whole();
        for token in &tokens {
            Machine::new().join(token).fails(5, &["used"]);
        }
    }
    group.terminate_all();
}

/// The longest time without an admission when this happens to the leader, of some times.
fn measure(what: &str, group: &mut Group, load: &Load, happens: impl Fn(&mut Group, usize)) {
    let pauses: Vec<_> = (0..3)
        .map(|_| {
            let leader = group.leader();
            load.until_more(20);
            let then = Instant::now();
            happens(group, leader);
            load.until_more(20);
            let pause = load.longest_pause_since(then);
            if !group.running().contains(&leader) {
                group.start(leader);
            }
            group.until_whole();
            pause
        })
        .collect();
    eprintln!("without an admission, when the leader {what}: {pauses:?}");
}

#[test]
fn the_pauses_when_a_leader_goes() {
    let mut group = Group::of_three();
    let load = Load::alone(group.minter(0), group.doors(), 6);
    load.until_more(50);
    let then = Instant::now();
    load.until_more(50);
    let pause = load.longest_pause_since(then);
    eprintln!("without an admission, when nothing happens: {pause:?}");

    measure("is killed", &mut group, &load, Group::kill);
    measure("is told to stop", &mut group, &load, |group, leader| {
        group.terminate(leader);
    });
    measure("stands still", &mut group, &load, |group, leader| {
        group.freeze(leader);
        load.until_more(20);
        group.thaw(leader);
    });
    measure("is removed", &mut group, &load, |group, leader| {
        let id = group.node_ids(leader)[leader].clone();
        let removed = group.take(leader);
        group.ask(leader, &["store", "members", "remove", &id]).ok();
        let ran = removed.end();
        ran.fails(1, &["this replica was removed from the group"]);
    });
    eprintln!(
        "{} admissions, {} answers lost",
        load.decided(),
        load.lost()
    );
    load.end().check();
    group.terminate_all();
}

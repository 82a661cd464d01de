//! Without a majority nobody is admitted and nobody is turned away for good.

use std::process::Stdio;

use jointoken::pki::JoinerKey;

use crate::group::{Group, runtime};
use crate::program::{Machine, Ran};
use crate::raw_joiner::RawJoiner;

#[test]
fn without_a_majority_the_door_says_come_again_and_then_admits() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    // Once the leader is left alone, once a follower.
    for left_is_leader in [true, false] {
        let leader = group.leader();
        let left = if left_is_leader {
            leader
        } else {
            (leader + 1) % 3
        };
        let others: Vec<_> = (0..3).filter(|replica| *replica != left).collect();
        for replica in &others {
            group.freeze(*replica);
        }
        let unready = |group: &Group| {
            let answer = group.server(left).get("/readyz");
            answer.is_some_and(|(code, _)| code == 503)
        };
        group.until("it is not ready", unready);
        let (code, _) = group.server(left).get("/livez").unwrap();
        assert_eq!(code, 200);

        let door = group.ports[left].door;
        let token = minter.token();
        let raw = RawJoiner::new(&token, JoinerKey::generate().unwrap(), door);
        let (code, refusal) = runtime().block_on(raw.try_join());
        assert_eq!(code, 503, "{refusal}");
        let said = refusal["code"].as_str().unwrap();
        assert!(
            ["no_leader", "outcome_unknown"].contains(&said),
            "{refusal}"
        );
        assert!(refusal["retry_after_seconds"].as_u64().unwrap() > 0);

        let machine = Machine::new();
        let url = group.door_url(left);
        let mut command = machine.join_command(&token, &["--url", &url, "--timeout", "120s"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut waiting = command.spawn().expect("starting the program");
        // As long as it takes for it to be turned away.
        let another = Machine::new().join_with(&token, &["--url", &url, "--timeout", "5s"]);
        another.fails(7, &["run the same command again"]);
        assert!(waiting.try_wait().unwrap().is_none(), "it waits");
        for replica in &others {
            group.thaw(*replica);
        }
        let output = waiting.wait_with_output().unwrap();
        let ran = Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(ran.stderr.contains("asking again in"), "{ran:?}");
        assert!(!ran.stderr.contains("asking again in 0 s"), "{ran:?}");
        ran.ok();
        group.until_whole();
        Machine::new().join(&token).fails(5, &["used"]);
    }
    let accepted = group.ask(0, &["store", "clock", "accept"]);
    accepted.fails(8, &["median"]);
    group.terminate_all();
}

#[test]
fn who_led_before_a_restart_is_not_shown_as_the_leader() {
    let mut group = Group::of_three();
    let follower = group.follower();
    for replica in 0..3 {
        group.kill(replica);
    }
    group.start(follower);
    let answers = |group: &Group| {
        let seen = group.try_members(follower);
        seen.is_some_and(|seen| seen.members.len() == 3)
    };
    group.until("it answers", answers);
    let seen = group.members(follower);
    assert_eq!(seen.leader, None);
    assert!(seen.members.iter().all(|member| member.role == "voter"));
    for replica in (0..3).filter(|replica| *replica != follower) {
        group.start(replica);
    }
    group.until_whole();
    assert!(group.members(follower).leader.is_some());
    group.terminate_all();
}

#[test]
fn one_that_stands_still_is_gone_round() {
    let mut group = Group::of_three();
    let token = group.minter(1).token();
    // The first in the token's list of doors.
    group.freeze(0);
    Machine::new().join_with(&token, &["--timeout", "90s"]).ok();
    group.thaw(0);
    group.until_whole();
    group.terminate_all();
}

#[test]
fn a_stop_without_a_majority_is_a_stop() {
    let mut group = Group::of_three();
    let leader = group.leader();
    let [one, other] = [1, 2].map(|further| (leader + further) % 3);
    group.kill(one);
    group.kill(other);
    group.terminate(leader);
    // While it looks in vain for the others it can be stopped, too; and killed.
    for is_kind in [true, false] {
        group.start(leader);
        group
            .server(leader)
            .wait_for_log("waiting for a majority of the group");
        // Who it waits for can be asked; nothing else.
        let seen = group.ask(leader, &["store", "members"]).ok();
        assert_eq!(
            seen.stdout.matches(" silent ").count(),
            2,
            "{}",
            seen.stdout
        );
        assert!(seen.stdout.contains("no majority"), "{}", seen.stdout);
        let list = group.ask(leader, &["token", "list"]);
        list.fails(7, &["waits until a majority", "store members"]);
        match is_kind {
            true => group.terminate(leader),
            false => group.kill(leader),
        }
    }
    for replica in 0..3 {
        group.start(replica);
    }
    group.until_whole();
    group.terminate_all();
}

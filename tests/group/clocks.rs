//! A replica whose machine has a wrong clock from its start on. It is heard and outvoted, its door admits, and it does not
//! lead for long; nothing expires early, and nothing is valid again.

use jiff::Timestamp;
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::pki::JoinerKey;
use serde_json::Value;

use crate::group::{Group, Minter, runtime};
use crate::in_process;
use crate::program::Machine;
use crate::raw_joiner::RawJoiner;

const HOUR: i64 = 3_600;
const MINUTE_MS: u64 = 60_000;
/// Far less than the wrong clock is off, far more than anything takes.
const TOLERANCE_MS: u64 = 10 * MINUTE_MS;
const HANDS_OVER: &str =
    "another replica is to lead, since this one's clock is far from the others'";

/// What was decided while all clocks were right.
struct Before {
    minter: Minter,
    used: String,
    expired: String,
    /// Was admitted with a token that lives for ten minutes, and has not acknowledged that.
    admitted: RawJoiner,
    answer: Value,
}

impl Before {
    fn new(group: &Group) -> Self {
        let minter = group.minter(0);
        let used = minter.token();
        Machine::new().join(&used).ok();
        let now_ms = SystemClock.now_ms();
        let expired = minter.token_of(now_ms - 2 * MINUTE_MS, MINUTE_MS);
        let token = minter.token_of(now_ms, 10 * MINUTE_MS);
        let key = JoinerKey::generate().expect("a key");
        let admitted = RawJoiner::new(&token, key, group.ports[0].door);
        let answer = runtime().block_on(admitted.join());
        Self {
            minter,
            used,
            expired,
            admitted,
            answer,
        }
    }

    /// At every door.
    fn holds(&mut self, group: &Group) {
        for replica in 0..group.size() {
            let url = group.door_url(replica);
            let join = |token: &str| Machine::new().join_with(token, &["--url", &url]);
            let ten_minutes = (self.minter).token_of(SystemClock.now_ms(), 10 * MINUTE_MS);
            join(&ten_minutes).ok();
            join(&ten_minutes).fails(5, &["used"]);
            join(&self.used).fails(5, &["used"]);
            join(&self.expired).fails(4, &["expired"]);
            self.admitted.port = group.ports[replica].door;
            assert_eq!(runtime().block_on(self.admitted.join()), self.answer);
        }
    }
}

/// Kills it, sets the clock of its machine and starts it again.
fn restart_with_clock(group: &mut Group, replica: usize, ahead_seconds: i64) {
    group.kill(replica);
    group.set_clock(replica, ahead_seconds);
    group.start(replica);
}

/// Waits until all are ready, the wrong clock is seen by all, and another one leads.
fn until_outvoted(group: &mut Group, wrong: usize) {
    let ahead_ms = group.clock(wrong) * 1_000;
    let is_so = |group: &Group, asked: usize| {
        let Some(seen) = group.try_members(asked).filter(|_| group.is_ready(asked)) else {
            return false;
        };
        let address = group.peer_address(wrong);
        let leads = |role: &str| role == "leader";
        let leader_is_right = (seen.members.iter())
            .any(|of| leads(&of.role) && of.address != address && of.health != "silent");
        leader_is_right
            && seen.members.iter().all(|of| {
                // By the clock of whoever is asked.
                let off_ms = match (asked == wrong, of.address == address) {
                    (false, true) => ahead_ms,
                    (true, false) => -ahead_ms,
                    _ => 0,
                };
                let health = if off_ms == 0 { "ok" } else { "clock" };
                let seen_ms = of.clock_ahead_ms.unwrap_or_default();
                of.health == health && seen_ms.abs_diff(off_ms) < TOLERANCE_MS
            })
    };
    group.until("the wrong clock is outvoted", |group| {
        (0..group.size()).all(|asked| is_so(group, asked))
    });
    let shown = group
        .ask((wrong + 1) % 3, &["store", "members"])
        .ok()
        .stdout;
    let line = shown
        .lines()
        .find(|line| line.contains(&group.peer_address(wrong)));
    assert!(line.is_some_and(|line| line.contains(" clock ")), "{shown}");
    sees_its_clock(group, wrong);
}

/// The times in its log are as wrong as they are meant to be.
fn sees_its_clock(group: &Group, replica: usize) {
    let log = group.server(replica).log();
    let time = |line: &str| line.split(' ').next()?.parse::<Timestamp>().ok();
    let last = log
        .lines()
        .rev()
        .find_map(time)
        .expect("a line with a time");
    let now_ms = SystemClock.now_ms().cast_signed();
    let ahead_ms = last.as_millisecond() - now_ms;
    let meant_ms = group.clock(replica) * 1_000;
    assert!(ahead_ms.abs_diff(meant_ms) < TOLERANCE_MS, "{last}");
}

/// Has the one with the wrong clock lead: of two that are there the other one stops. It leads no longer than until it has
/// heard of the others.
fn has_led(group: &mut Group, wrong: usize) {
    let [one, other] = [1, 2].map(|further| (wrong + further) % 3);
    let hands_over = |group: &Group| group.server(wrong).log().contains(HANDS_OVER);
    while !hands_over(group) {
        group.kill(other);
        if group.leader() == one {
            group.terminate(one);
            group.start(one);
        }
        group.start(other);
        group.until("it hands over, or another one leads", |group| {
            let all_ready = (0..3).all(|replica| group.is_ready(replica));
            let leads = (group.try_members(wrong)).is_none_or(|seen| {
                let mut members = seen.members.iter();
                members.any(|of| of.is_asked && of.role == "leader")
            });
            hands_over(group) || all_ready && !leads
        });
    }
}

fn one_with_a_wrong_clock(ahead_seconds: i64) {
    let mut group = Group::of_three();
    let mut before = Before::new(&group);

    let wrong = group.follower();
    restart_with_clock(&mut group, wrong, ahead_seconds);
    until_outvoted(&mut group, wrong);
    before.holds(&group);

    has_led(&mut group, wrong);
    until_outvoted(&mut group, wrong);
    before.holds(&group);

    // Nobody knows anybody's clock yet.
    group.terminate_all();
    for replica in 0..3 {
        group.start(replica);
    }
    until_outvoted(&mut group, wrong);
    before.holds(&group);

    restart_with_clock(&mut group, wrong, 0);
    group.until_whole();
    let wrong = group.leader();
    restart_with_clock(&mut group, wrong, ahead_seconds);
    until_outvoted(&mut group, wrong);
    before.holds(&group);

    restart_with_clock(&mut group, wrong, 0);
    group.until_whole();
    before.holds(&group);
    group.terminate_all();
    let state = runtime().block_on(in_process::common_state(&group));
    // A clock that is followed as far as half a minute.
    assert!(state.now_ms().abs_diff(SystemClock.now_ms()) < MINUTE_MS);
}

#[test]
fn one_is_an_hour_ahead() {
    one_with_a_wrong_clock(HOUR);
}

#[test]
fn one_is_an_hour_behind() {
    one_with_a_wrong_clock(-HOUR);
}

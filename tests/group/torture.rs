//! A minute in which everything happens to everybody. Whoever was told that it is in is in, nobody else is, and the
//! replicas agree to the byte.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::group::{Group, runtime};
use crate::in_process;
use crate::load::Load;

const LONG: Duration = Duration::from_secs(60);
const PAIRS: usize = 4;

fn nap(milliseconds: std::ops::Range<u64>) {
    let random = rand::rng().random_range(milliseconds);
    std::thread::sleep(Duration::from_millis(random));
}

#[test]
fn a_minute_of_kills_freezes_and_stops_under_load() {
    let mut group = Group::of_three();
    let load = Load::in_pairs(group.minter(0), group.doors(), PAIRS);
    let began = Instant::now();
    let mut done = [0; 3];
    while began.elapsed() < LONG {
        nap(1_000..3_000);
        assert!(!load.is_broken(), "a pair has found something wrong");
        group.none_has_ended();
        let replica = rand::rng().random_range(0..group.size());
        let what = rand::rng().random_range(0..done.len());
        match what {
            0 => {
                group.kill(replica);
                group.start(replica);
            }
            1 => {
                group.freeze(replica);
                nap(0..3_000);
                group.thaw(replica);
            }
            _ => {
                group.terminate(replica);
                group.start(replica);
            }
        }
        done[what] += 1;
    }
    let (decided, lost) = (load.decided(), load.lost());
    let ended = load.end();
    eprintln!(
        "{} kills, {} freezes, {} stops: {decided} admissions, {lost} answers lost",
        done[0], done[1], done[2]
    );
    assert!(decided > 20 && lost > 0);
    group.until_whole();
    let count = ended.races.len();
    ended.check();
    group.none_has_ended();
    group.terminate_all();

    let state = runtime().block_on(in_process::common_state(&group));
    assert_eq!(state.record_count(), count);
}

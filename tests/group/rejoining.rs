//! A replica that was away catches up.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use jointoken::lifecycle::Reason;
use jointoken::lifecycle::command::Abort;
use jointoken::store::submit;
use jointoken::token::TokenId;

use crate::group::{Group, runtime};
use crate::in_process;
use crate::program::Machine;

fn files(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect()
}

#[test]
fn one_that_was_away_catches_up_by_the_log() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    for is_killed in [true, false] {
        for leads in [false, true] {
            let leader = group.leader();
            let away = if leads { leader } else { (leader + 1) % 3 };
            match is_killed {
                true => group.kill(away),
                false => group.terminate(away),
            }
            let tokens: Vec<_> = (0..10).map(|_| minter.token()).collect();
            for token in &tokens {
                Machine::new().join(token).ok();
            }
            group.start(away);
            group.until_whole();
            let url = group.door_url(away);
            for token in &tokens {
                let late = Machine::new().join_with(token, &["--url", &url]);
                late.fails(5, &["used"]);
            }
        }
    }
    group.terminate_all();
    runtime().block_on(in_process::common_state(&group));
}

/// A snapshot is made of 16 MiB of log; so the two that stay make one of less where nobody but the test can say so.
#[test]
fn one_that_was_away_for_long_catches_up_by_a_snapshot() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let before = minter.token();
    Machine::new().join(&before).ok();
    let away = group.follower();
    group.kill(away);
    let token = minter.token();
    Machine::new().join(&token).ok();
    group.terminate_all();

    let stay: Vec<_> = (0..3).filter(|replica| *replica != away).collect();
    let group_dir = |replica: usize, name: &str| files(&group.data(replica).join(name));
    let snapshots = |replica| group_dir(replica, "store/snapshots").len();
    let oldest_log = |replica| group_dir(replica, "store/log").into_iter().min();
    let oldest = stay.iter().map(|replica| oldest_log(*replica));
    let oldest: Vec<_> = oldest.collect();
    runtime().block_on(async {
        let stores = in_process::open(&group, &stay, |config| {
            config.segment_bytes = 4 << 10;
            config.snapshot_after_bytes = 8 << 10;
            config.keep_entries = 1;
        })
        .await;
        // Until each has a snapshot and has forgotten what the third one lacks.
        let has_forgotten =
            |place: usize| snapshots(stay[place]) > 0 && oldest_log(stay[place]) != oldest[place];
        while !(has_forgotten(0) && has_forgotten(1)) {
            in_process::catches_up(&stores[0]).await;
            for _ in 0..20 {
                let unseen = Abort {
                    token_id: TokenId::random().expect("random numbers"),
                    reason: Reason::Operator,
                    keep_until_ms: None,
                };
                submit(&stores[0], unseen).await.expect("a majority");
            }
        }
        for store in &stores {
            store.shutdown().await;
        }
    });
    assert_eq!(snapshots(away), 0);
    for replica in 0..3 {
        group.start(replica);
    }
    group.until_whole();
    let received = files(&group.data(away).join("store/snapshots"));
    assert!(!received.is_empty(), "it was sent none");
    for token in [before, token] {
        let url = group.door_url(away);
        let late = Machine::new().join_with(&token, &["--url", &url]);
        late.fails(5, &["used"]);
    }
    let last = minter.token();
    let url = group.door_url(away);
    Machine::new().join_with(&last, &["--url", &url]).ok();
    group.terminate_all();
    runtime().block_on(in_process::common_state(&group));
}

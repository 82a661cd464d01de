//! A store whose clock has been a year ahead: nothing is issued until it is set back.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use jointoken::lifecycle::Command;
use jointoken::lifecycle::command::Sweep;
use jointoken::store::Backup;

use crate::program::{Machine, Ran, run, text};
use crate::snapshots::{inspected, save};
use crate::standalone::{Standalone, create};

const YEAR_MS: u64 = 365 * 24 * 3_600_000;

fn server_accepts(place: &Standalone) -> Ran {
    let socket = place.data().join("admin.sock");
    run(&["store", "clock", "accept", "--admin-socket", text(&socket)]).ok()
}

#[test]
fn a_clock_that_ran_ahead_is_set_back_by_a_new_epoch() {
    let place = Standalone::new();
    let server = place.setup().start();
    let used = create(&place.export("edge-*", "1h"), "edge-1");
    Machine::new().join(&used).ok();
    let file = save(&place, "a.snapshot");
    assert!(server.terminate().0.success());
    fs::rename(place.data(), place.path("lost")).unwrap();
    let keys = place.path("lost/keys");
    let restore = |more: &[&str]| {
        let data = place.data();
        let what = ["store", "snapshot", "restore", text(&file), "--yes"];
        let folders = ["--data-dir", text(&data), "--keys-dir", text(&keys)];
        run(&[&what[..], &folders, more].concat())
    };
    restore(&["--reset-clock"]).fails(2, &["leave out --reset-clock"]);

    // Somebody whose clock was ahead came to lead.
    let backup = Backup::decode(&fs::read(&file).unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at_ms = u64::try_from(now.as_millis()).unwrap() + YEAR_MS;
    let mut state = backup.state().clone();
    let index = backup.index() + 1;
    let operation = Sweep { limit: 0 }.into();
    state.apply(index, &Command { at_ms, operation });
    let ahead = Backup::of(index, at_ms, state).unwrap();
    fs::write(&file, ahead.encode()).unwrap();

    // As it is, it issues nothing for a year.
    restore(&[]).ok();
    let server = place.setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-2");
    Machine::new()
        .join_with(&token, &["--timeout", "1s"])
        .fails(7, &[]);
    server.wait_for_log("the store's clock is ahead");
    let accepted = server_accepts(&place);
    assert!(
        accepted
            .stdout
            .contains("s ahead of it: nothing is registered or claimed")
    );
    assert!(server.terminate().0.success());
    fs::rename(place.data(), place.path("ahead")).unwrap();

    restore(&["--reset-clock"]).ok();
    let server = place.setup().start();
    let fresh = create(&place.export("edge-*", "1h"), "edge-2");
    Machine::new().join(&fresh).ok();
    Machine::new().join(&used).fails(3, &["not valid here"]);
    let after = inspected(&save(&place, "b.snapshot"));
    assert_eq!(after["tokens"]["consumed"], 2);
    assert!(server.terminate().0.success());
}

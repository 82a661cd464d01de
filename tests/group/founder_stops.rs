//! Whoever founds a group may be told to stop at any moment, and goes on when it is started again.

use rustix::process::Signal;

use crate::group::Group;
use crate::server::{Server, wait_until};

/// It stops at once, and has nothing to complain about.
#[track_caller]
fn stops_well(server: Server, by: Signal) {
    server.signal(by);
    let ran = server.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for bad in ["panicked", "ERROR"] {
        assert!(!ran.stderr.contains(bad), "{ran:?}");
    }
}

#[test]
fn a_founder_that_is_told_to_stop_stops_and_goes_on_later() {
    let mut group = Group::new(3);
    let (keys, data) = (group.keys(), group.data(0));
    let mut signals = [Signal::TERM, Signal::INT].into_iter().cycle();
    let mut stop = |server| stops_well(server, signals.next().expect("one of two"));
    // It has nothing yet; it makes its keys; it has them; it opens its store.
    for made in [
        data.join("founding.lock"),
        keys.join("door-ca"),
        keys.join("resource-key"),
        data.join("store"),
    ] {
        let server = group.founder().spawn();
        let is_there = wait_until(|| server.get("/livez").is_some() && made.exists());
        assert!(is_there, "{}", made.display());
        stop(server);
    }
    // It waits for the others. What goes wrong then is a matter of microseconds.
    let waits = "waiting for the other replicas before the group is founded";
    for _ in 0..40 {
        let server = group.founder().spawn();
        server.wait_for_log(waits);
        stop(server);
    }
    // It waits for one of the others, and a newcomer waits for it.
    group.start(1);
    let server = group.founder().spawn();
    server.wait_for_log(&format!("waited_for=\"{}\"", group.peer_address(2)));
    stop(server);
    stop(group.take(1));

    group.found();
    group.terminate_all();
}

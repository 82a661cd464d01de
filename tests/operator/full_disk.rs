//! A disk that is full: the store stops rather than lose something, and goes on once there is room.

use std::fs;

use crate::program::Machine;
use crate::small_disk::SmallDisk;
use crate::standalone::{Standalone, create};

#[test]
fn a_full_disk_stops_the_store_and_nothing_is_lost() {
    let place = Standalone::new();
    let Some(disk) = SmallDisk::mount(&place.data()) else {
        return;
    };
    let mut server = place.setup().start();
    let key = place.export("edge-*", "1h");
    let tokens: Vec<String> = (0..200)
        .map(|n| create(&key, &format!("edge-{n}")))
        .collect();
    Machine::new().join(&tokens[0]).ok();

    let filler = disk.fill(16 * 1024);
    let (mut admitted, mut left) = (vec![&tokens[0]], tokens[1..].iter());
    let mut machine = Machine::new();
    let mut token = left.next().unwrap();
    let mut last = None;
    while server.is_running() {
        let ran = machine.join_with(token, &["--timeout", "3s"]);
        if ran.code == Some(0) {
            admitted.push(token);
            machine = Machine::new();
            token = left.next().expect("the disk must have become full");
        } else {
            last = Some(ran);
        }
    }
    let ran = last.expect("somebody was asking when it stopped");
    ran.fails(7, &["run the same command again"]);
    server.end().fails(
        1,
        &[
            "the store has stopped",
            "No space left on device",
            "start again",
        ],
    );

    // Started again without room it says so, and changes nothing for the worse.
    place.setup().run().fails(1, &["No space left on device"]);

    fs::remove_file(filler).unwrap();
    let server = place.setup().start();
    machine.join(token).ok();
    for token in admitted {
        Machine::new().join(token).fails(5, &["used"]);
    }
    assert!(server.terminate().0.success());
    drop(disk);
}

//! One replica's disk is full: it ends, the others go on.

use std::fs;

use crate::group::Group;
use crate::program::Machine;
use crate::small_disk::SmallDisk;

#[test]
fn one_whose_disk_is_full_ends_and_the_others_go_on() {
    let mut group = Group::new(3);
    let Some(disk) = SmallDisk::mount(&group.data(0)) else {
        return;
    };
    group.found();
    // It leads, so that it matters.
    let leads = group.leader() == 0;
    let minter = group.minter(1);
    let filler = disk.fill(16 * 1024);
    let mut server = group.take(0);
    let mut admitted = Vec::new();
    while server.is_running() {
        let token = minter.token();
        Machine::new().join(&token).ok();
        admitted.push(token);
    }
    eprintln!("full after {} admissions; it led: {leads}", admitted.len());
    let says = [
        "the store has stopped",
        "No space left on device",
        "start again",
    ];
    server.end().fails(1, &says);
    for _ in 0..5 {
        let token = minter.token();
        Machine::new().join(&token).ok();
        admitted.push(token);
    }
    // Started again without room it says so; the others go on.
    group.setup(0).run().fails(1, &["No space left on device"]);
    Machine::new().join(&minter.token()).ok();

    fs::remove_file(filler).unwrap();
    group.start(0);
    group.until_whole();
    let url = group.door_url(0);
    for token in admitted {
        let late = Machine::new().join_with(&token, &["--url", &url]);
        late.fails(5, &["used"]);
    }
    group.terminate_all();
    drop(disk);
}

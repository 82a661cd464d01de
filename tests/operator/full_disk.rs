//! A disk that is full: the store stops rather than lose something, and goes on once there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Machine, text};
use crate::standalone::{Standalone, create};

/// A small file system of its own. Dropping it takes it away.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this is not allowed.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=3m", "jointoken-test", text(at)]);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(at.to_path_buf())),
            Ok(output) => {
                println!("skipped, mount is not allowed: {output:?}");
                None
            }
            Err(error) => {
                println!("skipped, no mount: {error}");
                None
            }
        }
    }

    /// Leaves so many bytes free.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
        let written = file.metadata().unwrap().len();
        file.set_len(written.saturating_sub(left)).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also under a server that a failed test has left behind.
        let _ = Command::new("umount").args(["-l", text(&self.0)]).status();
    }
}

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

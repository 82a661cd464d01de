//! Data folders that are taken, mixed up, damaged or full.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::port;
use crate::program::{Machine, text};
use crate::standalone::{Standalone, create};

/// All files below a folder, with what they hold; but for the lock, which says who had it last.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if path.is_file() && !path.ends_with("lock") {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// The last segment of the log.
fn last_segment(place: &Standalone) -> PathBuf {
    let log = place.data().join("store/log");
    let files = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files.max().expect("a segment of the log")
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let place = Standalone::new();
    let first = place.setup().start();
    let config = place.config();
    let config = config.replace(
        &format!("127.0.0.1:{}", place.door_port),
        &format!("127.0.0.1:{}", port::reserve()),
    );
    let second = place.setup_of(&config).run();
    second.fails(1, &[text(&place.data()), "in use by another process"]);
    let key = place.export("edge-*", "1h");
    Machine::new().join(&create(&key, "edge-7")).ok();
    assert!(first.terminate().0.success());
}

#[test]
fn a_folder_of_another_store_is_refused() {
    let (one, two) = (Standalone::new(), Standalone::new());
    for place in [&one, &two] {
        assert!(place.setup().start().terminate().0.success());
    }
    let swap = |name: &str| {
        let (a, b) = (one.data().join(name), two.data().join(name));
        let beside = one.path("beside");
        fs::rename(&a, &beside).unwrap();
        fs::rename(&b, &a).unwrap();
        fs::rename(&beside, &b).unwrap();
    };
    for name in ["store", "keys", "identity"] {
        swap(name);
        let before = contents(&one.data());
        one.setup().run().fails(1, &["store", "back"]);
        assert_eq!(contents(&one.data()), before, "{name}");
        swap(name);
    }
    one.setup().start();
    let config = one.config().replace("edge.example", "prod.example");
    let ran = one.setup_of(&config).run();
    ran.fails(
        1,
        &[
            "founded for the trust domain \"edge.example\"",
            "set it back",
        ],
    );
}

#[test]
fn a_store_that_vanished_is_not_made_anew() {
    let place = Standalone::new();
    assert!(place.setup().start().terminate().0.success());
    for (name, says) in [
        ("store", "that store is not in"),
        ("store/log", "the log in"),
        ("store/identity", "that store is not in"),
        ("identity", "identity: is missing, and"),
    ] {
        let (there, aside) = (place.data().join(name), place.path("aside"));
        fs::rename(&there, &aside).unwrap();
        let ran = place.setup().run();
        ran.fails(1, &[says, text(&place.data().join("store"))]);
        // A folder may have been made for it, and nothing in it.
        assert!(!there.is_file());
        if there.is_dir() {
            assert_eq!(contents(&there), BTreeMap::new());
            fs::remove_dir_all(&there).unwrap();
        }
        fs::rename(&aside, &there).unwrap();
    }
    assert!(place.setup().start().terminate().0.success());
}

#[test]
fn a_torn_tail_is_cut_and_damage_before_it_refuses_to_start() {
    let place = Standalone::new();
    let server = place.setup().start();
    let key = place.export("edge-*", "1h");
    let tokens = ["edge-1", "edge-2", "edge-3"].map(|node| create(&key, node));
    for token in &tokens[..2] {
        Machine::new().join(token).ok();
    }
    server.kill();

    // The power failed in the midst of a write: the last bytes never came to the disk.
    let segment = last_segment(&place);
    let length = fs::metadata(&segment).unwrap().len();
    let torn = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    torn.set_len(length - 3).unwrap();
    let server = place.setup().start();
    server.wait_for_log("cut the torn tail of the log");
    Machine::new().join(&tokens[0]).fails(5, &["used"]);
    Machine::new().join(&tokens[2]).ok();
    server.kill();

    // A bit that was synced has turned.
    let segment = last_segment(&place);
    let length = fs::metadata(&segment).unwrap().len();
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&segment)
        .unwrap();
    let (at, mut byte) = (length / 2, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    let before = contents(&place.data());
    let ran = place.setup().run();
    let line = ran.fails(
        1,
        &[
            text(&segment),
            "is damaged at byte",
            "nothing was changed",
            "older copy",
        ],
    );
    let offset = line
        .split("at byte ")
        .nth(1)
        .and_then(|rest| rest.split(':').next());
    let offset: u64 = offset.unwrap().parse().unwrap();
    assert!(offset <= at && at - offset < 4096, "{at}: {line}");
    assert_eq!(contents(&place.data()), before);

    file.write_all_at(&byte, at).unwrap();
    let server = place.setup().start();
    for token in [&tokens[0], &tokens[2]] {
        Machine::new().join(token).fails(5, &["used"]);
    }
    assert!(server.terminate().0.success());
}

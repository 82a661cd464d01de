//! `jointoken store snapshot save` and `inspect`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{Machine, Ran, id_of, jointoken, run, text};
use crate::standalone::{Standalone, create};

fn save_with(place: &Standalone, file: &Path, more: &[&str]) -> Ran {
    let socket = place.data().join("admin.sock");
    let from = ["store", "snapshot", "save", "--admin-socket", text(&socket)];
    run(&[&from[..], &["--out", text(file)], more].concat())
}

/// Saves a snapshot of the running server; where it is.
#[track_caller]
pub fn save(place: &Standalone, name: &str) -> PathBuf {
    let file = place.path(name);
    save_with(place, &file, &[]).ok();
    file
}

fn inspect(file: &Path) -> Ran {
    run(&["store", "snapshot", "inspect", text(file)])
}

#[track_caller]
pub fn inspected(file: &Path) -> Value {
    let inspect = ["store", "snapshot", "inspect", text(file)];
    let ran = run(&[&inspect[..], &["--output", "json"]].concat()).ok();
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn what_was_acknowledged_before_is_in_a_snapshot_saved_under_load() {
    let place = Standalone::new();
    let server = place.setup().start();
    let key = place.export("edge-*", "1h");
    let tokens: Vec<String> = (0..20)
        .map(|n| create(&key, &format!("edge-{n}")))
        .collect();
    let (before, meanwhile) = tokens.split_at(4);
    for token in before {
        Machine::new().join(token).ok();
    }
    let files: Vec<PathBuf> = std::thread::scope(|scope| {
        let loads: Vec<_> = meanwhile
            .chunks(8)
            .map(|tokens| {
                scope.spawn(move || {
                    for token in tokens {
                        Machine::new().join(token).ok();
                    }
                })
            })
            .collect();
        let files = (0..4).map(|n| save(&place, &format!("{n}.snapshot")));
        let files = files.collect();
        for load in loads {
            load.join().expect("a machine that joins");
        }
        files
    });
    let mut last = 0;
    for file in &files {
        let said = inspected(file);
        let consumed = said["tokens"]["consumed"].as_u64().unwrap();
        assert!((4..=20).contains(&consumed), "{said}");
        let index = said["index"].as_u64().unwrap();
        assert!(index >= last, "{said}");
        last = index;
    }
    let said = inspected(&save(&place, "last.snapshot"));
    assert_eq!(said["tokens"]["consumed"], 20);
    assert_eq!(said["trustDomain"], "edge.example");
    assert_eq!(
        (&said["epoch"], &said["retiredKeys"]),
        (&json!(1), &json!(0))
    );
    let keys: Vec<_> = said["keys"].as_array().unwrap().iter().collect();
    let names = keys.iter().map(|key| key["name"].as_str().unwrap());
    for name in ["door-ca", "members-ca", "peers-ca", "offline-master"] {
        assert!(names.clone().any(|there| there == name), "{said}");
    }
    assert!(names.clone().any(|name| name.starts_with("offline key ")));
    assert!(server.terminate().0.success());
}

#[test]
fn a_snapshot_is_the_owners_alone_and_replaces_nothing_by_itself() {
    let place = Standalone::new();
    let server = place.setup().start();
    let key = place.export("edge-*", "1h");
    let token = create(&key, "edge-1");
    Machine::new().join(&token).ok();
    let file = save(&place, "a.snapshot");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let bytes = fs::read(&file).unwrap();
    // Neither token nor key is in it.
    for item in ["offline-master/key", "resource-key/key", "door-ca/tls.key"] {
        let secret = fs::read(place.data().join("keys").join(item)).unwrap();
        let secret = secret.trim_ascii();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }
    save_with(&place, &file, &[]).fails(2, &["exists already", "--force"]);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    save_with(&place, &place.path("no/where"), &[]).fails(2, &["cannot write the snapshot"]);
    let saved = save_with(&place, &file, &["--force", "--output", "json"]).ok();
    let saved: Value = serde_json::from_str(&saved.stdout).unwrap();
    let said = inspected(&file);
    for field in ["storeId", "epoch", "index", "sha256"] {
        assert_eq!(saved[field], said[field], "{field}");
    }
    let piped = place.path("piped.snapshot");
    let socket = place.data().join("admin.sock");
    let status = jointoken()
        .args(["store", "snapshot", "save", "--out", "-"])
        .args(["--admin-socket", text(&socket)])
        .stdout(fs::File::create(&piped).unwrap())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(inspected(&piped)["tokens"]["consumed"], 1);
    let text = inspect(&file).ok().stdout;
    assert!(
        text.contains("1 consumed") && text.contains("whole"),
        "{text}"
    );
    assert!(!text.contains(&token) && !text.contains(&id_of(&token)));

    assert!(server.terminate().0.success());
    let none = place.path("none.snapshot");
    save_with(&place, &none, &[]).fails(2, &["cannot reach a replica"]);
    let left: Vec<_> = fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("none"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_no_whole_snapshot_is_told_in_one_line() {
    let golden = include_bytes!("../store/golden/backup-1.backup");
    let place = Standalone::new();
    let file = place.path("a.snapshot");
    let data = place.data();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = golden.to_vec();
        change(&mut bytes);
        bytes
    };
    for (bytes, says) in [
        (damaged(&|b| b.truncate(b.len() - 1)), "is cut short"),
        (damaged(&|b| b.truncate(9)), "is cut short"),
        (damaged(&|b| b.push(0)), "behind its end"),
        (damaged(&|b| b[200] ^= 1), "is damaged"),
        (damaged(&|b| b[8] = 9), "format 9"),
        (b"#!/bin/sh".to_vec(), "is no snapshot"),
        (vec![], "is no snapshot"),
    ] {
        fs::write(&file, bytes).unwrap();
        inspect(&file).fails(3, &[text(&file), says]);
        // Nor is anything begun with it.
        let restore = ["store", "snapshot", "restore", text(&file), "--yes"];
        run(&[&restore[..], &["--data-dir", text(&data)]].concat()).fails(3, &[says]);
        assert!(!data.exists());
    }
    fs::write(&file, golden).unwrap();
    inspect(&file).ok();
    inspect(&place.path("b.snapshot")).fails(2, &["cannot read the snapshot"]);
}

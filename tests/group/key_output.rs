//! What becomes of a command whose output fails. An exported key takes a place in the store for good: none is made for an output
//! that cannot take it. What is done and cannot be taken back is not reported as failed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use serde_json::Value;

use crate::group::Group;
use crate::program::{Ran, finish, jointoken, text};
use crate::small_disk::SmallDisk;

const EXPORT: [&str; 6] = ["key", "export", "--pattern", "edge-*", "--max-ttl", "1h"];

/// The ids of the offline keys that the store knows.
fn known(group: &Group) -> Vec<String> {
    let listed = group.ask(0, &["key", "list", "--output", "json"]).ok();
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let keys = listed["keys"].as_array().expect("keys").iter();
    let offline = keys.filter(|key| key["purpose"] == "offline");
    offline
        .map(|key| key["keyId"].as_str().expect("an id").to_owned())
        .collect()
}

fn export_to(group: &Group, stdout: Stdio, options: &[&str]) -> Ran {
    let mut command = jointoken();
    command.args(EXPORT).args(options).stdout(stdout);
    command.args(["--admin-socket", text(&group.socket(0))]);
    let child = command.stderr(Stdio::piped()).spawn();
    let output = child.and_then(std::process::Child::wait_with_output);
    let output = output.expect("running the program");
    Ran {
        code: output.status.code(),
        stdout: String::new(),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

#[test]
fn a_key_whose_output_fails_is_not_made_or_is_named() {
    let mut group = Group::new(1);
    group.found();
    // What a pipe or a device will take shows only when the key is there.
    for options in [&[][..], &["--output", "json"]] {
        let before = known(&group).len();
        let full = File::options().write(true).open("/dev/full").expect("it");
        let ran = export_to(&group, full.into(), options);
        let (reader, closed) = std::io::pipe().expect("a pipe");
        drop(reader);
        let hung_up = export_to(&group, closed.into(), options);
        let known = known(&group);
        assert_eq!(known.len(), before + 2);
        for ran in [ran, hung_up] {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            for says in ["cannot write to standard output", "export another"] {
                assert!(ran.stderr.contains(says), "{ran:?}");
            }
            assert!(known.iter().any(|id| ran.stderr.contains(id)), "{ran:?}");
        }
    }

    let Some(disk) = SmallDisk::mount(&group.path("full")) else {
        return;
    };
    let filler = disk.fill(0);
    let out = group.path("full/edge.key");
    let before = known(&group);
    let ran = group.ask(0, &[&EXPORT[..], &["--out", text(&out)]].concat());
    ran.fails(
        1,
        &["cannot write the signing key", "No space left on device"],
    );
    assert!(!out.exists());
    assert_eq!(known(&group), before);

    std::fs::remove_file(filler).expect("making room");
    group
        .ask(0, &[&EXPORT[..], &["--out", text(&out)]].concat())
        .ok();
    assert_eq!(known(&group).len(), before.len() + 1);
    let mint = ["create", "--key-file", text(&out), "--node", "edge-1"];
    finish(jointoken().args(mint)).ok();
    group.terminate_all();
}

/// Scripts took it for a failure, and did it again.
#[test]
fn what_is_done_is_not_reported_as_failed() {
    let mut group = Group::new(1);
    group.found();
    let key = group.path("edge.key");
    // No text, as JSON must have it.
    let snapshot = group
        .path("snapshots")
        .join(OsStr::from_bytes(b"\xff.snapshot"));
    std::fs::create_dir_all(snapshot.parent().expect("a folder")).expect("making it");
    let id = "00".repeat(16);
    let commands: [&[&OsStr]; 4] = [
        &["store", "snapshot", "save", "--out"].map(OsStr::new),
        &[
            "key",
            "export",
            "--pattern",
            "e*",
            "--max-ttl",
            "1h",
            "--out",
        ]
        .map(OsStr::new),
        &["token", "abort", &id].map(OsStr::new),
        &["token", "revoke", &id].map(OsStr::new),
    ];
    for (command, out) in commands
        .iter()
        .zip([Some(&snapshot), Some(&key), None, None])
    {
        let full = File::options().write(true).open("/dev/full").expect("it");
        let mut ran = jointoken();
        ran.args(*command).args(out).args(["--output", "json"]);
        ran.args(["--admin-socket", text(&group.socket(0))]);
        let child = ran.stdout(full).stderr(Stdio::piped()).spawn();
        let output = child.and_then(std::process::Child::wait_with_output);
        let output = output.expect("running the program");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(0), "{command:?}: {stderr}");
        let warning: Value = serde_json::from_str(stderr.trim()).expect("JSON");
        let warning = warning["warning"].as_str().expect("a warning");
        assert!(
            warning.starts_with("it is done, but cannot write"),
            "{warning}"
        );
    }
    assert!(snapshot.exists() && key.exists());

    let again = group
        .path("snapshots")
        .join(OsStr::from_bytes(b"\xfe.snapshot"));
    let mut save = jointoken();
    save.args(["store", "snapshot", "save", "--output", "json", "--out"]);
    save.arg(again)
        .args(["--admin-socket", text(&group.socket(0))]);
    let saved = finish(&mut save).ok();
    let saved: Value = serde_json::from_str(&saved.stdout).expect("JSON");
    let file = saved["file"].as_str().expect("a path");
    assert!(file.ends_with("\u{fffd}.snapshot"), "{file}");
    group.terminate_all();
}

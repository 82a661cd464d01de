//! The program as a whole, and the commands that print what it is.

use std::fs;
use std::process::{Command, Stdio};

use crate::Fixture;

#[test]
fn crd_prints_what_is_checked_in() {
    let fixture = Fixture::new();
    let ran = fixture.run(&["crd"]);
    let checked_in = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/jointoken.yaml");
    assert_eq!(
        ran.succeeds().stdout,
        fs::read_to_string(checked_in).unwrap()
    );
    let json = fixture.run(&["crd", "--output", "json"]).succeeds().json();
    assert_eq!(json["metadata"]["name"], "jointokens.jointoken.io");
}

#[test]
fn help_names_commands_examples_and_exit_codes() {
    let fixture = Fixture::new();
    let help = fixture.run(&["--help"]);
    for says in [
        "create",
        "inspect",
        "crd",
        "version",
        "Looks after the store: its replicas, its clock, snapshots for backups, upgrades",
        "5  the token was used already",
        "never from the",
    ] {
        assert!(
            help.succeeds().stdout.contains(says),
            "{says}: {}",
            help.stdout
        );
    }
    for command in [
        &["create"][..],
        &["inspect"],
        &["join"],
        &["operator"],
        &["key", "export"],
        &["key", "list"],
        &["token", "list"],
        &["token", "show"],
        &["token", "abort"],
        &["token", "revoke"],
        &["token", "forget"],
        &["store", "clock", "accept"],
        &["store", "recover"],
        &["store", "snapshot", "save"],
        &["store", "snapshot", "inspect"],
        &["store", "snapshot", "restore"],
    ] {
        let help = fixture.run(&[command, &["--help"]].concat());
        for says in ["Examples:", "Exit codes:", "--output <FORM>"] {
            assert!(
                help.succeeds().stdout.contains(says),
                "{says}: {}",
                help.stdout
            );
        }
    }
    fixture.run(&[]).fails(2, "Usage: jointoken");
    fixture.run(&["frobnicate"]).fails(2, "frobnicate");
}

#[test]
fn version_names_the_formats() {
    let fixture = Fixture::new();
    let ran = fixture.run(&["version"]);
    let expected = format!(
        "jointoken {}\ntoken formats: jt1, nodedb\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(ran.succeeds().stdout, expected);
    let said = fixture
        .run(&["--output", "json", "version"])
        .succeeds()
        .json();
    assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
}

/// `jointoken crd | head -1` is not a failure.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jointoken"))
        .arg("crd")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// What the documentation is generated from; nobody else needs it.
#[test]
fn openapi_prints_what_the_door_serves_and_is_hidden() {
    let fixture = Fixture::new();
    let said = fixture.run(&["openapi"]).succeeds().json();
    assert!(said["paths"]["/v1/join"].is_object());
    let checked_in = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    assert_eq!(
        fixture.run(&["openapi"]).stdout,
        fs::read_to_string(checked_in).unwrap()
    );
    assert!(!fixture.run(&["--help"]).stdout.contains("openapi"));
}

//! `jointoken join`, the program: where the token comes from, what is printed, how it ends.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jointoken::clock::{Clock, ManualClock, SystemClock};
use jointoken::store::reference::InMemoryStore;
use jointoken::token::mint_nodedb;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{HOUR, MINUTE, SECOND, World, soon};

#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "");
        let error = self.stderr.lines().last().unwrap();
        assert!(
            error.starts_with("error: ") && error.contains(says),
            "{self:?}"
        );
    }
}

/// The world of today: the program has the machine's clock.
pub async fn world() -> World {
    let clock = ManualClock::new(SystemClock.now_ms());
    let store = Arc::new(InMemoryStore::new(Arc::new(clock.clone())));
    World::open_on(clock, store, |_| ()).await
}

/// Runs the program with this on its standard input and in its environment.
async fn run(arguments: &[&str], stdin: &str, environment: Option<&str>) -> Ran {
    let token = environment.map(|token| ("JOINTOKEN_TOKEN", token));
    let mut command = command();
    command.args(arguments).envs(token);
    finish(command, stdin).await
}

/// `jointoken join` in an environment that names no token and no proxy.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jointoken"));
    command.arg("join").env_remove("JOINTOKEN_TOKEN");
    for name in ["https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.stdout(Stdio::piped());
    command
}

/// Runs it with this on its standard input.
pub async fn finish(mut command: Command, stdin: &str) -> Ran {
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let stdin = stdin.to_owned();
    // The door that it talks to runs on this thread.
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // It may end before it reads anything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    });
    let output = soon(output).await.unwrap();
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    crate::marks::check(&ran.stderr);
    ran
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn it_joins_from_a_file_and_says_so_to_people() {
    let world = world().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{}\n", token.text.expose())).unwrap();
    let out = folder.path().join("machine");
    let arguments = ["--token-file", text(&file), "--out", text(&out)];
    // The longest time that can be said is no fault of the program's.
    let patient = [&arguments[..], &["--timeout", "18446744073709551615s"]].concat();
    let ran = run(&patient, "", None).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let id = token.id.to_string();
    let headline = format!("db-1 joined (prod.example.com, token {id})");
    assert_eq!(ran.stdout.lines().next(), Some(headline.as_str()));
    assert!(ran.stdout.contains(&format!("{}/tls.crt", text(&out))));
    assert_eq!(ran.stderr, "");
    let again = run(&arguments, "", None).await;
    assert_eq!(again.code, Some(0));
    assert!(again.stdout.contains("has joined already"));
    // A second machine.
    let other = folder.path().join("other");
    let arguments = ["--token-file", text(&file), "--out", text(&other)];
    run(&arguments, "", None).await.fails(5, "has been used");
}

#[tokio::test]
async fn it_joins_from_standard_input_or_the_environment_and_says_so_to_programs() {
    let world = world().await;
    let folder = TempDir::new().unwrap();
    for (source, stdin, environment) in [(Some("-"), true, false), (None, false, true)] {
        let token = world.offline_token(&world.offline_claims());
        let secret = token.text.expose();
        let out = folder.path().join(token.id.to_string());
        let mut arguments = vec!["--output", "json", "--out", text(&out)];
        arguments.extend(source.iter().flat_map(|source| ["--token-file", source]));
        let ran = run(
            &arguments,
            if stdin { secret } else { "" },
            environment.then_some(secret),
        )
        .await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["node"], "edge-7");
        assert_eq!(report["tokenId"], token.id.to_string());
        assert_eq!(report["alreadyJoined"], false);
        assert_eq!(report["warning"], Value::Null);
        assert!(!ran.stdout.contains(secret));
    }
}

#[tokio::test]
async fn a_nodedb_token_is_told_where_and_whom_by_options() {
    let world = world().await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("machine");
    let ca = folder.path().join("door-ca.crt");
    std::fs::write(&ca, world.door_ca.cert_pem()).unwrap();
    let expiry = (world.clock.now_ms() + HOUR) / SECOND;
    let token = mint_nodedb(&world.keys.nodedb, 7, expiry).unwrap();
    let url = world.url();
    let ran = run(&["--out", text(&out)], token.expose(), None).await;
    ran.fails(2, "--url");
    let arguments = ["--out", text(&out), "--url", &url];
    let ran = run(&arguments, token.expose(), None).await;
    ran.fails(2, "--ca-file");
    let arguments = ["--out", text(&out), "--url", &url, "--ca-file", text(&ca)];
    let ran = run(&arguments, token.expose(), None).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // Nothing was made for the runs that could not be.
    assert!(ran.stdout.starts_with("node-7 joined"));
}

#[tokio::test]
async fn wrong_input_ends_it_before_anything_is_made_or_asked() {
    let world = world().await;
    let token = world.plain_token().await;
    let secret = token.text.expose();
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("machine");
    let cut = &secret[..secret.len() - 5];
    let base64 = data_encoding::BASE64.encode(secret.as_bytes());
    for (arguments, stdin, code, says) in [
        (vec![], "", 2, "there is no token"),
        (vec![], "jt2_abcdef", 3, "jt2"),
        (vec![], cut, 3, ""),
        (vec!["--token-file", "/no/such/file"], "", 2, "cannot read"),
        (vec!["--ca-file", "/no/such/file"], secret, 2, "cannot use"),
        (vec!["--timeout", "0s"], secret, 2, "--timeout is zero"),
        (vec![], &base64, 3, "decode it first"),
    ] {
        let mut all = vec!["--out", text(&out)];
        all.extend(arguments);
        run(&all, stdin, None).await.fails(code, says);
    }
    // These clap refuses, with its own words.
    for wrong in [
        ["--ca-pin", "zz"],
        ["--url", "http://door"],
        ["--timeout", "soon"],
    ] {
        let ran = run(&wrong, secret, None).await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(wrong[0]), "{ran:?}");
    }
    assert!(!out.exists());
    assert!(world.observer.answered().is_empty());
}

#[tokio::test]
async fn a_clock_that_is_off_and_a_door_that_is_not_the_one_have_their_codes() {
    let world = world().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    world.clock.advance(10 * MINUTE);
    let arguments = ["--out", text(folder.path()), "--timeout", "1s"];
    let ran = run(&arguments, token.text.expose(), None).await;
    ran.fails(7, "seconds behind (at most 5 minutes");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");

    let other = self::world().await;
    let url = other.url();
    let arguments = ["--out", text(folder.path()), "--url", &url];
    let ran = run(&arguments, token.text.expose(), None).await;
    ran.fails(6, "the token was not sent");
    assert!(world.observer.answered().is_empty());
    assert!(other.observer.answered().is_empty());
}

/// The machine had joined, and was told to scripts as one that had not.
#[tokio::test]
async fn a_report_that_cannot_be_given_does_not_make_a_join_fail() {
    let world = world().await;
    let folder = TempDir::new().unwrap();
    for output in ["text", "json"] {
        // A path that is no text, as JSON must have it.
        let token = world.offline_token(&world.offline_claims());
        let name = [output.as_bytes(), b"-\xff"].concat();
        let out = folder.path().join(std::ffi::OsStr::from_bytes(&name));
        let mut joining = command();
        joining.args(["--output", output, "--out"]).arg(&out);
        let ran = finish(joining, token.text.expose()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.stdout.contains(&format!("{output}-\u{fffd}")),
            "{ran:?}"
        );
        assert!(out.join("tls.crt").exists());

        let token = world.offline_token(&world.offline_claims());
        let out = folder.path().join(format!("{output}-full"));
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut joining = command();
        joining.args(["--output", output, "--out", text(&out)]);
        joining.stdout(full.unwrap());
        let ran = finish(joining, token.text.expose()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for says in ["warning", "it is done, but cannot write to standard output"] {
            assert!(ran.stderr.contains(says), "{ran:?}");
        }
        assert!(out.join("tls.crt").exists());
    }
}

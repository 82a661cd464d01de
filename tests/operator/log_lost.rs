//! A log that cannot be written: on a full disk, or to a reader that has gone. Nothing ends or fails for it, and the
//! audit waits.

use std::fs::{self, File};
use std::io::{self, Read};

use crate::program::{Machine, finish, id_of, jointoken};
use crate::server::{Server, wait_until};
use crate::small_disk::SmallDisk;
use crate::standalone::{Standalone, create};

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

pub fn metric(server: &Server, name: &str) -> String {
    let (_, text) = server.get("/metrics").expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.expect(name).trim().to_owned()
}

/// One machine joins, another is refused for it; the token's id.
fn admit_one(place: &Standalone, node: &str) -> String {
    let key = place.export("edge-*", "1h");
    let token = create(&key, node);
    Machine::new().join(&token).ok();
    Machine::new().join(&token).fails(5, &["used"]);
    id_of(&token)
}

/// What was told of this token, in order.
pub fn told(log: &str, token_id: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains(token_id));
    let actions = lines.filter_map(|line| line.split_once("action=\"")?.1.split('"').next());
    actions.map(str::to_owned).collect()
}

#[test]
fn nothing_fails_for_a_full_disk_under_the_log_and_the_next_start_tells_the_audit() {
    let place = Standalone::new();
    let setup = place.setup();
    let mut server = setup.spawn_saying_to(full());
    server.until_ready();
    let token_id = admit_one(&place, "edge-1");
    assert!(server.is_running());
    assert_eq!(metric(&server, "jointoken_log_writable "), "0");
    let lost = metric(&server, "jointoken_log_lines_lost_total ");
    assert!(lost.parse::<u64>().unwrap() > 0, "{lost}");
    let (status, took) = server.terminate();
    assert!(status.success(), "{status} after {took:?}");
    assert!(took.as_secs() < 30, "{took:?}");

    let server = setup.start();
    server.wait_for_log("action=\"contested\"");
    let told = told(&server.log(), &token_id);
    assert!(
        told.starts_with(&["registered".into(), "claimed".into()]),
        "{told:?}"
    );
    assert!(told.contains(&"admitted".to_owned()), "{told:?}");
    assert_eq!(metric(&server, "jointoken_log_writable "), "1");
    assert!(server.terminate().0.success());
}

#[test]
fn nothing_fails_when_the_reader_of_the_log_has_gone() {
    let place = Standalone::new();
    let setup = place.setup();
    let (mut reader, writer) = io::pipe().unwrap();
    let mut server = setup.spawn_saying_to(writer);
    server.until_ready();
    let mut first = [0; 64];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    let token_id = admit_one(&place, "edge-1");
    assert!(server.is_running());
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");

    // Gone before the start, too.
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut server = setup.spawn_saying_to(writer);
    server.until_ready();
    server.kill();
    let server = setup.start();
    server.wait_for_log("action=\"contested\"");
    let told = told(&server.log(), &token_id);
    assert!(told.contains(&"admitted".to_owned()), "{told:?}");
}

#[test]
fn once_there_is_room_again_the_log_goes_on_and_tells_what_it_lost() {
    let place = Standalone::new();
    let disk_at = place.path("disk");
    let Some(disk) = SmallDisk::mount(&disk_at) else {
        return;
    };
    let log = disk_at.join("log");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap();
    let mut server = place.setup().spawn_saying_to(file);
    server.until_ready();
    let filler = disk.fill(0);
    // What is left of the log's last page is written before the disk is full for it, too.
    while metric(&server, "jointoken_log_lines_lost_total ") == "0" {
        admit_one(&place, "edge-1");
    }
    let token_id = admit_one(&place, "edge-2");
    fs::remove_file(filler).unwrap();
    let read = || String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    assert!(
        wait_until(|| told(&read(), &token_id).len() >= 4),
        "{}",
        read()
    );
    assert!(
        read().contains("lines of the log before this one"),
        "{}",
        read()
    );
    assert!(server.is_running());
    assert!(server.terminate().0.success());
}

#[test]
fn who_cannot_say_why_it_ends_has_its_exit_code_nevertheless() {
    let place = Standalone::new();
    let ends = |arguments: &[&str]| {
        let mut command = jointoken();
        finish(command.args(arguments).stderr(full())).code
    };
    assert_eq!(ends(&["serve", "--config", "/no/such/file"]), Some(2));
    assert_eq!(ends(&["frobnicate"]), Some(2));
    assert_eq!(
        ends(&["key", "list", "--admin-socket", "/no/such"]),
        Some(2)
    );
    // A port that is taken, with a log that was begun.
    let taken = std::net::TcpListener::bind(("127.0.0.1", place.door_port)).unwrap();
    for format in ["text", "json"] {
        let mut setup = place.setup();
        setup.arguments.push(format!("--log-format={format}"));
        let ended = setup.spawn_saying_to(full()).end();
        assert_eq!(ended.code, Some(1));
    }
    drop(taken);
}

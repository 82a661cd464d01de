//! What is asked over the Unix socket, and who may ask.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use jointoken::token::OfflineKeyFile;
use serde_json::Value;

use crate::program::{run, text};
use crate::standalone::Standalone;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn known_keys(place: &Standalone) -> Vec<Value> {
    let socket = place.data().join("admin.sock");
    let list = ["key", "list", "--admin-socket", text(&socket)];
    let ran = run(&[&list[..], &["--output", "json"]].concat()).ok();
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    said["keys"].as_array().unwrap().clone()
}

#[test]
fn the_socket_and_what_comes_out_of_it_are_the_owners_alone() {
    let place = Standalone::new();
    let server = place.setup().start();
    let socket = place.data().join("admin.sock");
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!((mode(&socket), mode(&place.data())), (0o600, 0o700));
    let key = place.export("edge-*", "1h");
    assert_eq!(mode(&key), 0o600);

    // What is there already is not overwritten, and no key is made in vain: each stays in the store for good.
    let before = known_keys(&place);
    let content = fs::read(&key).unwrap();
    place
        .try_export("edge-*", "1h", &key)
        .fails(2, &["exists already"]);
    place
        .try_export("edge-*", "1h", &place.path("no/where"))
        .fails(2, &["cannot write the signing key"]);
    let refused = place.path("refused.key");
    place
        .try_export("edge-*", "30d", &refused)
        .fails(8, &["longer than this store lets any token live"]);
    assert!(!refused.exists());
    assert_eq!(fs::read(&key).unwrap(), content);
    assert_eq!(known_keys(&place), before);

    assert_eq!(before.len(), 2, "{before:?}");
    let of = |purpose: &str| before.iter().find(|key| key["purpose"] == purpose).unwrap();
    assert_eq!(of("offline")["nodePattern"], "edge-*");
    assert_eq!(of("offline")["maxTtlSeconds"], 3600);
    assert_eq!(of("resource")["nodePattern"], Value::Null);
    let shown = run(&["key", "list", "--admin-socket", text(&socket)]).ok();
    assert!(
        shown.stdout.contains("offline   1h          edge-*"),
        "{shown:?}"
    );
    let secret = fs::read_to_string(place.data().join("keys/resource-key/key")).unwrap();
    assert!(!format!("{before:?}{shown:?}").contains(secret.trim()));

    // A clock that did not step is followed all the time; stepped ones are with the store's tests.
    let accept = ["store", "clock", "accept", "--admin-socket", text(&socket)];
    assert_eq!(run(&accept).ok().stdout, "the clock is followed already\n");

    // To programs, with and without a file.
    let export = [
        "key",
        "export",
        "--admin-socket",
        text(&socket),
        "--output",
        "json",
    ];
    let limits = ["--pattern", "core-?", "--max-ttl", "5m"];
    let ran = run(&[&export[..], &limits].concat()).ok();
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&said["pattern"], &said["maxTtlSeconds"]),
        (&"core-?".into(), &300.into())
    );
    let key = OfflineKeyFile::parse(said["key"].as_str().unwrap()).unwrap();
    assert_eq!(said["keyId"], key.key().id().to_string());
    let file = place.path("json.key");
    let ran = run(&[&export[..], &limits, &["--out", text(&file)]].concat()).ok();
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&said["key"], &said["keyFile"]),
        (&Value::Null, &text(&file).into())
    );
    assert!(OfflineKeyFile::parse(&fs::read_to_string(&file).unwrap()).is_ok());

    assert!(server.terminate().0.success());
    assert!(!socket.exists(), "it is taken away");
    let says = [
        "cannot reach a replica",
        "No such file or directory; is it running",
    ];
    run(&["key", "list", "--admin-socket", text(&socket)]).fails(2, &says);
}

#[test]
fn a_lone_replica_cannot_be_removed() {
    let place = Standalone::new();
    let server = place.setup().start();
    let socket = place.data().join("admin.sock");
    let members = |more: &[&str]| {
        let asked = ["store", "members", "--admin-socket", text(&socket)];
        run(&[&asked[..2], more, &asked[2..]].concat())
    };
    let shown = members(&["--output", "json"]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let own = shown["members"][0]["nodeId"].as_str().unwrap();
    for (id, says) in [
        ("0123456789abcdef", "there is no member of this id"),
        (own, "this would leave no member at all"),
    ] {
        members(&["remove", id]).fails(8, &[says]);
        members(&["remove", id, "--force"]).fails(8, &[says]);
    }
    assert!(server.terminate().0.success());
}

#[test]
fn only_a_socket_that_was_left_behind_is_replaced() {
    let place = Standalone::new();
    let socket = place.path("a.sock");
    let config = place.config() + &format!("adminSocket: {}\n", text(&socket));
    fs::write(&socket, "somebody's notes").unwrap();
    let ran = place.setup_of(&config).run();
    ran.fails(1, &[text(&socket), "something else than a socket is there"]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "somebody's notes");
    fs::remove_file(&socket).unwrap();

    let server = place.setup_of(&config).start();
    let other = Standalone::new();
    let same = other.config() + &format!("adminSocket: {}\n", text(&socket));
    let inode = fs::metadata(&socket).unwrap().ino();
    let ran = other.setup_of(&same).run();
    ran.fails(1, &[text(&socket), "another process answers on it"]);
    assert_eq!(fs::metadata(&socket).unwrap().ino(), inode);

    // After a crash it is there and nobody answers.
    server.kill();
    assert!(socket.exists());
    assert!(place.setup_of(&config).start().terminate().0.success());
    let long = place.path(&"s".repeat(120));
    let config = place.config() + &format!("adminSocket: {}\n", text(&long));
    place.setup_of(&config).run().fails(2, &["107 bytes"]);
}

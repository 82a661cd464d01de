//! `jointoken store snapshot restore`: a store lost and restored, and what that means to who holds a token.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jointoken::token::{SigningKey, mint_nodedb};
use serde_json::Value;

use crate::program::{Machine, Ran, id_of, run, text};
use crate::server::Server;
use crate::snapshots::{inspected, save};
use crate::standalone::{Standalone, create};

fn restore(file: &Path, data: &Path, keys: &Path, more: &[&str]) -> Ran {
    let what = ["store", "snapshot", "restore", text(file)];
    let folders = ["--data-dir", text(data), "--keys-dir", text(keys)];
    run(&[&what[..], &folders, more].concat())
}

/// The store is lost, but for a copy of its keys. Where that is.
fn lose(place: &Standalone, server: Server) -> PathBuf {
    assert!(server.terminate().0.success());
    let aside = place.path("lost");
    fs::rename(place.data(), &aside).unwrap();
    aside.join("keys")
}

fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn shown(place: &Standalone, token: &str) -> Value {
    let socket = place.data().join("admin.sock");
    let socket = ["--admin-socket", text(&socket), "--output", "json"];
    json_of(&run(
        &[&["token", "show", &id_of(token)], &socket[..]].concat()
    ))
}

#[test]
fn a_lost_store_is_restored_and_no_old_token_admits_anybody() {
    let place = Standalone::new();
    let server = place.setup().start();
    let key = place.export("edge-*", "1h");
    let token = |n: u8| create(&key, &format!("edge-{n}"));
    let (used, used_since, unused) = (token(1), token(2), token(3));
    let machine = Machine::new();
    machine.join(&used).ok();
    let certificate = machine.file("tls.crt");
    let file = save(&place, "a.snapshot");
    Machine::new().join(&used_since).ok();
    let keys = lose(&place, server);
    let before = inspected(&file);

    // It asks first, and there is nobody to ask.
    restore(&file, &place.data(), &keys, &[]).fails(2, &["ends all unused tokens", "--yes"]);
    assert!(!place.data().exists());
    let ran = restore(&file, &place.data(), &keys, &["--yes", "--output", "json"]);
    let restored = json_of(&ran);
    assert_eq!(restored["formerStoreId"], before["storeId"]);
    assert_ne!(restored["storeId"], before["storeId"]);
    assert_eq!(restored["epoch"], 2);
    let retired = restored["retiredKeys"].as_array().unwrap();
    // The resource key, the master of offline keys, and the exported one.
    assert_eq!(retired.len(), 3, "{retired:?}");
    // Once is enough.
    restore(&file, &place.data(), &keys, &["--yes"]).fails(2, &["is not empty", "identity"]);

    let server = place.setup().start();
    server.wait_for_log("action=\"restored\"");
    let log = server.log();
    let told = |log: &str| log.lines().any(|line| line.contains("restored"));
    for said in ["storeId", "formerStoreId"] {
        let id = restored[said].as_str().unwrap();
        let line = log
            .lines()
            .find(|line| line.contains("restored") && line.contains(id));
        assert!(line.is_some(), "{said} is not in the audit: {log}");
    }
    for token in [&used, &used_since, &unused] {
        Machine::new().join(token).fails(3, &["not valid here"]);
    }
    // Nor does a token that the lost store's key mints now.
    Machine::new().join(&token(4)).fails(3, &["not valid here"]);
    // Who was admitted is on record, and by the same CA.
    let record = shown(&place, &used);
    assert_eq!(record["phase"], "Consumed");
    assert!(!record["member"]["mayAskAgain"].as_bool().unwrap());
    assert_eq!(record["node"], "edge-1");
    let ca = place.data().join("keys/members-ca/tls.crt");
    assert_eq!(
        machine.file("ca.crt").trim(),
        fs::read_to_string(ca).unwrap().trim()
    );
    assert_eq!(machine.file("tls.crt"), certificate);

    assert_eq!(record["purpose"], "offline");
    let socket = place.data().join("admin.sock");
    let known = run(&["key", "list", "--admin-socket", text(&socket)])
        .ok()
        .stdout;
    assert_eq!(known.matches("(retired)").count(), 2, "{known}");
    let key = place.export("edge-*", "1h");
    let fresh = create(&key, "edge-9");
    Machine::new().join(&fresh).ok();
    Machine::new().join(&fresh).fails(5, &["used"]);

    // A restart finds all of it again, and a crash too.
    assert!(server.terminate().0.success());
    let server = place.setup().start();
    assert!(!told(&server.log()), "told twice: {}", server.log());
    assert_eq!(shown(&place, &used)["phase"], "Consumed");
    assert_eq!(shown(&place, &fresh)["phase"], "Consumed");
    server.kill();
    let server = place.setup().start();
    Machine::new().join(&fresh).fails(5, &["used"]);
    // What is saved now tells where it comes from.
    let after = inspected(&save(&place, "b.snapshot"));
    assert_eq!(after["restoredFrom"], before["storeId"]);
    assert_eq!(after["retiredKeys"], 2);
    assert!(server.terminate().0.success());
}

#[test]
fn nodedbs_secret_is_refused_until_it_is_replaced() {
    let place = Standalone::new();
    let secret = place.path("nodedb.secret");
    let url = format!("https://127.0.0.1:{}", place.door_port);
    let mint = |digits: &str| {
        fs::write(&secret, digits).unwrap();
        let key = SigningKey::parse_nodedb(digits.as_bytes()).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let token = mint_nodedb(&key, 42, now.as_secs() + 1800).unwrap();
        token.expose().to_owned()
    };
    let config = format!("nodedb: {{secretFile: {}, maxTtl: 1h}}\n", text(&secret));
    let former = mint(&"5a".repeat(32));
    let server = place.setup_with(&config).start();
    let ca = place.path("door.crt");
    fs::copy(place.data().join("keys/door-ca/tls.crt"), &ca).unwrap();
    let options = ["--url", &url, "--ca-file", text(&ca)];
    // Saved before it was used: the snapshot says nothing of that.
    let file = save(&place, "a.snapshot");
    Machine::new().join_with(&former, &options).ok();
    let keys = lose(&place, server);
    restore(&file, &place.data(), &keys, &["--yes"]).ok();
    let ran = place.setup_with(&config).run();
    ran.fails(
        1,
        &["in use before the store was restored", "set a new secret"],
    );

    let fresh = mint(&"6b".repeat(32));
    let server = place.setup_with(&config).start();
    Machine::new()
        .join_with(&former, &options)
        .fails(3, &["not valid here"]);
    Machine::new().join_with(&fresh, &options).ok();
    assert!(server.terminate().0.success());
}

/// All files below a folder, with what they hold.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if path.is_file() {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn keys_that_do_not_belong_are_named_and_existing_data_stays() {
    let (place, other) = (Standalone::new(), Standalone::new());
    let server = place.setup().start();
    let file = save(&place, "a.snapshot");
    assert!(server.terminate().0.success());
    assert!(other.setup().start().terminate().0.success());

    let before = contents(&other.data());
    let keys = place.data().join("keys");
    restore(&file, &other.data(), &keys, &["--yes"]).fails(2, &["is not empty", "store"]);
    assert_eq!(contents(&other.data()), before);

    let data = place.path("restored");
    let foreign = other.data().join("keys");
    restore(&file, &data, &foreign, &["--yes"]).fails(
        2,
        &[
            "the door-ca",
            "the members-ca",
            "the peers-ca",
            "of another store",
        ],
    );
    restore(&file, &data, &place.path("nowhere"), &["--yes"]).fails(
        2,
        &["the door-ca is missing", "--keys-dir", "--system-namespace"],
    );
    assert!(!data.exists());

    // Keys that were put into the data folder by hand.
    fs::create_dir(&data).unwrap();
    fs::rename(&keys, data.join("keys")).unwrap();
    let ran = run(&[
        "store",
        "snapshot",
        "restore",
        text(&file),
        "--data-dir",
        text(&data),
        "--yes",
    ]);
    let said = ran.ok().stdout;
    assert!(said.contains("restored as store"), "{said}");
    assert!(data.join("keys.before-restore/door-ca/tls.key").exists());
    fs::remove_dir_all(place.data()).unwrap();
    fs::rename(&data, place.data()).unwrap();
    assert!(place.setup().start().terminate().0.success());
}

#[test]
fn what_a_killed_replica_has_left_is_recovered_without_a_snapshot() {
    let place = Standalone::new();
    let server = place.setup().start();
    let key = place.export("edge-*", "1h");
    let used = create(&key, "edge-1");
    let recover = |from: &Path, more: &[&str]| {
        let what = ["store", "recover", text(from)];
        let (file, folder) = (place.path("recovered"), "--data-dir");
        run(&[&what[..], &[folder, text(&file)], more].concat())
    };
    recover(&place.data(), &["--yes"]).fails(2, &["in use by another process", "stop it first"]);
    Machine::new().join(&used).ok();
    server.kill();
    let survivor = place.data();
    let before = contents(&survivor.join("store/log"));
    recover(&survivor, &[]).fails(2, &["--yes"]);
    recover(&place.path("nowhere"), &["--yes"])
        .fails(2, &["nowhere: No such file", "is the path right"]);
    recover(&survivor.join("store"), &["--yes"]).fails(2, &["give the data folder of a replica"]);
    let recovered = json_of(&recover(&survivor, &["--yes", "--output", "json"]));
    assert_eq!(recovered["epoch"], 2);
    assert_eq!(contents(&survivor.join("store/log")), before);

    fs::rename(&survivor, place.path("lost")).unwrap();
    fs::rename(place.path("recovered"), place.data()).unwrap();
    let server = place.setup().start();
    assert_eq!(shown(&place, &used)["phase"], "Consumed");
    Machine::new().join(&used).fails(3, &["not valid here"]);
    let fresh = create(&place.export("edge-*", "1h"), "edge-2");
    Machine::new().join(&fresh).ok();
    assert!(server.terminate().0.success());
}

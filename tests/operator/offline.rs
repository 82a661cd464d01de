//! Tokens that are minted without a server: by an exported key, or by NodeDB's secret.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use jointoken::token::{Audience, OfflineKeyFile, OfflinePolicy, SigningKey, TokenId, mint_nodedb};
use serde_json::Value;

use crate::place::Place;
use crate::program::{Machine, Ran, id_of, run, text};
use crate::standalone::{Standalone, create};

const MINUTE_MS: u64 = 60_000;

#[test]
fn an_exported_key_mints_within_its_limits_and_the_door_holds_it_to_them() {
    let place = Standalone::new();
    let server = place.setup().start();
    let file = place.export("edge-*", "15m");
    let minted = |node: &str, ttl: &str| -> Ran {
        let from = ["create", "--key-file", text(&file)];
        run(&[&from[..], &["--node", node, "--ttl", ttl]].concat())
    };
    minted("db-1", "5m").fails(8, &["edge-*"]);
    minted("edge-7", "16m").fails(8, &["900"]);
    let token = minted("edge-7", "15m").ok().stdout.trim().to_owned();

    let machine = Machine::new();
    assert!(
        machine
            .join(&token)
            .ok()
            .stdout
            .starts_with("edge-7 joined (edge.example, ")
    );
    Machine::new().join(&token).fails(5, &["used"]);

    // Somebody writes another policy into the key. It is the same secret, so the tokens verify.
    let key = OfflineKeyFile::parse(&fs::read_to_string(&file).unwrap()).unwrap();
    let forge = |policy: OfflinePolicy, audience: Audience| {
        OfflineKeyFile::new(key.key().clone(), policy, audience, key.delivery.clone()).unwrap()
    };
    let wide = OfflinePolicy {
        node_pattern: "*".parse().unwrap(),
        max_ttl_ms: 24 * 60 * MINUTE_MS,
    };
    let forged = forge(wide.clone(), key.audience);
    let mint = |key: &OfflineKeyFile, node: &str, ttl_ms: u64| {
        let id = TokenId::random().unwrap();
        let token = key.mint(id, node, now_ms(), ttl_ms).unwrap();
        token.expose().to_owned()
    };
    let outside = Machine::new();
    outside
        .join(&mint(&forged, "db-1", MINUTE_MS))
        .fails(8, &["may not be admitted by its signing key"]);
    outside
        .join(&mint(&forged, "edge-8", 16 * MINUTE_MS))
        .fails(8, &["lives longer than it may", "900 seconds"]);
    assert!(!outside.out().join("tls.crt").exists());
    // A token of another store, that names this store's door.
    let elsewhere = forge(wide, Audience([7; 8]));
    outside
        .join(&mint(&elsewhere, "edge-8", MINUTE_MS))
        .fails(3, &["made for another store"]);
    outside.join(&mint(&key, "edge-8", MINUTE_MS)).ok();

    let more = place.path("more.key");
    place
        .try_export("edge-*", "8d", &more)
        .fails(8, &["longer than this store lets any token live", "604800"]);
    let odd = place.try_export("EDGE*", "1h", &more);
    assert_eq!(odd.code, Some(2), "{odd:?}");
    assert!(odd.stderr.contains("--pattern"), "{odd:?}");
    place.try_export("edge-*", "0s", &more).fails(2, &["zero"]);
    assert!(!more.exists());
    assert!(server.terminate().0.success());
    place
        .try_export("edge-*", "1h", &more)
        .fails(2, &["admin.sock"]);
}

/// A key that was exported before a crash is known after it.
#[tokio::test]
async fn an_operators_offline_tokens_are_registered_on_first_sight() {
    let place = Place::new("offline").await;
    let operator = place.start();
    let socket = place.data().join("admin.sock");
    let file = place.path("edge.key");
    let export = ["key", "export", "--pattern", "edge-*", "--max-ttl", "1h"];
    let to = ["--admin-socket", text(&socket), "--out", text(&file)];
    run(&[&export[..], &to].concat()).ok();
    operator.kill();
    let token = create(&file, "edge-7");
    let operator = place.start();
    let joined = Machine::new().join_with(&token, &["--output", "json"]).ok();
    let joined: Value = serde_json::from_str(&joined.stdout).unwrap();
    assert_eq!(joined["node"], "edge-7");
    Machine::new().join(&token).fails(5, &["used"]);
    drop(operator);
    place.remove().await;
}

#[test]
fn nodedb_tokens_live_as_long_as_they_may_and_no_longer() {
    let place = Standalone::new();
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/nodedb-tokens.json"
    );
    let vectors: Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
    let vector = &vectors["vectors"][0];
    let secret = vector["secret_hex"].as_str().unwrap();
    let file = place.path("nodedb.secret");
    fs::write(&file, format!("{secret}\n")).unwrap();
    let nodedb = |ttl: &str| format!("nodedb: {{secretFile: {}, maxTtl: {ttl}}}\n", text(&file));
    let server = place.setup_with(&nodedb("1h")).start();

    let url = format!("https://127.0.0.1:{}", place.door_port);
    let ca = place.data().join("keys/door-ca/tls.crt");
    let options = ["--url", &url, "--ca-file", text(&ca)];
    let key = SigningKey::parse_nodedb(secret.as_bytes()).unwrap();
    let mint = |seconds_left: i64| {
        let expiry = (now_ms() / 1000).checked_add_signed(seconds_left).unwrap();
        mint_nodedb(&key, 42, expiry).unwrap().expose().to_owned()
    };
    let good = mint(1800);
    Machine::new().join(&good).fails(2, &["--url"]);
    let joined = Machine::new().join_with(&good, &options).ok();
    assert!(joined.stdout.starts_with("node-42 joined"), "{joined:?}");
    let socket = place.data().join("admin.sock");
    let found = ["token", "list", "--admin-socket", text(&socket)];
    let found = run(&[&found[..], &["--node", "node-42"]].concat()).ok();
    assert!(found.stdout.contains(&id_of(&good)), "{found:?}");
    Machine::new()
        .join_with(&good.to_uppercase(), &options)
        .fails(5, &["used"]);
    Machine::new()
        .join_with(&mint(-1), &options)
        .fails(4, &["expired"]);
    Machine::new()
        .join_with(&mint(2 * 3600), &options)
        .fails(8, &["3600 seconds"]);
    // NodeDB's own, valid there until 2100.
    let forever = vector["token_hex"].as_str().unwrap();
    Machine::new()
        .join_with(forever, &options)
        .fails(8, &["lives longer than it may"]);
    let wrong_pin = ["--url", &url, "--ca-pin", &"0".repeat(64)];
    let stranger = Machine::new();
    stranger
        .join_with(&mint(1700), &wrong_pin)
        .fails(6, &["the token was not sent"]);
    assert!(server.terminate().0.success());

    // How long they may live can be changed, and the secret taken away.
    let server = place.setup_with(&nodedb("3h")).start();
    Machine::new().join_with(&mint(2 * 3600), &options).ok();
    assert!(server.terminate().0.success());
    let server = place.setup().start();
    stranger
        .join_with(&mint(1700), &options)
        .fails(3, &["not valid here"]);
    assert!(server.terminate().0.success());
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

//! `jointoken inspect`: what a token says, what is wrong with one, and who made it.

use std::fs;

use jointoken::token::{
    Audience, Claims, Presented, Purpose, SigningKey, TokenId, mint, mint_nodedb,
};
use serde_json::Value;

use crate::{AUDIENCE, Fixture, HOUR_MS, delivery, now_ms, run};

#[test]
fn inspect_reads_a_file_the_environment_and_standard_input() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path();
    let token = fixture.token(now_ms(), HOUR_MS);
    fixture.write("token", &format!("  {token}\r"));
    let shown = fixture.run(&["inspect", "--token-file", "token"]);
    let presented = Presented::parse(&token).unwrap();
    for says in [
        "node      edge-1",
        &format!("token id  {}\n", presented.unverified_token_id()),
        "in 59m",
        "verified  not yet",
        "door      https://door.example.org:8443",
    ] {
        assert!(shown.succeeds().stdout.contains(says), "{says}: {shown:?}");
    }
    assert!(!shown.stdout.contains(&token[..20]));
    for (arguments, stdin, environment) in [
        (&["inspect"][..], &*token, &[][..]),
        (&["inspect", "--token-file", "-"], &token, &[]),
        (&["inspect"], "", &[("JOINTOKEN_TOKEN", &*token)]),
        (&["inspect"], &token, &[("JOINTOKEN_TOKEN", "")]),
    ] {
        let ran = run(folder, arguments, stdin, environment);
        assert_eq!(
            ran.succeeds().stdout.lines().nth(1),
            shown.stdout.lines().nth(1)
        );
    }
    let both = ["inspect", "--key-file", "-"];
    run(folder, &both, &token, &[]).fails(2, "standard input holds one thing");
    fixture
        .run(&["inspect", "--token-file", "nowhere"])
        .fails(2, "cannot read the token from nowhere");
    // There is no way to give a token on the command line, and the error does not repeat it.
    let ran = fixture.run(&["inspect", &token]);
    ran.fails(2, "not taken from the command line");
    assert!(!ran.stderr.contains(&token[..20]));
}

#[test]
fn inspect_says_what_is_wrong_with_a_string() {
    let fixture = Fixture::new();
    let token = fixture.token(now_ms(), HOUR_MS);
    let swapped = format!(
        "{}{}{}",
        &token[..50],
        if &token[50..51] == "A" { "B" } else { "A" },
        &token[51..]
    );
    let folder = fixture.folder.path();
    for (text, says) in [
        (&token[..80], "cut short"),
        (&swapped, "typo"),
        (&token.replacen("jt1_", "jt2_", 1), "version jt2"),
        (&format!("{token}\n{token}"), "character"),
        (&"0".repeat(95), "96 hexadecimal digits, and this has 95"),
        (&format!("z{}", "0".repeat(95)), "hexadecimal digits only"),
        (&"x".repeat(1_000_000), "longer than any token"),
        (&fixture.key.render(), "this is a signing key"),
        ("hello", "not a join token"),
    ] {
        let ran = run(folder, &["inspect"], text, &[]);
        ran.fails(3, says);
        assert_eq!(ran.stdout, "");
        assert!(!ran.stderr.contains(&token[4..20]), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1);
    }
    run(folder, &["inspect"], "\n", &[]).fails(2, "empty");
    fs::write(fixture.path("binary"), [0xff; 96]).unwrap();
    fixture
        .run(&["inspect", "--token-file", "binary"])
        .fails(3, "");
    let ran = run(folder, &["inspect", "--output", "json"], "hello", &[]);
    let error: Value = serde_json::from_str(&ran.fails(3, "").stderr).unwrap();
    assert_eq!(error["exitCode"], 3);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("not a join token")
    );
    let ran = run(
        folder,
        &["inspect", "--output=json", "--frobnicate"],
        "",
        &[],
    );
    let error: Value = serde_json::from_str(&ran.fails(2, "").stderr).unwrap();
    assert_eq!(error["exitCode"], 2);
    assert!(error["error"].as_str().unwrap().contains("--frobnicate"));
}

#[test]
fn inspect_tells_the_time() {
    let fixture = Fixture::new();
    for (issued_at_ms, code, says) in [
        (now_ms() - 2 * HOUR_MS, 4, "1h ago"),
        (now_ms() + 10 * 60_000, 7, "in 1h 9m"),
        // Less than five minutes ahead is a clock like any other.
        (now_ms() + 60_000, 0, "in 1h"),
    ] {
        fixture.write("token", &fixture.token(issued_at_ms, HOUR_MS));
        let ran = fixture.run(&["inspect", "--token-file", "token", "--key-file", "edge.key"]);
        ran.fails(code, "");
        assert!(ran.stdout.contains(says), "{ran:?}");
        assert!(ran.stdout.contains("verified  yes"), "{ran:?}");
    }
}

#[test]
fn inspect_refuses_what_the_key_did_not_make() {
    let fixture = Fixture::new();
    let inspect = |token: &str| {
        fixture.write("token", token);
        let arguments = [
            "inspect",
            "--token-file",
            "token",
            "--key-file",
            "edge.key",
            "--output",
            "json",
        ];
        let ran = fixture.run(&arguments);
        assert_eq!(ran.json()["verified"], false, "{ran:?}");
        ran
    };
    let own = fixture.key.key();
    let claims = |key: &SigningKey| Claims {
        purpose: key.purpose(),
        key_id: key.id(),
        audience: AUDIENCE,
        token_id: TokenId([4; 16]),
        node_name: "edge-1".to_owned(),
        issued_at_ms: now_ms(),
        expires_at_ms: now_ms() + 1000,
    };
    let minted = |key: &SigningKey, claims: &Claims| {
        mint(key, claims, &delivery()).unwrap().expose().to_owned()
    };

    let resource = SigningKey::generate(Purpose::Resource).unwrap();
    inspect(&minted(&resource, &claims(&resource))).fails(3, "the key given did not make it");
    let other = SigningKey::from_bytes(Purpose::Offline, own.id(), &[1; 32]);
    inspect(&minted(&other, &claims(&other))).fails(3, "the key given did not make it");
    let mut elsewhere = claims(own);
    elsewhere.audience = Audience([9; 8]);
    inspect(&minted(own, &elsewhere)).fails(3, "another store");
    let mut wide = claims(own);
    wide.node_name = "core-1".to_owned();
    inspect(&minted(own, &wide)).fails(8, "edge-*");
    let mut long = claims(own);
    long.expires_at_ms += HOUR_MS;
    inspect(&minted(own, &long)).fails(8, "3600 seconds");
}

#[test]
fn inspect_verifies_nodedb_tokens() {
    let fixture = Fixture::new();
    let secret = SigningKey::nodedb(&[0x11; 32]);
    let token = mint_nodedb(&secret, 5, 4_102_444_800).unwrap();
    fixture.write("token", &token.expose().to_uppercase());
    fixture.write("secret.hex", &"11".repeat(32));
    fs::write(fixture.path("secret.raw"), [0x11; 32]).unwrap();
    fixture.write("other.hex", &"22".repeat(32));
    fixture.write("short.hex", "1122");
    let inspect = |secrets: &[&str]| {
        let secrets = secrets
            .iter()
            .flat_map(|path| ["--nodedb-secret-file", path]);
        let arguments = ["inspect", "--output", "json", "--token-file", "token"];
        fixture.run(&arguments.into_iter().chain(secrets).collect::<Vec<_>>())
    };
    for secrets in [
        &["secret.hex"][..],
        &["secret.raw"],
        &["other.hex", "secret.hex"],
    ] {
        let said = inspect(secrets).succeeds().json();
        assert_eq!(
            (&said["verified"], &said["node"]),
            (&true.into(), &"node-5".into())
        );
        assert_eq!(said["expiresAt"], "2100-01-01T00:00:00Z");
        assert_eq!(said["keyId"], Value::Null);
    }
    assert_eq!(inspect(&[]).succeeds().json()["verified"], Value::Null);
    inspect(&["other.hex"]).fails(3, "did not make it");
    inspect(&["short.hex"]).fails(3, "32 bytes");
    inspect(&["secret.hex", "secret.raw"]).fails(2, "already");

    let endless = mint_nodedb(&secret, 5, u64::MAX).unwrap();
    fixture.write("token", endless.expose());
    let ran = fixture.run(&["inspect", "--token-file", "token"]);
    assert!(ran.succeeds().stdout.contains("after the year 9999"));
}

/// Whoever gives a key wants to know whether the token is good: no answer is no success.
#[test]
fn a_key_of_the_other_kind_verifies_nothing() {
    let fixture = Fixture::new();
    fixture.write("secret.hex", &"11".repeat(32));
    fixture.write("ours", &fixture.token(now_ms(), HOUR_MS));
    let theirs = mint_nodedb(&SigningKey::nodedb(&[0x11; 32]), 5, 4_102_444_800).unwrap();
    fixture.write("theirs", theirs.expose());
    for (token, key, needed) in [
        ("ours", ["--nodedb-secret-file", "secret.hex"], "--key-file"),
        ("theirs", ["--key-file", "edge.key"], "--nodedb-secret-file"),
    ] {
        let arguments = ["inspect", "--token-file", token, key[0], key[1]];
        let ran = fixture.run(&arguments);
        ran.fails(3, needed);
        assert!(ran.stdout.contains("verified  no: "), "{ran:?}");
    }
}

/// Of all mistakes with a Secret the commonest.
#[test]
fn what_is_still_in_base64_is_named() {
    let fixture = Fixture::new();
    let arguments = ["create", "--key-file", "edge.key", "--node", "edge-7"];
    let token = fixture.run(&arguments).succeeds().stdout.clone();
    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    fs::write(fixture.path("token"), base64(&token)).unwrap();
    let inspect = ["inspect", "--token-file", "token"];
    fixture.run(&inspect).fails(
        3,
        "this is a token in base64, as Secrets hold it: decode it first",
    );
    fs::write(fixture.path("key"), base64(&fixture.key.render())).unwrap();
    fixture
        .run(&["create", "--key-file", "key", "--node", "edge-7"])
        .fails(3, "this is a signing key in base64");
}

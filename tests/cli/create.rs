//! `jointoken create`: what is minted without a server, and what is not.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use jointoken::token::Presented;

use crate::{AUDIENCE, Fixture, HOUR_MS, delivery, exported, now_ms, run};

#[test]
fn create_mints_what_inspect_verifies() {
    let fixture = Fixture::new();
    let created = fixture.run(&[
        "create",
        "--key-file",
        "edge.key",
        "--node",
        "edge-7",
        "--ttl",
        "15m",
        "--out",
        "edge-7.token",
    ]);
    created.succeeds();
    assert!(
        created
            .stdout
            .contains("for node edge-7, by key 0202020202020202")
    );
    let written = fs::metadata(fixture.path("edge-7.token")).unwrap();
    assert_eq!(written.permissions().mode() & 0o777, 0o600);

    let token = fs::read_to_string(fixture.path("edge-7.token")).unwrap();
    assert!(
        !created.stdout.contains(token.trim()),
        "the token went to the file alone"
    );
    let parsed = Presented::parse_trimmed(&token).unwrap();
    assert_eq!(parsed.unverified_delivery(), Some(&delivery()));
    assert_eq!(parsed.unverified_audience(), Some(AUDIENCE));
    let ttl_ms = parsed.unverified_expires_at_ms() - parsed.unverified_issued_at_ms().unwrap();
    assert_eq!(ttl_ms, 15 * 60_000);

    let inspected = fixture.run(&[
        "inspect",
        "--token-file",
        "edge-7.token",
        "--key-file",
        "edge.key",
        "--output",
        "json",
    ]);
    let said = inspected.succeeds().json();
    assert_eq!(said["verified"], true);
    assert_eq!(said["node"], "edge-7");
    assert_eq!(said["tokenId"], parsed.unverified_token_id().to_string());
    assert_eq!(said["purpose"], "offline");
    assert_eq!(said["timing"], "live");
    assert_eq!(said["urls"][0], "https://door.example.org:8443");
    assert!(!inspected.stdout.contains(token.trim()));
}

#[test]
fn create_prints_the_token_alone_to_standard_output() {
    let fixture = Fixture::new();
    let arguments = ["create", "--key-file", "edge.key", "--node", "edge-7"];
    let ran = fixture.run(&arguments);
    let token = ran.succeeds().stdout.strip_suffix('\n').unwrap();
    assert!(Presented::parse(token).is_ok());
    assert!(ran.stderr.contains("for node edge-7"));
    assert!(!ran.stderr.contains(token));

    let ran = fixture.run(&[&arguments[..], &["--output", "json"]].concat());
    let said = ran.succeeds().json();
    assert!(Presented::parse(said["token"].as_str().unwrap()).is_ok());
    assert_eq!(ran.stderr, "");
}

#[test]
fn create_takes_the_key_from_the_environment_and_from_standard_input() {
    let fixture = Fixture::new();
    let key = fixture.key.render();
    let folder = fixture.folder.path();
    let arguments = ["create", "--node", "edge-7"];
    run(folder, &arguments, "", &[("JOINTOKEN_KEY", &key)]).succeeds();
    let arguments = ["create", "--node", "edge-7", "--key-file", "-"];
    run(folder, &arguments, &key, &[]).succeeds();
    fixture
        .run(&["create", "--node", "edge-7"])
        .fails(2, "there is no signing key");
    fixture
        .run(&["create", "--node", "edge-7", "--key-file", "nowhere"])
        .fails(2, "cannot read the signing key from nowhere");
}

#[test]
fn create_takes_other_urls() {
    let fixture = Fixture::new();
    let create = |urls: &[&str]| {
        let urls = urls.iter().flat_map(|url| ["--url", url]);
        let arguments = ["create", "--key-file", "edge.key", "--node", "edge-7"];
        fixture.run(&arguments.into_iter().chain(urls).collect::<Vec<_>>())
    };
    let ran = create(&["https://10.0.0.7:8443/", "https://door-2"]);
    let token = Presented::parse_trimmed(&ran.succeeds().stdout).unwrap();
    assert_eq!(
        token.unverified_delivery().unwrap().urls,
        ["https://10.0.0.7:8443", "https://door-2"]
    );
    create(&["http://door"]).fails(2, "it begins with https://");
    create(&["https://door:08443"]).fails(2, "without zeros before it");
    create(&["https://door"; 5]).fails(2, "more than 4 URLs");
    let long = format!("https://{}", [&*"a".repeat(60); 4].join("."));
    create(&[&*long; 4]).fails(2, "the limit is 1024");
}

#[test]
fn create_refuses_what_the_key_does_not_allow() {
    let fixture = Fixture::new();
    let create = |arguments: &[&str]| {
        let all = ["create", "--key-file", "edge.key", "--out", "token"];
        let ran = fixture.run(&[&all, arguments].concat());
        assert!(!fixture.path("token").exists(), "{ran:?}");
        assert_eq!(ran.stdout, "");
        ran
    };
    create(&["--node", "core-1"]).fails(8, "only mint for node names like edge-*");
    create(&["--node", "edge-1", "--ttl", "61m"]).fails(8, "for 3600 seconds at most");
    create(&["--node", "Edge"]).fails(2, "DNS label");
    create(&["--node", "edge-1", "--ttl", "1 week"]).fails(2, "is not a length of time");
    create(&["--node", "edge-1", "--ttl", "0s"]).fails(2, "expires before it is issued");
    create(&[]).fails(2, "--node");
}

#[test]
fn create_overwrites_nothing() {
    let fixture = Fixture::new();
    let arguments = [
        "create",
        "--key-file",
        "edge.key",
        "--node",
        "edge-7",
        "--out",
    ];
    fixture.write("mine", "my own");
    fixture
        .run(&[&arguments[..], &["mine"]].concat())
        .fails(2, "mine exists already");
    assert_eq!(
        fs::read_to_string(fixture.path("mine")).unwrap(),
        "my own\n"
    );
    fixture
        .run(&[&arguments[..], &["no/where"]].concat())
        .fails(2, "cannot write the token to no/where");
}

#[test]
fn damaged_keys_are_refused_and_not_shown() {
    let fixture = Fixture::new();
    let key = fixture.key.render();
    let other = if &key[60..61] == "A" { "B" } else { "A" };
    for (content, says) in [
        (&key[..60], "cut short"),
        (&format!("{}{other}{}", &key[..60], &key[61..]), "typo"),
        (&format!("{} {}", &key[..60], &key[60..]), "character 61"),
        (
            &fixture.token(now_ms(), HOUR_MS),
            "not an exported signing key",
        ),
        ("", "not an exported signing key"),
    ] {
        fixture.write("damaged.key", content);
        let ran = fixture.run(&["create", "--key-file", "damaged.key", "--node", "edge-7"]);
        ran.fails(3, says);
        assert!(!ran.stderr.contains("jtk1_A"), "{ran:?}");
    }
}

#[test]
fn create_without_a_ttl_takes_an_hour_or_what_the_key_allows() {
    let fixture = Fixture::new();
    let created = |key: &str| {
        let arguments = ["create", "--key-file", key, "--node", "edge-7"];
        let ran = fixture.run(&arguments);
        let token = Presented::parse_trimmed(&ran.succeeds().stdout).unwrap();
        token.unverified_expires_at_ms() - token.unverified_issued_at_ms().unwrap()
    };
    assert_eq!(created("edge.key"), HOUR_MS);
    fixture.write("short.key", &exported("edge-*", HOUR_MS / 4).render());
    assert_eq!(created("short.key"), HOUR_MS / 4);
    fixture.write("long.key", &exported("edge-*", HOUR_MS * 4).render());
    assert_eq!(created("long.key"), HOUR_MS);
}

/// Given in the place of a file or an option, it is on the command line already; it need not be in logs too.
#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let fixture = Fixture::new();
    let token = fixture.token(now_ms(), HOUR_MS);
    let key = fixture.key.render().to_string();
    let nodedb = "ab".repeat(48);
    for arguments in [
        &["inspect", "--token-file", &token][..],
        &["inspect", "--token-file", &nodedb],
        &["join", "--token-file", &token],
        &["join", "--token", &token],
        &["join", &format!("--token={token}")],
        &["inspect", &token, &token],
        &["create", "--node", "edge-7", "--key-file", &key],
        &["create", "--node", "edge-7", &key],
        &["create", "--node", &token],
        &["key", "export", &key],
        &["serve", &nodedb],
        &["operator", &format!("--key={key}")],
    ] {
        let ran = fixture.run(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        for secret in [&token, &key, &nodedb] {
            assert!(!ran.stderr.contains(&secret[10..30]), "{ran:?}");
        }
        assert!(!ran.stderr.is_empty());
    }
}

/// A board that forgot the time makes tokens that are dead before they are used.
#[test]
fn create_does_not_go_by_a_clock_that_was_set_back() {
    let fixture = Fixture::new();
    let key = fs::File::options()
        .write(true)
        .open(fixture.path("edge.key"))
        .unwrap();
    let arguments = ["create", "--key-file", "edge.key", "--node", "edge-7"];
    let with_file = [&arguments[..], &["--out", "edge-7.token"]].concat();
    key.set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    let ran = fixture.run(&with_file);
    ran.fails(7, "the key's file was written at");
    assert_eq!(ran.stdout, "");
    assert!(!fixture.path("edge-7.token").exists());
    key.set_modified(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    fixture.run(&with_file).succeeds();
}

/// The token is what is asked for: nobody has it whose output failed. What is in a file is done.
#[test]
fn create_fails_when_the_token_is_lost_and_only_then() {
    let fixture = Fixture::new();
    let create = |arguments: &[&std::ffi::OsStr], stdout: Stdio| {
        let output = Command::new(env!("CARGO_BIN_EXE_jointoken"))
            .current_dir(fixture.folder.path())
            .args(["create", "--key-file", "edge.key", "--node", "edge-7"])
            .args(arguments)
            .stdout(stdout)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&[][..], &["--output".as_ref(), "json".as_ref()]] {
        let (code, stderr) = create(arguments, full().into());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains("cannot write to standard output"),
            "{stderr}"
        );
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        let (code, stderr) = create(arguments, closed.into());
        assert_eq!(code, Some(1), "{stderr}");
    }
    let out = std::ffi::OsStr::from_bytes(b"edge-\xff.token");
    let arguments = ["--output".as_ref(), "json".as_ref(), "--out".as_ref(), out];
    let (code, stderr) = create(&arguments, full().into());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("it is done, but cannot write"), "{stderr}");
    let token = fs::read_to_string(fixture.folder.path().join(out)).unwrap();
    assert!(Presented::parse_trimmed(&token).is_ok());
}

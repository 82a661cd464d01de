//! `jointoken token …`: looking at tokens and ending them by hand.

use serde_json::{Value, json};

use crate::place::Place;
use crate::program::{Machine, Ran, id_of, run, text};
use crate::standalone::{Standalone, create};

/// Runs `jointoken token …` against the replica in this data folder.
fn token(data: &std::path::Path, arguments: &[&str]) -> Ran {
    let socket = data.join("admin.sock");
    let socket = ["--admin-socket", text(&socket)];
    run(&[&["token"], arguments, &socket].concat())
}

fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn listed(data: &std::path::Path, more: &[&str]) -> (Vec<String>, Option<String>) {
    let list = [&["list", "--output", "json"], more].concat();
    let page = json_of(&token(data, &list));
    let ids = page["tokens"].as_array().expect("a list").iter();
    let ids = ids.map(|token| token["tokenId"].as_str().expect("an id").to_owned());
    (ids.collect(), page["next"].as_str().map(str::to_owned))
}

#[test]
fn tokens_are_listed_shown_and_ended_by_their_ids() {
    let place = Standalone::new();
    let _server = place.setup().start();
    let data = place.data();
    let key = place.export("edge-*", "1h");
    let tokens: Vec<String> = (0..4).map(|n| create(&key, &format!("edge-{n}"))).collect();
    let ids: Vec<String> = tokens.iter().map(|token| id_of(token)).collect();
    assert_eq!(listed(&data, &[]), (vec![], None));
    token(&data, &["show", &ids[0]]).fails(8, &["the store knows no token", &ids[0]]);

    // One is used; one is ended before anybody has seen it, one by the token itself.
    let machine = Machine::new();
    machine.join(&tokens[0]).ok();
    let ended = json_of(&token(&data, &["abort", &ids[1], "--output", "json"]));
    assert_eq!(
        ended,
        json!({"tokenId": ids[1], "ended": "tombstone", "token": null})
    );
    let file = place.path("token");
    std::fs::write(&file, &tokens[2]).unwrap();
    let ended = token(&data, &["revoke", "--token-file", text(&file)]).ok();
    assert!(ended.stdout.contains("it will admit nobody"), "{ended:?}");
    for token in &tokens[1..3] {
        Machine::new().join(token).fails(8, &[]);
    }

    // What was used cannot be undone, but the machine gets no further certificate.
    token(&data, &["abort", &ids[0]]).fails(5, &["used already", "jointoken token revoke"]);
    let barred = token(&data, &["revoke", &ids[0]]).ok();
    assert!(
        barred.stdout.contains("no further certificate"),
        "{barred:?}"
    );
    let shown = json_of(&token(&data, &["show", &ids[0], "--output", "json"]));
    assert_eq!(shown["phase"], "Consumed");
    assert_eq!(shown["purpose"], "offline");
    assert_eq!(shown["member"]["barred"], "revoked");
    assert_eq!(shown["member"]["address"], "127.0.0.1");
    let shown = token(&data, &["show", &ids[1]]).ok();
    assert!(shown.stdout.contains("Aborted (operator)"), "{shown:?}");

    // By phase, and a page at a time.
    let mut known = ids[..3].to_vec();
    known.sort();
    assert_eq!(listed(&data, &[]), (known.clone(), None));
    assert_eq!(listed(&data, &["--phase", "consumed"]).0, [ids[0].clone()]);
    assert_eq!(listed(&data, &["--namespace", "default"]).0, [""; 0]);
    let (first, next) = listed(&data, &["--limit", "2"]);
    assert_eq!(
        (first, &next),
        (known[..2].to_vec(), &Some(known[1].clone()))
    );
    let (last, end) = listed(&data, &["--limit", "2", "--after", &next.unwrap()]);
    assert_eq!((last, end), (known[2..].to_vec(), None));
    let table = token(&data, &["list", "--limit", "1"]).ok();
    assert!(
        table.stdout.contains("there are more: --after"),
        "{table:?}"
    );

    // The last one is as good as before.
    Machine::new().join(&tokens[3]).ok();
    for (arguments, says) in [
        (&["show", "0123"][..], "32 lower-case hexadecimal digits"),
        (&["abort"], "TOKEN ID"),
        (&["list", "--limit", "0"], "1..=1000"),
        (&["list", "--phase", "Lost"], "possible values"),
    ] {
        let ran = token(&data, arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    // Somebody's slip: the token in place of its id is not repeated.
    let slip = token(&data, &["abort", &tokens[3]]);
    assert_eq!(slip.code, Some(2));
    assert!(!slip.stderr.contains(&tokens[3]), "{slip:?}");
}

/// Whoever has an exported key makes its tokens without the store, which says all the same which of them admitted a machine.
#[test]
fn a_machine_of_an_exported_key_is_found_by_its_name() {
    let place = Standalone::new();
    let server = place.setup().start();
    let data = place.data();
    let key = place.export("edge-*", "1h");
    let tokens = ["edge-7", "edge-8"].map(|node| create(&key, node));
    let ids = tokens.each_ref().map(|token| id_of(token));
    assert_eq!(listed(&data, &["--node", "edge-7"]).0, [""; 0]);
    for token in &tokens {
        Machine::new().join(token).ok();
    }
    let found = || {
        for (node, id) in ["edge-7", "edge-8"].iter().zip(&ids) {
            assert_eq!(listed(&data, &["--node", node]).0, std::slice::from_ref(id));
        }
        assert_eq!(listed(&data, &["--node", "edge-9"]).0, [""; 0]);
    };
    found();
    let shown = json_of(&token(&data, &["show", &ids[0], "--output", "json"]));
    assert_eq!(
        (&shown["node"], &shown["purpose"]),
        (&json!("edge-7"), &json!("offline"))
    );
    let shown = token(&data, &["show", &ids[0]]).ok().stdout;
    let line = |line: &str| line.split_whitespace().eq(["node", "edge-7"]);
    assert!(shown.lines().any(line), "{shown}");
    let table = token(&data, &["list", "--node", "edge-7"]).ok().stdout;
    let row = table.lines().nth(1).expect("a row");
    let says = |what: &str| row.split_whitespace().any(|word| word == what);
    assert!(says(&ids[0]) && says("edge-7"), "{table}");
    // It is found after a crash, and to bar the machine takes no name away.
    server.kill();
    let _server = place.setup().start();
    found();
    token(&data, &["revoke", &ids[0]]).ok();
    found();
}

/// An unknown NodeDB token is marked only for as long as it says itself, which its id does not tell.
#[test]
fn an_unseen_nodedb_token_is_ended_by_the_token_or_with_its_expiry() {
    let place = Standalone::new();
    let secret = [7; 32];
    std::fs::write(place.path("nodedb.secret"), secret).unwrap();
    let nodedb = format!(
        "nodedb: {{secretFile: {}, maxTtl: 1h}}\n",
        text(&place.path("nodedb.secret"))
    );
    let _server = place.setup_with(&nodedb).start();
    let data = place.data();
    let unknown = "00112233445566778899aabbccddeeff";
    token(&data, &["abort", unknown]).fails(8, &["--token-file", "--expires-at"]);
    let ended = token(
        &data,
        &["abort", unknown, "--expires-at", "2030-01-01T00:00:00Z"],
    )
    .ok();
    assert!(ended.stdout.contains("it will admit nobody"), "{ended:?}");
    let shown = json_of(&token(&data, &["show", unknown, "--output", "json"]));
    assert_eq!(shown["expiresAt"], "2030-01-01T00:00:00Z");
}

/// The store remembers a used name for ever, unless it is told to forget it.
#[tokio::test]
async fn a_name_is_issued_again_only_after_it_was_forgotten() {
    let place = Place::new("forget").await;
    let server = place.start();
    let namespace = place.tokens.namespace.clone();
    let named = ["--namespace", &namespace, "--name", "edge-1"];
    let forget = [&["forget"], &named[..]].concat();
    token(&place.data(), &forget).fails(8, &["remembers no JoinToken"]);

    let first = place.issue("edge-1", json!({})).await;
    token(&place.data(), &forget).fails(8, &["may still be used"]);
    let listed_id = listed(&place.data(), &named).0;
    assert_eq!(listed_id, [id_of(&first)]);
    Machine::new().join(&first).ok();
    place.wait_for_phase("edge-1", "Consumed").await;
    place.delete("edge-1").await;
    let forgotten = token(&place.data(), &forget).ok();
    assert!(forgotten.stdout.contains("is forgotten"), "{forgotten:?}");

    let second = place.issue("edge-1", json!({})).await;
    assert_ne!(id_of(&second), id_of(&first));
    // What was used stays used, whatever is remembered of the name.
    Machine::new().join(&first).fails(5, &["has been used"]);
    Machine::new().join(&second).ok();
    drop(server);
    place.remove().await;
}

//! What is no token, or one for somewhere else: said by the joiner or the door, and no token is the worse for it.

use jointoken::pki::JoinerKey;
use serde_json::json;

use crate::program::{Machine, text};
use crate::raw_joiner::RawJoiner;
use crate::standalone::{Standalone, create};

#[tokio::test]
async fn a_token_that_is_none_is_refused_and_burns_none() {
    let (place, other) = (Standalone::new(), Standalone::new());
    let (server, elsewhere) = (place.setup().start(), other.setup().start());
    let token = create(&place.export("edge-*", "1h"), "edge-7");
    let machine = Machine::new();
    let middle = token.len() / 2;
    let typed = |c: u8| if c == b'x' { 'y' } else { 'x' };
    let typo = format!(
        "{}{}{}",
        &token[..middle],
        typed(token.as_bytes()[middle]),
        &token[middle + 1..]
    );
    for (text, says) in [
        (token[..token.len() - 4].to_owned(), "cut short"),
        (token[..middle].to_owned(), "cut short"),
        (typo, "typo"),
        (format!("{token}\n{token}"), "character"),
        (token.replacen("jt1_", "jt2_", 1), "jt2"),
        (token[4..].to_owned(), "not a"),
        ("hello".to_owned(), "not a"),
        ("a".repeat(5000), "longer than any"),
        (
            std::fs::read_to_string(place.export("edge-*", "1h")).unwrap(),
            "signing key",
        ),
    ] {
        machine.join(&text).fails(3, &[says]);
        assert!(!machine.out().exists(), "nothing is made for it");
    }
    machine.join("").fails(2, &["there is no token"]);
    assert!(!machine.out().exists());
    // A token of another store, brought to this one's door: the pin tells.
    let url = format!("https://127.0.0.1:{}", place.door_port);
    let foreign = create(&other.export("edge-*", "1h"), "edge-7");
    let lost = Machine::new();
    lost.join_with(&foreign, &["--url", &url])
        .fails(6, &["not to be trusted", "the token was not sent"]);
    // Told to trust whomever: the token's own pin is not to be talked away.
    lost.join_with(&token, &["--ca-pin", &"0".repeat(64)])
        .fails(2, &["pins another CA"]);
    let ca = other.data().join("keys/door-ca/tls.crt");
    lost.join_with(&token, &["--ca-file", text(&ca)])
        .fails(2, &["pins another CA"]);
    // Whoever goes round the program gets no further: what is said is the same whatever is wrong.
    let key = || JoinerKey::generate().unwrap();
    for wrong in [&foreign, &token[..token.len() - 1], "", "jt2_x"] {
        let (code, answer) = RawJoiner::new(&token, key(), place.door_port)
            .present(wrong)
            .await;
        assert_eq!(
            (code, &answer["code"]),
            (401, &json!("invalid_token")),
            "{answer}"
        );
    }
    let (code, answer) = RawJoiner::new(&token, key(), place.door_port)
        .with_a_bad_csr()
        .await;
    assert_eq!(
        (code, &answer["code"]),
        (400, &json!("invalid_csr")),
        "{answer}"
    );

    machine.join(&token).ok();
    lost.join(&foreign).ok();
    for server in [server, elsewhere] {
        assert!(server.terminate().0.success());
    }
}

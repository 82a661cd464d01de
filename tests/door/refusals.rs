//! Every refusal: its code, that nothing is written for it, and that the token is as it was.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use jointoken::bootstrap::{Class, Door};
use jointoken::lifecycle::command::{Abort, Bindings, Revoke};
use jointoken::lifecycle::{Phase, Reason};
use jointoken::pki::{Authority, CaRole};
use jointoken::store::{StoreError, submit};
use jointoken::token::{Claims, JoinerId, KeyId, Purpose, SigningKey, StoreId, mint};
use serde_json::{Value, json};

use crate::caller::{Caller, Said, ask, ask_text, new_key, request};
use crate::script::{Play, is_begin};
use crate::world::{DAY, HOUR, MINUTE, RESOURCE_KEY, Resource, START, STORE, Token, World, domain};

/// The door said this, and the store's log is no longer than before.
async fn refused_unwritten(world: &World, said: Said, status: u16, code: &str, before: u64) {
    assert_eq!((said.status.as_u16(), said.code().as_str()), (status, code));
    assert_eq!(world.store_index(), before, "{code} was written");
    assert!(!said.error().message.is_empty());
}

#[tokio::test]
async fn whoever_has_no_valid_token_learns_nothing_and_writes_nothing() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let real = token.text.expose();
    let stranger = SigningKey::from_bytes(Purpose::Resource, RESOURCE_KEY, &[9; 32]);
    let unknown = SigningKey::from_bytes(Purpose::Resource, KeyId([9; 8]), &[9; 32]);
    let claims = |key_id| Claims {
        purpose: Purpose::Resource,
        key_id,
        audience: STORE.audience(),
        token_id: token.id,
        node_name: "db-1".to_owned(),
        issued_at_ms: START,
        expires_at_ms: START + HOUR,
    };
    let forged = mint(&stranger, &claims(RESOURCE_KEY), &world.delivery()).unwrap();
    let of_nobody = mint(&unknown, &claims(KeyId([9; 8])), &world.delivery()).unwrap();
    let flipped = if real.ends_with('A') { "B" } else { "A" };
    let typo = format!("{}{flipped}", &real[..real.len() - 1]);
    let bad = [
        "",
        "hello",
        "jt2_AAAA",
        &real[..40],
        &typo,
        forged.expose(),
        of_nobody.expose(),
        &"00".repeat(48),
        &"x".repeat(5_000),
    ];
    let before = world.store_index();
    for text in bad {
        let said = ask_text(&world, text, &new_key()).await;
        let error = said.error();
        refused_unwritten(&world, said, 401, "invalid_token", before).await;
        assert_eq!(
            error.message,
            "the token is not valid here; ask whoever gave it to you for another"
        );
    }
    // The mistake that machines make themselves is named.
    let base64 = data_encoding::BASE64.encode(real.as_bytes());
    let said = ask_text(&world, &base64, &new_key()).await;
    let error = said.error();
    refused_unwritten(&world, said, 401, "invalid_token", before).await;
    assert!(error.message.contains("decode it"), "{}", error.message);
    assert_eq!(world.record(&token).phase, Phase::Issued);
    let refused = world.observer.refused();
    assert_eq!(refused.len(), bad.len() + 1);
    for refusal in refused {
        assert_eq!((refusal.class, refusal.token_id), (Class::Unproven, None));
    }
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn a_token_of_another_store_is_told_so() {
    let world = World::open().await;
    let mut claims = world.offline_claims();
    claims.audience = StoreId([0x52; 16]).audience();
    let token = world.offline_token(&claims);
    let before = world.store_index();
    let said = ask(&world, &token, &new_key()).await;
    refused_unwritten(&world, said, 403, "token_of_other_store", before).await;
}

#[tokio::test]
async fn a_resource_token_without_a_record_is_never_registered() {
    let world = World::open().await;
    let claims = Claims {
        purpose: Purpose::Resource,
        key_id: RESOURCE_KEY,
        node_name: "db-1".to_owned(),
        ..world.offline_claims()
    };
    let token = Token {
        id: claims.public_id(),
        text: mint(&world.keys.resource, &claims, &world.delivery()).unwrap(),
    };
    let said = ask(&world, &token, &new_key()).await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (403, "token_unknown")
    );
    assert!(world.store_record(&token).is_none());
}

#[tokio::test]
async fn an_expired_token_is_told_so() {
    let world = World::open().await;
    let token = world.plain_token().await;
    world.clock.advance(HOUR);
    let said = ask(&world, &token, &new_key()).await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (410, "token_expired")
    );
    world.until_phase(&token, Phase::Expired).await;
}

/// A door whose clock is an hour ahead of the store's refuses nobody who has a record.
#[tokio::test]
async fn the_doors_own_clock_expires_nothing() {
    let ahead = jointoken::clock::ManualClock::new(START + 2 * HOUR);
    let world = World::open_with(|door: &mut Door| door.clock = Arc::new(ahead)).await;
    let token = world.plain_token().await;
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn a_revoked_token_and_an_aborted_one_are_told_so() {
    let world = World::open().await;
    let end = |token: &Token, reason| Abort {
        token_id: token.id,
        reason,
        keep_until_ms: None,
    };
    let revoked = world.plain_token().await;
    submit(&*world.store, end(&revoked, Reason::Revoked))
        .await
        .unwrap();
    let said = ask(&world, &revoked, &new_key()).await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (410, "token_revoked")
    );

    let deleted = world
        .token(Resource {
            name: "db-2",
            ..Resource::default()
        })
        .await;
    submit(&*world.store, end(&deleted, Reason::Deleted))
        .await
        .unwrap();
    let said = ask(&world, &deleted, &new_key()).await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (410, "token_aborted")
    );
    assert!(said.error().message.contains("(deleted)"));
}

#[tokio::test]
async fn a_barred_machine_gets_no_answer_again() {
    let world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    ask(&world, &token, &key).await.admission();
    let revoke = Revoke {
        token_id: token.id,
        reason: Reason::Revoked,
        keep_until_ms: None,
    };
    submit(&*world.store, revoke).await.unwrap();
    assert_eq!(ask(&world, &token, &key).await.code(), "token_revoked");
    assert_eq!(ask(&world, &token, &new_key()).await.code(), "token_used");
}

#[tokio::test]
async fn bindings_hold() {
    let world = World::open().await;
    let key = new_key();
    let elsewhere = world
        .token(Resource {
            bindings: Bindings {
                source_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
                joiner: None,
            },
            ..Resource::default()
        })
        .await;
    let before = world.store_index();
    let said = ask(&world, &elsewhere, &key).await;
    refused_unwritten(&world, said, 403, "not_allowed_here", before).await;
    assert_eq!(world.record(&elsewhere).phase, Phase::Issued);

    let bound = world
        .token(Resource {
            name: "db-2",
            bindings: Bindings {
                source_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
                joiner: Some(JoinerId(key.public_key_sha256())),
            },
            ..Resource::default()
        })
        .await;
    let before = world.store_index();
    let said = ask(&world, &bound, &new_key()).await;
    refused_unwritten(&world, said, 403, "key_not_allowed", before).await;
    ask(&world, &bound, &key).await.admission();
}

#[tokio::test]
async fn the_csr_must_verify_and_be_of_the_key_that_the_connection_proved() {
    let world = World::open().await;
    let (token, key, other) = (world.plain_token().await, new_key(), new_key());
    let text = token.text.expose();
    let before = world.store_index();

    let mut caller = Caller::connect(&world, Some(&key)).await;
    // A thief with the token and somebody's CSR, but not the key.
    let said = caller.post("/v1/join", &request(text, &other)).await;
    refused_unwritten(&world, said, 400, "csr_key_differs", before).await;

    let mut nobody = Caller::connect(&world, None).await;
    let said = nobody.post("/v1/join", &request(text, &key)).await;
    refused_unwritten(&world, said, 401, "client_certificate_required", before).await;

    let pem = key.csr_pem().unwrap();
    let mut der = pem_body(&pem);
    *der.last_mut().unwrap() ^= 1;
    for broken in [
        String::new(),
        "hello".to_owned(),
        pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        pem_of(&der),
        format!("{pem}{pem}"),
        "x".repeat(10_000),
    ] {
        let body = json!({ "token": text, "csr": broken });
        let said = caller.post("/v1/join", &body).await;
        refused_unwritten(&world, said, 400, "invalid_csr", before).await;
    }
    // The token is none the worse.
    assert_eq!(world.record(&token).attempts, 0);
    let said = caller.post("/v1/join", &request(text, &key)).await;
    said.admission();
}

fn pem_body(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    data_encoding::BASE64.decode(base64.as_bytes()).unwrap()
}

fn pem_of(der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{base64}\n-----END CERTIFICATE REQUEST-----\n")
}

#[tokio::test]
async fn what_is_no_proper_request_is_refused_in_one_shape() {
    let world = World::open().await;
    let mut caller = Caller::connect(&world, Some(&new_key())).await;
    let cases: [(Method, &str, Vec<u8>, u16, &str); 9] = [
        (Method::GET, "/", vec![], 404, "not_found"),
        (Method::GET, "/v1/join/", vec![], 404, "not_found"),
        (Method::POST, "/v1/renew", vec![], 404, "not_found"),
        (Method::GET, "/v1/join", vec![], 405, "method_not_allowed"),
        (Method::POST, "/v1/ca", vec![], 405, "method_not_allowed"),
        (Method::POST, "/v1/join", vec![], 400, "invalid_request"),
        (
            Method::POST,
            "/v1/join",
            b"{\"token\":1}".to_vec(),
            400,
            "invalid_request",
        ),
        (
            Method::POST,
            "/v1/join",
            vec![0xff; 100],
            400,
            "invalid_request",
        ),
        (
            Method::POST,
            "/v1/ack",
            b"[]".to_vec(),
            400,
            "invalid_request",
        ),
    ];
    for (method, path, body, status, code) in cases {
        let said = caller.send(method.clone(), path, body).await;
        assert_eq!(
            (said.status.as_u16(), said.code().as_str()),
            (status, code),
            "{method} {path}"
        );
        let shape: Value = said.json();
        let fields: Vec<_> = shape.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "message"]);
    }
    let said = caller
        .post("/v1/ack", &json!({ "token_id": "no such id" }))
        .await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (403, "not_admitted")
    );
    // What was sent is not said back, not even where the parser stumbled over it.
    let secret = json!({ "token": "jt1_secret", "csr": "x", "jt1_secret": {} });
    let body = secret.to_string().replace("\"csr\"", "\"c");
    let said = caller.send(Method::POST, "/v1/join", body).await;
    assert!(!String::from_utf8_lossy(&said.body).contains("secret"));
}

#[tokio::test]
async fn without_a_leader_it_is_said_when_to_ask_again() {
    for (error, code) in [
        (StoreError::NoLeader, "no_leader"),
        (StoreError::Unknown, "outcome_unknown"),
        (StoreError::Clock, "clock_ahead"),
        (StoreError::Stopped, "unavailable"),
    ] {
        let world = World::open().await;
        let (token, key) = (world.plain_token().await, new_key());
        world.store.play_once(is_begin, Play::Fail(error));
        let said = ask(&world, &token, &key).await;
        assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(said.code(), code);
        let seconds = said.error().retry_after_seconds.unwrap();
        assert_eq!(said.headers["retry-after"], seconds.to_string());
        assert!(world.observer.refused().is_empty());
        ask(&world, &token, &key).await.admission();
    }
}

#[tokio::test]
async fn a_ca_that_cannot_sign_burns_no_token() {
    let elsewhere = jointoken::pki::TrustDomain::parse("other.example.com").unwrap();
    assert_ne!(elsewhere, domain());
    let wrong = Authority::generate(CaRole::Members, &elsewhere, START).unwrap();
    let world = World::open_with(|door| door.members = Arc::new(wrong)).await;
    let token = world.plain_token().await;
    let said = ask(&world, &token, &new_key()).await;
    assert_eq!(
        (said.status.as_u16(), said.code().as_str()),
        (503, "unavailable")
    );
    let record = world.record(&token);
    assert_eq!((record.phase, record.attempts), (Phase::Issued, 1));
    let failure = record.last_failure.unwrap().failure;
    assert_eq!(
        failure,
        jointoken::lifecycle::command::Failure::SigningFailed
    );
    assert_eq!(world.observer.classes(), [Class::Failed]);
}

#[tokio::test]
async fn certificates_live_no_longer_than_the_store_keeps_bars() {
    let world = World::open_with(|door| door.certificate_lifetime_ms = 1_000 * DAY).await;
    let token = world.plain_token().await;
    let answer = ask(&world, &token, &new_key()).await.admission();
    let end: jiff::Timestamp = answer.not_after.parse().unwrap();
    let limit = START + world.settings().longest_certificate_lifetime_ms + MINUTE;
    assert!(end.as_millisecond().unsigned_abs() <= limit);
}

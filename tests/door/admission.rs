//! One token, one key: admissions, lost replies, redelivery, and everybody else. What is a function
//! of a world is played on the replicated store too.

use std::sync::Arc;

use hyper::StatusCode;
use jointoken::bootstrap::Class;
use jointoken::lifecycle::Phase;
use jointoken::lifecycle::outcome::AcknowledgeOutcome;
use jointoken::pki::{JoinerKey, not_after_ms_of_cert};
use jointoken::store::{StoreError, submit};
use jointoken::token::JoinerId;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::caller::{Caller, acknowledge, ask, kept_leaf, new_key, request};
use crate::script::{Gate, Play, is_consume};
use crate::world::{DAY, HOUR, MINUTE, Resource, SECOND, START, Token, World};

fn joiner(key: &JoinerKey) -> JoinerId {
    JoinerId(key.public_key_sha256())
}

#[tokio::test]
async fn a_machine_is_admitted_and_its_answer_says_everything() {
    admitted(World::open().await).await;
}

pub async fn admitted(world: World) {
    let (token, key) = (world.plain_token().await, new_key());
    world.clock.advance(10 * SECOND);
    let said = ask(&world, &token, &key).await;
    let answer = said.admission();
    assert_eq!(answer.token_id, token.id.to_string());
    assert_eq!(answer.node_name, "db-1");
    assert_eq!(answer.trust_domain, "prod.example.com");
    assert_eq!(answer.ca, world.members.cert_pem());
    assert_eq!(answer.certificate, kept_leaf(&world, &token));
    assert!(answer.files.is_empty());
    assert_eq!(said.headers["cache-control"], "no-store");

    let leaf = CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap();
    let end = not_after_ms_of_cert(&leaf).unwrap() / 1000;
    assert_eq!(end, (START + 10 * SECOND + DAY) / 1000);
    let told: jiff::Timestamp = answer.not_after.parse().unwrap();
    assert_eq!(told.as_second().unsigned_abs(), end);

    let record = world.record(&token);
    assert_eq!(record.phase, Phase::Consumed);
    let admission = record.admission.unwrap();
    assert_eq!(admission.joiner, joiner(&key));
    assert_eq!(admission.address, Some([127, 0, 0, 1].into()));
    let answered = world.observer.answered();
    assert_eq!(answered.len(), 1);
    assert_eq!(answered[0].class, Class::Admitted);
    assert_eq!(answered[0].token_id, Some(token.id));
    assert_eq!(answered[0].joiner, Some(joiner(&key)));
}

#[tokio::test]
async fn a_second_machine_is_refused_and_leaves_a_mark() {
    let world = World::open().await;
    let token = world.plain_token().await;
    ask(&world, &token, &new_key()).await.admission();
    assert!(!world.record(&token).contested);

    let thief = new_key();
    let said = ask(&world, &token, &thief).await;
    assert_eq!(said.status, StatusCode::GONE);
    assert_eq!(said.code(), "token_used");
    assert_eq!(said.error().retry_after_seconds, None);
    assert!(world.record(&token).contested);
    let refused = world.observer.refused();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].joiner, Some(joiner(&thief)));
    assert_eq!(refused[0].token_id, Some(token.id));
    assert_eq!(refused[0].address, std::net::IpAddr::from([127, 0, 0, 1]));
}

/// The predecessor let everybody in again from the same address when the address was a
/// placeholder, and refused honest retries when it was real. Here it is the key that counts.
#[tokio::test]
async fn the_same_key_has_the_very_same_certificate_again_and_no_other_key_has() {
    same_key_again(World::open().await).await;
}

pub async fn same_key_again(world: World) {
    let (token, key) = (world.plain_token().await, new_key());
    let first = ask(&world, &token, &key).await.admission();
    let again = ask(&world, &token, &key).await.admission();
    assert_eq!(again, first);
    assert_eq!(ask(&world, &token, &new_key()).await.code(), "token_used");
    assert_eq!(ask(&world, &token, &key).await.admission(), first);
    assert_eq!(
        world.observer.classes(),
        [
            Class::Admitted,
            Class::Redelivered,
            Class::Refused,
            Class::Redelivered
        ]
    );
}

#[tokio::test]
async fn who_was_admitted_in_time_has_its_answer_after_the_expiry_too() {
    let world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    let first = ask(&world, &token, &key).await.admission();
    world.clock.advance(2 * HOUR);
    assert_eq!(ask(&world, &token, &key).await.admission(), first);
    world.clock.advance(DAY);
    assert_eq!(ask(&world, &token, &key).await.code(), "token_used");
}

#[tokio::test]
async fn an_acknowledged_answer_is_not_given_again() {
    acknowledged(World::open().await).await;
}

pub async fn acknowledged(world: World) {
    let (token, key) = (world.plain_token().await, new_key());
    ask(&world, &token, &key).await.admission();

    // Knowing the token's id is not enough, nor is another machine's key.
    let stranger = acknowledge(&world, &token, &new_key()).await;
    assert_eq!(
        (stranger.status, stranger.code().as_str()),
        (StatusCode::FORBIDDEN, "not_admitted")
    );
    assert!(world.record(&token).admission.unwrap().leaf.is_some());

    for _ in 0..2 {
        let said = acknowledge(&world, &token, &key).await;
        assert_eq!(said.status, StatusCode::OK, "{:?}", said.body);
    }
    assert!(world.record(&token).admission.unwrap().leaf.is_none());
    assert_eq!(ask(&world, &token, &key).await.code(), "token_used");
    assert!(!world.record(&token).contested);
}

#[tokio::test]
async fn nothing_is_proposed_for_whoever_acknowledges_what_it_did_not_get() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let before = world.store_index();
    assert_eq!(
        acknowledge(&world, &token, &new_key()).await.code(),
        "not_admitted"
    );
    assert_eq!(world.store_index(), before);
    // The store itself would say the same.
    let outcome = submit(
        &*world.store,
        jointoken::lifecycle::command::Acknowledge {
            token_id: token.id,
            joiner: joiner(&new_key()),
        },
    );
    assert_eq!(outcome.await, Ok(AcknowledgeOutcome::NotAdmitted));
}

#[tokio::test]
async fn while_one_machine_is_being_admitted_another_is_told_to_wait() {
    conflict(World::open().await).await;
}

pub async fn conflict(world: World) {
    let token = world
        .token(Resource {
            in_flight_timeout_ms: Some(MINUTE),
            ..Resource::default()
        })
        .await;
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let first_key = new_key();
    let body = request(token.text.expose(), &first_key);
    let mut first = Caller::connect(&world, Some(&first_key)).await;
    let asking = tokio::spawn(async move { first.post("/v1/join", &body).await });
    gate.reached().await;

    let said = ask(&world, &token, &new_key()).await;
    assert_eq!(said.status, StatusCode::CONFLICT);
    let error = said.error();
    assert_eq!(said.code(), "claim_conflict");
    let seconds = error.retry_after_seconds.unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert_eq!(said.headers["retry-after"], seconds.to_string());
    assert!(world.observer.refused().is_empty());

    gate.open();
    asking.await.unwrap().admission();
    assert_eq!(ask(&world, &token, &new_key()).await.code(), "token_used");
}

#[tokio::test]
async fn a_commit_that_nobody_heard_of_is_an_admission_all_the_same() {
    unheard_commit(World::open().await).await;
}

pub async fn unheard_commit(world: World) {
    let (token, key) = (world.plain_token().await, new_key());
    world
        .store
        .play_once(is_consume, Play::CommitThenFail(StoreError::Unknown));
    let said = ask(&world, &token, &key).await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said.code(), "outcome_unknown");
    assert!(said.error().retry_after_seconds.is_some());
    assert_eq!(world.record(&token).phase, Phase::Consumed);

    let again = ask(&world, &token, &key).await.admission();
    assert_eq!(again.certificate, kept_leaf(&world, &token));
}

/// What the predecessor did not: fence by attempt. A claim that lapsed while its holder slept is
/// somebody else's; the sleeper's certificate never leaves the server.
#[tokio::test]
async fn a_claim_that_lapsed_admits_nobody() {
    let world = World::open().await;
    let token = world
        .token(Resource {
            in_flight_timeout_ms: Some(MINUTE),
            ..Resource::default()
        })
        .await;
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let slow_key = new_key();
    let body = request(token.text.expose(), &slow_key);
    let mut slow = Caller::connect(&world, Some(&slow_key)).await;
    let asking = tokio::spawn(async move { slow.post("/v1/join", &body).await });
    gate.reached().await;
    world.clock.advance(2 * MINUTE);

    let fast_key = new_key();
    ask(&world, &token, &fast_key).await.admission();
    gate.open();
    let said = asking.await.unwrap();
    assert_eq!(said.code(), "token_used");
    let admission = world.record(&token).admission.unwrap();
    assert_eq!(admission.joiner, joiner(&fast_key));
}

#[tokio::test]
async fn many_keys_at_once_and_one_is_admitted() {
    many_keys(World::open().await).await;
}

pub async fn many_keys(world: World) {
    let world = Arc::new(world);
    let token = Arc::new(world.plain_token().await);
    let racers: Vec<_> = (0..12)
        .map(|_| {
            let (world, token) = (Arc::clone(&world), Arc::clone(&token));
            tokio::spawn(async move { race(&world, &token).await })
        })
        .collect();
    let mut admitted = 0;
    for racer in racers {
        admitted += usize::from(racer.await.unwrap());
    }
    assert_eq!(admitted, 1);
}

async fn race(world: &World, token: &Token) -> bool {
    let said = ask(world, token, &new_key()).await;
    match said.status {
        StatusCode::OK => true,
        StatusCode::CONFLICT | StatusCode::GONE => false,
        other => panic!("{other} {:?}", said.body),
    }
}

/// A machine that lost patience asks again while its first request still runs. Both are granted
/// the same attempt and each signs a certificate; the one that was committed first is everybody's.
#[tokio::test]
async fn one_key_that_asks_twice_at_once_has_one_certificate() {
    twice_at_once(World::open().await).await;
}

pub async fn twice_at_once(world: World) {
    let (token, key) = (world.plain_token().await, new_key());
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let body = request(token.text.expose(), &key);
    let mut first = Caller::connect(&world, Some(&key)).await;
    let asking = tokio::spawn(async move { first.post("/v1/join", &body).await });
    gate.reached().await;
    let second = ask(&world, &token, &key).await.admission();
    gate.open();
    let first = asking.await.unwrap().admission();
    assert_eq!(first, second);
    assert_eq!(first.certificate, kept_leaf(&world, &token));
    assert_eq!(world.record(&token).attempts, 1);
}

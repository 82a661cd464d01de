//! Limits on failures and on the use of one token.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use jointoken::bootstrap::{Class, Rate};
use tokio::time::timeout;

use crate::caller::{Caller, acknowledge, ask, ask_text, new_key, request};
use crate::script::{Gate, Play, is_consume};
use crate::world::{World, soon};

/// A burst, and then nothing for as long as a test runs.
fn burst(burst: u32) -> Rate {
    Rate {
        burst: NonZeroU32::new(burst).unwrap(),
        one_per: Duration::from_secs(3_600),
    }
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_keeps_nobody_out() {
    let world = World::open_with(|door| door.limits.rates.failures_per_address = burst(3)).await;
    let token = world.plain_token().await;
    let guess = "00".repeat(48);
    for _ in 0..3 {
        assert_eq!(
            ask_text(&world, &guess, &new_key()).await.code(),
            "invalid_token"
        );
    }
    for _ in 0..2 {
        let said = ask_text(&world, &guess, &new_key()).await;
        assert_eq!(said.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(said.code(), "rate_limited");
        let seconds: u64 = said.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(seconds > 3_000, "{seconds}");
    }
    // A flood fills no audit: what goes beyond the limit is counted alone.
    assert_eq!(world.observer.refused().len(), 3);
    assert_eq!(world.observer.classes()[3..], [Class::TryAgain; 2]);
    // From the very same address, a valid token is served all the same.
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn all_failures_together_have_a_limit() {
    let world = World::open_with(|door| door.limits.rates.failures = burst(2)).await;
    let token = world.plain_token().await;
    let codes = [
        ask_text(&world, "hello", &new_key()).await.code(),
        ask_text(&world, "hello", &new_key()).await.code(),
        ask_text(&world, "hello", &new_key()).await.code(),
    ];
    assert_eq!(codes, ["invalid_token", "invalid_token", "rate_limited"]);
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn one_token_can_be_tried_so_often_and_another_does_not_mind() {
    let world = World::open_with(|door| door.limits.rates.uses_per_token = burst(3)).await;
    let (token, key) = (world.plain_token().await, new_key());
    for _ in 0..3 {
        ask(&world, &token, &key).await.admission();
    }
    let before = world.store_index();
    assert_eq!(ask(&world, &token, &key).await.code(), "rate_limited");
    assert_eq!(world.store_index(), before);
    let other = world.offline_token(&world.offline_claims());
    ask(&world, &other, &key).await.admission();
}

#[tokio::test]
async fn acknowledging_what_one_did_not_get_counts_as_failure() {
    let world = World::open_with(|door| door.limits.rates.failures_per_address = burst(1)).await;
    let (token, key) = (world.plain_token().await, new_key());
    let stranger = acknowledge(&world, &token, &new_key()).await;
    assert_eq!(stranger.code(), "not_admitted");
    let stranger = acknowledge(&world, &token, &new_key()).await;
    assert_eq!(stranger.code(), "rate_limited");
    ask(&world, &token, &key).await.admission();
    let said = acknowledge(&world, &token, &key).await;
    assert_eq!(said.status, StatusCode::OK);
}

/// Others of its address had used up what may fail, and this replica did not know of the admission yet.
#[tokio::test]
async fn a_replica_that_lags_behind_is_not_the_machines_failure() {
    let world = World::open_with(|door| door.limits.rates.failures_per_address = burst(1)).await;
    let (token, key) = (world.plain_token().await, new_key());
    let stranger = acknowledge(&world, &token, &new_key()).await;
    assert_eq!(stranger.code(), "not_admitted");
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let body = request(token.text.expose(), &key);
    let mut joining = Caller::connect(&world, Some(&key)).await;
    let joining = tokio::spawn(async move { joining.post("/v1/join", &body).await });
    soon(gate.reached()).await;
    let mut telling = Caller::connect(&world, Some(&key)).await;
    let body = serde_json::json!({ "token_id": token.id.to_string() });
    let mut said = pin!(telling.post("/v1/ack", &body));
    let at_once = timeout(Duration::from_millis(100), said.as_mut()).await;
    assert!(at_once.is_err(), "{at_once:?}");
    gate.open();
    assert_eq!(said.await.status, StatusCode::OK);
    joining.await.unwrap().admission();
}

#[tokio::test]
async fn nonsense_is_slowed_down_like_guesses() {
    let world = World::open_with(|door| door.limits.rates.failures_per_address = burst(2)).await;
    let (token, key) = (world.plain_token().await, new_key());
    let mut caller = Caller::connect(&world, Some(&key)).await;
    let nonsense = serde_json::json!({ "no": "request" });
    for code in ["invalid_request", "invalid_request", "rate_limited"] {
        assert_eq!(caller.post("/v1/join", &nonsense).await.code(), code);
    }
    assert_eq!(world.observer.refused().len(), 2);
    ask(&world, &token, &key).await.admission();
}

#[tokio::test]
async fn a_token_of_another_store_is_a_token_that_is_used() {
    let world = World::open_with(|door| door.limits.rates.uses_per_token = burst(2)).await;
    let mut claims = world.offline_claims();
    claims.audience = jointoken::token::StoreId([0x52; 16]).audience();
    let token = world.offline_token(&claims);
    for code in [
        "token_of_other_store",
        "token_of_other_store",
        "rate_limited",
    ] {
        assert_eq!(ask(&world, &token, &new_key()).await.code(), code);
    }
    assert_eq!(world.observer.refused()[0].token_id, Some(token.id));
}

/// Refusals are audited before the reply, so none may be had without a limit: this one once was, by
/// anybody who reached the port.
#[tokio::test]
async fn acknowledging_nonsense_fills_no_audit() {
    let world = World::open_with(|door| door.limits.rates.failures_per_address = burst(2)).await;
    let mut caller = Caller::connect(&world, Some(&new_key())).await;
    let nonsense = serde_json::json!({ "token_id": "no such id" });
    for code in ["not_admitted", "not_admitted", "rate_limited"] {
        assert_eq!(caller.post("/v1/ack", &nonsense).await.code(), code);
    }
    assert_eq!(world.observer.refused().len(), 2);
}

/// Otherwise one connection has a core of the server for itself, guess by guess.
#[tokio::test]
async fn who_is_to_slow_down_is_answered_slowly() {
    let world = World::open_with(|door| {
        door.limits.rates.failures_per_address = burst(1);
        door.limits.slow_answer = Duration::from_millis(300);
    })
    .await;
    let token = world.plain_token().await;
    let key = new_key();
    let mut caller = Caller::connect(&world, Some(&key)).await;
    let guess = request("hello", &key);
    assert_eq!(
        caller.post("/v1/join", &guess).await.code(),
        "invalid_token"
    );
    let begun = Instant::now();
    for _ in 0..2 {
        assert_eq!(caller.post("/v1/join", &guess).await.code(), "rate_limited");
    }
    assert!(begun.elapsed() >= Duration::from_millis(600));
    // The observer hears of it at once, and a valid token has its answer at once.
    let longest = world.observer.answered().into_iter().map(|a| a.duration);
    assert!(longest.max().unwrap() < Duration::from_millis(300));
    caller
        .post("/v1/join", &request(token.text.expose(), &key))
        .await
        .admission();
}

//! What goes wrong after the claim: it is given back by whoever holds it.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jointoken::bootstrap::Class;
use jointoken::lifecycle::Phase;
use jointoken::lifecycle::command::Failure;
use jointoken::store::StoreError;

use crate::caller::{Caller, ask, new_key, request};
use crate::script::{Gate, Play, is_begin, is_consume};
use crate::world::{World, eventually, soon};

#[tokio::test]
async fn a_caller_who_goes_away_while_the_certificate_is_made_gives_the_claim_back() {
    goes_away(World::open().await).await;
}

pub async fn goes_away(world: World) {
    let (token, key) = (world.plain_token().await, new_key());
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    leave_at(&world, token.text.expose(), &gate).await;
    let record = world
        .until(&token, |record| record.last_failure.is_some())
        .await;
    assert_eq!((record.phase, record.attempts), (Phase::Issued, 1));
    assert_eq!(record.last_failure.unwrap().failure, Failure::Interrupted);
    eventually("the observation", || {
        (world.observer.classes() == [Class::Abandoned]).then_some(())
    })
    .await;
    ask(&world, &token, &key).await.admission();
}

#[tokio::test]
async fn a_caller_who_goes_away_while_the_claim_is_made_gives_it_back() {
    let world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    let gate = Gate::new();
    world
        .store
        .play_once(is_begin, Play::Hold(Arc::clone(&gate)));
    leave_at(&world, token.text.expose(), &gate).await;
    eventually("the observation", || {
        (world.observer.classes() == [Class::Abandoned]).then_some(())
    })
    .await;
    gate.open();
    let record = world
        .until(&token, |record| record.last_failure.is_some())
        .await;
    assert_eq!((record.phase, record.attempts), (Phase::Issued, 1));
    ask(&world, &token, &key).await.admission();
}

/// Asks, and vanishes when the request stands at the gate.
async fn leave_at(world: &World, token: &str, gate: &Gate) {
    let key = new_key();
    let mut caller = Caller::connect(world, Some(&key)).await;
    let body = request(token, &key);
    {
        let asking = caller.post("/v1/join", &body);
        tokio::select! {
            said = asking => panic!("{said:?}"),
            () = soon(gate.reached()) => (),
        }
    }
    caller.vanish();
}

#[tokio::test]
async fn a_panic_answers_500_and_gives_the_claim_back() {
    let world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    world.store.play_once(is_consume, Play::Panic);
    let said = ask(&world, &token, &key).await;
    assert_eq!(said.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(said.code(), "internal");
    assert!(!said.error().message.contains("as the test wants it"));
    let record = world
        .until(&token, |record| record.last_failure.is_some())
        .await;
    assert_eq!(record.phase, Phase::Issued);
    assert_eq!(world.observer.classes(), [Class::Failed]);
    ask(&world, &token, &key).await.admission();
}

#[tokio::test]
async fn a_panic_while_the_claim_is_made_answers_500() {
    let world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    world.store.play_once(is_begin, Play::Panic);
    assert_eq!(ask(&world, &token, &key).await.code(), "internal");
    assert_eq!(world.record(&token).phase, Phase::Issued);
    ask(&world, &token, &key).await.admission();
}

#[tokio::test]
async fn a_leader_lost_between_claim_and_admission_costs_a_retry() {
    let world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    let mut failures = 3;
    world.store.play(move |operation| {
        // The admission fails, and so do the first attempts to give the claim back.
        if !is_begin(operation) && failures > 0 {
            failures -= 1;
            return Play::Fail(StoreError::NoLeader);
        }
        Play::Pass
    });
    let said = ask(&world, &token, &key).await;
    assert_eq!(said.code(), "no_leader");
    world.until_phase(&token, Phase::Issued).await;
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended_and_gives_the_claim_back() {
    let world = World::open_with(|door| door.limits.request = Duration::from_millis(300)).await;
    let token = world.plain_token().await;
    world.store.play_once(is_consume, Play::Hold(Gate::new()));
    let said = ask(&world, &token, &new_key()).await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said.code(), "outcome_unknown");
    world
        .until(&token, |record| record.last_failure.is_some())
        .await;
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn stopping_lets_the_running_request_finish() {
    let mut world = World::open().await;
    let (token, key) = (world.plain_token().await, new_key());
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let mut caller = Caller::connect(&world, Some(&key)).await;
    let body = request(token.text.expose(), &key);
    let asking = tokio::spawn(async move { caller.post("/v1/join", &body).await });
    soon(gate.reached()).await;
    world.begin_close();
    // New connections are refused once the door has heard of it.
    let address = world.address;
    soon(async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    asking.await.unwrap().admission();
    world.close().await;
}

#[tokio::test]
async fn stopping_takes_a_bounded_time_and_gives_claims_back() {
    let mut world = World::open_with(|door| door.limits.stop = Duration::from_millis(200)).await;
    let (token, key) = (world.plain_token().await, new_key());
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let mut caller = Caller::connect(&world, Some(&key)).await;
    let body = request(token.text.expose(), &key);
    let asking = caller.post("/v1/join", &body);
    tokio::select! {
        said = asking => panic!("{said:?}"),
        () = gate.reached() => (),
    }
    world.close().await;
    let record = world.record(&token);
    assert_eq!(record.phase, Phase::Issued);
    assert_eq!(record.last_failure.unwrap().failure, Failure::Interrupted);
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_door_from_stopping() {
    let mut world = World::open().await;
    let mut idle = Caller::connect(&world, None).await;
    idle.get("/v1/ca").await;
    let half_open = tokio::net::TcpStream::connect(world.address).await.unwrap();
    world.close().await;
    drop(half_open);
}

//! A connection that breaks between the request and its answer, at whatever moment: the token is not burnt by it.

use std::sync::Arc;
use std::time::Duration;

use jointoken::clock::ManualClock;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::caller::{Caller, ask, new_key, request};
use crate::raft::{store_on, world};
use crate::slow_disk::SlowDisk;
use crate::world::{Resource, START, World};

/// As long as a network volume takes to sync: a claim and an admission take that long each.
const SYNC: Duration = Duration::from_millis(20);

/// Asks and is gone after so long. The same key asks again: it is admitted.
async fn cut_after(world: &World, ms: u64) {
    let name = format!("db-{ms}");
    let resource = Resource {
        name: &name,
        max_claims: Some(1),
        ..Resource::default()
    };
    let (token, key) = (world.token(resource).await, new_key());
    let mut caller = Caller::connect(world, Some(&key)).await;
    let body = request(token.text.expose(), &key);
    tokio::select! {
        _answered_before = caller.post("/v1/join", &body) => (),
        () = sleep(Duration::from_millis(ms)) => (),
    }
    caller.vanish();
    // At once, and so perhaps before the server has noticed that the first request is over.
    let again = ask(world, &token, &key).await;
    assert_eq!(again.status, 200, "cut after {ms} ms: {}", again.code());
    // Its certificate, and nobody else's.
    assert_eq!(ask(world, &token, &new_key()).await.code(), "token_used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_moment_burns_no_token() {
    let folder = TempDir::new().unwrap();
    let clock = ManualClock::new(START);
    let store = store_on(Arc::new(SlowDisk::new(SYNC)), folder.path(), &clock).await;
    let world = world(&store, &clock).await;
    for ms in (2..=80).step_by(2) {
        cut_after(&world, ms).await;
    }
    store.shutdown().await;
}

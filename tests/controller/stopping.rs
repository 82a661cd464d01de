//! An operator that stops after any effect leaves something from which the next one goes on: the same
//! token, the same Secret.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use jointoken::api::{JoinToken, Phase};
use jointoken::clock::ManualClock;
use jointoken::controller::{Effect, Effected, Effects, Error};
use jointoken::lifecycle::Settings;
use jointoken::store::disk::RealDisk;
use jointoken::store::identity::{self, Identity};
use jointoken::store::{RaftStore, StoreConfig, TokenStore};
use jointoken::token::TokenId;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use crate::ground::{Ground, MINUTE_MS, START_MS, STORE, condition};

/// Does so many effects and then nothing any more, as if the process had ended.
struct StopAfter {
    effects: Arc<dyn Effects>,
    left: AtomicUsize,
    stopped: Arc<Notify>,
}

impl Effects for StopAfter {
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        async move {
            let take = |left: usize| left.checked_sub(1);
            if self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_err()
            {
                self.stopped.notify_one();
                return Err(Error::Stopping);
            }
            self.effects.perform(resource, effect).await
        }
        .boxed()
    }
}

/// Runs operators one after the other, each for `n` effects, until `done` has come about; says
/// how many there were.
pub async fn play<T>(
    ground: &Ground,
    first: usize,
    later: Option<usize>,
    done: impl Future<Output = T>,
) -> (usize, T) {
    let mut done = std::pin::pin!(done);
    let mut operators = 0;
    let mut budget = first;
    loop {
        operators += 1;
        let stopped = Arc::new(Notify::new());
        let notify = stopped.clone();
        let operator = ground.operator_with(ground.client.clone(), |effects| {
            Arc::new(StopAfter {
                effects,
                left: AtomicUsize::new(budget),
                stopped: notify,
            })
        });
        let outcome = tokio::select! {
            outcome = &mut done => Some(outcome),
            () = stopped.notified() => None,
        };
        operator.stop().await;
        if let Some(outcome) = outcome {
            return (operators, outcome);
        }
        budget = later.unwrap_or(usize::MAX);
    }
}

#[tokio::test]
async fn an_issue_that_stops_after_any_effect_goes_on_with_the_same_token() {
    let ground = Ground::new("stop").await;
    let mut n = 0;
    loop {
        let name = format!("n{n}");
        ground.create(&name, json!({})).await;
        // The first life: only so many effects.
        let (operators, issued) = play(
            &ground,
            n,
            None,
            ground.wait(&name, "issued", |resource, status| {
                status.phase == Some(Phase::Issued) && !resource.finalizers().is_empty()
            }),
        )
        .await;
        let record = ground.record(&name);
        assert_eq!(
            issued.status.unwrap().token_id,
            Some(record.token_id.to_string()),
            "n = {n}"
        );
        assert_eq!(ground.entry(&name).unwrap().reissue, 0, "n = {n}");
        assert_eq!(
            ground.verified_token(&name).await.token_id,
            record.token_id,
            "n = {n}"
        );
        // No second registration was ever needed to find out: no more transitions than this one.
        assert_eq!(record.attempts, 0);
        if operators == 1 {
            // It never ran out of effects: every point to stop at has been tried.
            break;
        }
        n += 1;
        assert!(n < 20, "issuing takes more effects than anybody thought");
    }
    // Finalizer, registration, Secret and status at least.
    assert!(n >= 4, "only {n}");
    ground.remove().await;
}

/// What there is of an issue when its operator has stopped.
struct Stopped {
    after: usize,
    name: String,
    token_id: Option<TokenId>,
    secret: Option<Secret>,
}

/// Applies a resource and stops the operator after so many effects of its issue.
async fn stop_after(ground: &Ground, after: usize) -> Stopped {
    let name = format!("n{after}");
    ground.create(&name, json!({})).await;
    let stopped = Arc::new(Notify::new());
    let notify = stopped.clone();
    let operator = ground.operator_with(ground.client.clone(), |effects| {
        Arc::new(StopAfter {
            effects,
            left: AtomicUsize::new(after),
            stopped: notify,
        })
    });
    // Finalizer, registration, Secret, status, event: then there is nothing left to stop at.
    if after < 5 {
        stopped.notified().await;
    } else {
        ground.wait_for_phase(&name, "Issued").await;
    }
    operator.stop().await;
    let token_id = ground.entry(&name).map(|entry| entry.token_id);
    let secret = ground
        .secrets()
        .get_opt(&format!("{name}-join-token"))
        .await;
    let secret = secret.unwrap();
    assert_eq!(token_id.is_some(), after >= 2, "after {after}");
    assert_eq!(secret.is_some(), after >= 3, "after {after}");
    Stopped {
        after,
        name,
        token_id,
        secret,
    }
}

impl Stopped {
    /// Another operator goes on: what there was is there, and is not taken for somebody else's.
    async fn goes_on(self, ground: &Ground) {
        let Self { after, name, .. } = self;
        let operator = ground.operator();
        let issued = ground.wait_for_phase(&name, "Issued").await;
        operator.stop().await;
        if let Some(token_id) = self.token_id {
            assert_eq!(ground.record(&name).token_id, token_id, "after {after}");
        }
        let secret = ground
            .secrets()
            .get(&format!("{name}-join-token"))
            .await
            .unwrap();
        if let Some(before) = self.secret {
            assert_eq!(secret.uid(), before.uid(), "after {after}");
            assert_eq!(secret.data, before.data, "after {after}");
        }
        assert_eq!(condition(&issued, "Adopted"), None, "after {after}");
    }
}

#[tokio::test]
async fn what_stood_at_the_stop_of_the_operator_stands_afterwards() {
    let ground = Ground::new("stands").await;
    for after in 0..6 {
        stop_after(&ground, after).await.goes_on(&ground).await;
    }
    ground.remove().await;
}

#[tokio::test]
async fn a_whole_life_works_with_operators_that_live_for_one_effect_each() {
    let ground = Ground::new("mayfly").await;
    let resource = ground
        .create("n1", json!({"reissuePolicy": "WhenUnused"}))
        .await;
    let story = async {
        ground
            .wait("n1", "issued", |_, status| {
                status.phase == Some(Phase::Issued)
            })
            .await;
        let first = ground.record("n1").token_id;
        ground.pass(60 * MINUTE_MS).await;
        ground
            .wait("n1", "issued again", |_, status| status.reissues == Some(1))
            .await;
        assert_ne!(ground.record("n1").token_id, first);
        ground.patch("n1", json!({"spec": {"revision": 2}})).await;
        ground
            .wait("n1", "revision 2", |_, status| status.revision == Some(2))
            .await;
        ground.admit("n1", 5).await;
        ground
            .wait("n1", "used", |resource, status| {
                status.phase == Some(Phase::Consumed) && resource.finalizers().is_empty()
            })
            .await;
        ground.patch("n1", json!({"spec": {"revision": 3}})).await;
        ground
            .wait("n1", "revision 3", |_, status| status.revision == Some(3))
            .await;
        ground.delete("n1").await;
        ground.wait_gone(&resource).await;
    };
    let (operators, ()) = play(&ground, 1, Some(1), story).await;
    assert!(operators > 10, "only {operators}");
    let entry = ground.entry("n1").unwrap();
    assert_eq!((entry.revision, entry.reissue), (3, 0));
    assert_eq!(entry.aborted, Some(jointoken::lifecycle::Reason::Deleted));
    ground.remove().await;
}

/// Holds back the first status that says Issued.
struct LateStatus {
    effects: Arc<dyn Effects>,
    held: Arc<Notify>,
    released: Arc<Semaphore>,
}

impl Effects for LateStatus {
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        async move {
            if let Effect::WriteStatus(status) = effect
                && status.phase == Some(Phase::Issued)
            {
                self.held.notify_one();
                let _permit = self.released.acquire().await.expect("never closed");
            }
            self.effects.perform(resource, effect).await
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_deposed_leader_that_writes_late_changes_nothing() {
    let ground = Ground::new("late").await;
    let (held, released) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (notify, permits) = (held.clone(), released.clone());
    let old = ground.operator_with(ground.client.clone(), |effects| {
        Arc::new(LateStatus {
            effects,
            held: notify,
            released: permits,
        })
    });
    ground.create("n1", json!({})).await;
    held.notified().await;

    let new = ground.operator();
    ground.wait_for_phase("n1", "Issued").await;
    ground.admit("n1", 5).await;
    let used = ground
        .wait("n1", "used", |resource, status| {
            status.phase == Some(Phase::Consumed) && resource.finalizers().is_empty()
        })
        .await;
    new.stop().await;
    released.add_permits(1_000);
    old.stop().await;
    let now = ground.resources().get("n1").await.unwrap();
    assert_eq!(
        now.metadata.resource_version,
        used.metadata.resource_version
    );
    ground.remove().await;
}

/// Opens the store that is shipped in this folder, which is founded if it is empty.
async fn raft(folder: &Path, clock: &ManualClock) -> RaftStore {
    let is_new = identity::read(&RealDisk, folder).unwrap().is_none();
    if is_new {
        let founder = Identity {
            store_id: STORE,
            node_id: 1,
            epoch: 1,
            founding: true,
        };
        identity::create(&RealDisk, folder, &founder).unwrap();
    }
    let config = StoreConfig::new(folder, Settings::default());
    let opened = RaftStore::open(config, Arc::new(RealDisk), Arc::new(clock.clone())).await;
    let store = opened.unwrap();
    if is_new {
        store.initialize().await.unwrap();
        store.founding_complete().await.unwrap();
    }
    let mut health = store.health();
    health.wait_for(|health| health.is_leader).await.unwrap();
    store
}

#[tokio::test]
async fn what_stood_at_the_stop_of_operator_and_store_stands_afterwards() {
    let folder = tempfile::TempDir::new().unwrap();
    let clock = ManualClock::new(START_MS);
    let mut store = raft(folder.path(), &clock).await;
    let mut ground = Ground::on("stands-raft", Arc::new(store.clone()), clock.clone()).await;
    for after in 0..6 {
        let stopped = stop_after(&ground, after).await;
        store.shutdown().await;
        store = raft(folder.path(), &clock).await;
        ground.store = Arc::new(store.clone());
        stopped.goes_on(&ground).await;
    }
    store.shutdown().await;
    ground.remove().await;
}

//! What every store keeps to: the one that is shipped, and the one in memory that is its measure.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use jointoken::clock::{Clock, ManualClock};
use jointoken::lifecycle::command::{Abort, Consume, Forget, RaiseRules, Sweep};
use jointoken::lifecycle::outcome::{BeginOutcome, Cause, ConsumeOutcome, ForgetOutcome};
use jointoken::lifecycle::{Issuance, Operation, Phase, Reason, Settings, State};
use jointoken::store::disk::RealDisk;
use jointoken::store::reference::InMemoryStore;
use jointoken::store::{RaftStore, StoreError, TokenStore, identity, submit};
use openraft_rt_tokio::TokioRuntime;

use crate::support::{
    HOUR_MS, IDENTITY, KEY, T, admit, begin, config, founded, joiner, leads, leaf, offline_key,
    token,
};

const MINUTE_MS: u64 = 60_000;

type Check = for<'a> fn(&'a dyn TokenStore, &'a ManualClock) -> BoxFuture<'a, ()>;

/// Runs a check on a founded store of each kind, its clock at `T`.
async fn of_every_store(check: Check) {
    let clock = ManualClock::new(T);
    let memory = InMemoryStore::new(Arc::new(clock.clone()));
    let to = State::newest_rules();
    submit(&memory, RaiseRules { to }).await.unwrap();
    submit(&memory, founded()).await.unwrap();
    submit(&memory, offline_key()).await.unwrap();
    check(&memory, &clock).await;

    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(T);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let disk = Arc::new(RealDisk);
    let raft = crate::support::found::<TokioRuntime>(config(dir.path()), disk, shared).await;
    check(&raft, &clock).await;
    raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_answered_with_its_own_outcome_and_read_at_once() {
    of_every_store(|store, _| {
        async move {
            let first = store.propose(begin(1, 1, T).into()).await.unwrap();
            assert_eq!(first.now_ms, T);
            let record = store.record(&token(1)).unwrap();
            assert_eq!(record.phase, Phase::InFlight);
            assert_eq!(record.changed_at_index, first.index);
            let second = store.propose(begin(2, 1, T).into()).await.unwrap();
            assert!(second.index > first.index);
            let health = store.health().borrow().clone();
            assert!(health.is_leader && health.leader_known && health.is_ready());
            // Of what is applied its caller is told at once, all others a moment later.
            let mut seen = store.health();
            seen.wait_for(|health| health.applied_index >= second.index)
                .await
                .unwrap();
            assert_eq!(store.record(&token(3)), None);
            store.barrier().await.unwrap();
        }
        .boxed()
    })
    .await;
}

/// Whoever had no answer asks again, and it is as if it had asked once.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_operation_twice_has_the_effect_of_one() {
    of_every_store(|store, _| {
        async move {
            for _ in 0..2 {
                let outcome = submit(store, begin(1, 1, T)).await.unwrap();
                assert!(matches!(outcome, BeginOutcome::Granted { attempt: 1, .. }));
            }
            for certificate in [leaf(1), leaf(2)] {
                let consume = Consume {
                    token_id: token(1),
                    joiner: joiner(1),
                    attempt: 1,
                    leaf: certificate,
                };
                let outcome = submit(store, consume).await.unwrap();
                let ConsumeOutcome::Admitted { leaf: kept, .. } = outcome else {
                    panic!("not admitted");
                };
                assert_eq!(kept, leaf(1), "the certificate kept first");
            }
            assert!(admit(store, 1, 2, T).await.unwrap().is_none());
        }
        .boxed()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_admit_one() {
    of_every_store(|store, _| {
        async move {
            let all = (0..20).map(|by| admit(store, 1, by, T));
            let outcomes = futures::future::join_all(all).await;
            let admitted = outcomes
                .into_iter()
                .filter(|o| matches!(o, Ok(Some(_))))
                .count();
            assert_eq!(admitted, 1);
        }
        .boxed()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_every_change_in_order_and_nothing_else() {
    of_every_store(|store, _| {
        async move {
            admit(store, 1, 1, T).await.unwrap().unwrap();
            // What was before is not told again.
            let mut feed = store.changes();
            let begun = store.propose(begin(2, 1, T).into()).await.unwrap();
            submit(store, Sweep { limit: 1 }).await.unwrap();
            let unknown = Forget {
                issuance: Issuance {
                    namespace: "a".into(),
                    name: "b".into(),
                },
            };
            assert_eq!(
                submit(store, unknown).await.unwrap(),
                ForgetOutcome::NotFound
            );
            let contested = store.propose(begin(1, 2, T).into()).await.unwrap();
            for (committed, causes) in [
                (begun, vec![Cause::Registered, Cause::Claimed]),
                (contested, vec![Cause::Contested]),
            ] {
                let change = feed.recv().await.unwrap();
                assert_eq!((change.index, change.now_ms), (committed.index, T));
                let told: Vec<_> = change.transitions.iter().map(|step| step.cause).collect();
                assert_eq!(told, causes);
            }
            assert!(feed.try_recv().is_err());
        }
        .boxed()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_the_store_is_read() {
    of_every_store(|store, _| {
        async move {
            assert_eq!(store.founded(), Some(founded()));
            assert_eq!(store.keys(), [offline_key()]);
            assert_eq!(store.keys()[0].key_id, KEY);
            assert_eq!(store.settings(), Settings::default());
        }
        .boxed()
    })
    .await;
}

/// The machine's clock was an hour ahead and was set right: what were issued now would live too long.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_state_is_far_ahead_nothing_is_issued_and_all_else_goes_on() {
    of_every_store(|store, clock| {
        async move {
            submit(store, begin(1, 1, T)).await.unwrap();
            let back = |ms| clock.set(T - ms);
            back(5 * MINUTE_MS);
            submit(store, begin(2, 1, T)).await.unwrap();
            back(5 * MINUTE_MS + 1);
            assert_eq!(submit(store, begin(3, 1, T)).await, Err(StoreError::Clock));
            let consume = Consume {
                token_id: token(1),
                joiner: joiner(1),
                attempt: 1,
                leaf: leaf(1),
            };
            let outcome = submit(store, consume).await.unwrap();
            assert!(matches!(outcome, ConsumeOutcome::Admitted { .. }));
            let abort = Abort {
                token_id: token(2),
                reason: Reason::Operator,
                keep_until_ms: None,
            };
            let aborted = store.propose(Operation::from(abort)).await.unwrap();
            assert_eq!(aborted.now_ms, T, "the state's clock never runs backwards");
            // Time catches up.
            clock.advance(1);
            submit(store, begin(3, 1, T)).await.unwrap();
        }
        .boxed()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_expires_what_it_should() {
    of_every_store(|store, clock| {
        async move {
            submit(store, begin(1, 1, T)).await.unwrap();
            clock.advance(HOUR_MS);
            let late = submit(store, begin(1, 1, T)).await.unwrap();
            assert_eq!(late, BeginOutcome::Expired);
        }
        .boxed()
    })
    .await;
}

#[tokio::test]
async fn a_store_in_memory_that_has_lost_its_leader_answers_nothing() {
    let store = InMemoryStore::new(Arc::new(ManualClock::new(T)));
    store.set_leader(false);
    let refused = submit(&store, founded()).await;
    assert_eq!(refused.err(), Some(StoreError::NoLeader));
    assert_eq!(store.barrier().await, Err(StoreError::NoLeader));
}

/// The predecessor had a store in memory that served until its Raft was there: what it admitted
/// then nobody else knew of, and a restart had forgotten it. Here nothing is answered before a
/// leader is known to have committed, and no shipped command can select another store.
#[tokio::test(flavor = "multi_thread")]
async fn before_raft_has_a_leader_nothing_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    identity::create(&RealDisk, dir.path(), &IDENTITY).unwrap();
    let store = RaftStore::open(
        config(dir.path()),
        Arc::new(RealDisk),
        Arc::new(ManualClock::new(T)),
    );
    let store = store.await.unwrap();
    assert!(!store.health().borrow().is_ready());
    let refused = submit(&store, founded()).await;
    assert_eq!(refused.err(), Some(StoreError::NoLeader));
    let refused = submit(&store, begin(1, 1, T)).await;
    assert_eq!(refused.err(), Some(StoreError::NoLeader));
    assert_eq!(store.barrier().await, Err(StoreError::NoLeader));
    assert_eq!(store.record(&token(1)), None);
    // And it can still be founded.
    crate::support::complete_founding(&store).await.unwrap();
    leads(&store).await;
    store.shutdown().await;
    let refused = submit(&store, begin(1, 1, T)).await;
    assert_eq!(refused.err(), Some(StoreError::Stopped));
}

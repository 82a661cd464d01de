//! A replica whose log ends before what the statuses tell of, though it is not known whether they tell the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jointoken::store::{
    CallError, Health, PeerAddress, RaftStore, StoreConfig, TokenStore as _, Told, Transport,
    Witness, entries_sent,
};

use crate::group::{Group, runtime};
use crate::in_process;

/// It is said every 30 seconds that a replica is sent nothing.
const SAID: Duration = Duration::from_secs(33);
const PATIENCE: Duration = Duration::from_secs(90);

/// Heartbeats and entries do not get to one replica, all else does.
struct SendsNothing {
    to: PeerAddress,
    is_on: Arc<AtomicBool>,
    by: Arc<dyn Transport>,
}

impl Transport for SendsNothing {
    fn call(
        &self,
        to: &PeerAddress,
        request: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        let is_log = entries_sent(&request).is_some();
        if is_log && *to == self.to && self.is_on.load(Ordering::SeqCst) {
            return async { Err(CallError::NotSent("it is held up".into())) }.boxed();
        }
        self.by.call(to, request)
    }
}

fn told_of_more(config: &mut StoreConfig) {
    config.witnesses = vec![Witness {
        told: Told::Index(1_000_000),
        place: "the status of JoinToken a/b".into(),
    }];
}

async fn comes_to(store: &RaftStore, what: &str, is_so: impl FnMut(&Health) -> bool) -> Health {
    let mut health = store.health();
    let waited = tokio::time::timeout(PATIENCE, health.wait_for(is_so)).await;
    let seen = waited.unwrap_or_else(|_| panic!("it never came that {what}"));
    seen.expect("it is told").clone()
}

#[test]
fn who_is_told_of_more_by_a_status_waits_for_a_leader_that_does_not_reach_it() {
    let mut group = Group::of_three();
    group.terminate_all();
    let to = PeerAddress::new(&group.peer_address(2));
    let is_on = Arc::new(AtomicBool::new(true));
    let change = |config: &mut StoreConfig| {
        if config.data_dir.starts_with(group.data(2)) {
            told_of_more(config);
        }
        if let Some(group) = &mut config.group {
            group.transport = Arc::new(SendsNothing {
                to: to.clone(),
                is_on: is_on.clone(),
                by: group.transport.clone(),
            });
        }
    };
    runtime().block_on(async {
        let stores = in_process::open(&group, &[0, 1, 2], change).await;
        comes_to(&stores[0], "somebody leads", |health| health.leader_known).await;
        tokio::time::sleep(SAID).await;
        let health = stores[2].health().borrow().clone();
        assert_eq!((health.fatal, health.incomplete), (None, true));
        // It has a leader and all that the leader has: the status was edited.
        is_on.store(false, Ordering::SeqCst);
        let is_over = |health: &Health| !health.incomplete || health.fatal.is_some();
        let health = comes_to(&stores[2], "it has caught up", is_over).await;
        assert_eq!((health.fatal, health.incomplete), (None, false));
        for store in &stores {
            store.shutdown().await;
        }
    });
}

#[test]
fn a_group_in_which_all_are_told_of_more_by_a_status_ends() {
    let mut group = Group::of_three();
    group.terminate_all();
    runtime().block_on(async {
        let stores = in_process::open(&group, &[0, 1, 2], told_of_more).await;
        for store in &stores {
            let health = comes_to(store, "it ends", |health| health.fatal.is_some()).await;
            let why = health.fatal.unwrap_or_default();
            assert!(
                why.contains("the status of JoinToken a/b") && why.contains("none of it leads"),
                "{why}"
            );
        }
        for store in &stores {
            store.shutdown().await;
        }
    });
}

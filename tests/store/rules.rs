//! The rules that a store goes by: those of its founding, until later ones are put in force.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jointoken::clock::ManualClock;
use jointoken::lifecycle::Settings;
use jointoken::lifecycle::record::Origin;
use jointoken::store::disk::RealDisk;
use jointoken::store::{RaftStore, TokenStore as _, UpgradeError, identity, submit};

use crate::support::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A store as the first release founded it.
async fn of_the_first_rules(dir: &Path, clock: &ManualClock) -> RaftStore {
    identity::create(&RealDisk, dir, &IDENTITY).unwrap();
    let clock = Arc::new(clock.clone());
    let store = RaftStore::open(config(dir), Arc::new(RealDisk), clock).await;
    let store: RaftStore = store.unwrap();
    store.initialize().await.unwrap();
    submit(&store, founded()).await.unwrap();
    submit(&store, offline_key()).await.unwrap();
    store.founding_complete().await.unwrap();
    assert_eq!(store.rules().in_force, 1);
    store
}

/// The format of each segment of its log.
fn formats(dir: &Path) -> Vec<u8> {
    let mut segments: Vec<_> = (dir.join("log").read_dir().unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    let format = |path| std::fs::read(path).unwrap()[8];
    segments.iter().map(format).collect()
}

/// The node of the token's record.
async fn admitted_at(store: &RaftStore, n: u64) -> Option<String> {
    let record = admit(store, n, n, store.now_ms()).await.unwrap().unwrap();
    assert_eq!(store.record(&token(n)).as_ref(), Some(&record));
    match record.origin {
        Origin::Offline { node_name, .. } => node_name,
        other => panic!("{other:?}"),
    }
}

/// Till then the first release could still read everything.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_kept_once_later_rules_are_put_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let store = of_the_first_rules(dir.path(), &clock()).await;
    assert_eq!(admitted_at(&store, 1).await, None);
    assert_eq!(formats(dir.path()), [1]);
    assert_eq!(store.settings().namespaces, None);
    assert_eq!(store.finalize_upgrade().await, Ok(3));
    let again = store.finalize_upgrade().await;
    assert_eq!(again, Err(UpgradeError::NothingLater(3)));
    let node = admitted_at(&store, 2).await;
    assert_eq!(node.as_deref(), Some("edge-1"));
    assert_eq!(store.settings(), Settings::default());
    assert_eq!(formats(dir.path()), [1, 2, 3]);
    let image = store.state_image();
    store.shutdown().await;

    let store = open_real(dir.path()).await.unwrap();
    leads(&store).await;
    assert!(store.state_image() == image);
    assert_eq!(store.rules().in_force, 3);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_after_later_rules_are_in_force_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = of_the_first_rules(dir.path(), &clock).await;
    let began = Instant::now();
    while store.rules().in_force == 1 {
        assert!(began.elapsed() < PATIENCE, "they stay as they are");
        clock.advance(HOUR_MS);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let node = admitted_at(&store, 1).await;
    assert_eq!(node.as_deref(), Some("edge-1"));
    store.shutdown().await;
}

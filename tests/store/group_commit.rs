//! Many proposals share a sync; a lone one has its own and waits for nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use jointoken::store::{RaftStore, TokenStore as _, submit};

use crate::slow_disk::SlowDisk;
use crate::support::{T, begin, clock, config, found};

#[tokio::test(flavor = "multi_thread")]
async fn many_proposals_share_a_sync_and_a_lone_one_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SlowDisk::new(Duration::from_millis(5));
    let syncs = || disk.syncs.load(Ordering::SeqCst);
    let store: RaftStore = found(config(dir.path()), Arc::new(disk.clone()), clock()).await;
    // The first that names a node begins a segment.
    submit(&store, begin(1_000, 1, T)).await.unwrap();
    store.barrier().await.unwrap();

    let before = syncs();
    for n in 0..20 {
        submit(&store, begin(n, 1, T)).await.unwrap();
    }
    assert_eq!(syncs() - before, 20, "each alone is synced once, at once");

    let before = syncs();
    let all = (100..600).map(|n| submit(&store, begin(n, 1, T)));
    for outcome in join_all(all).await {
        outcome.unwrap();
    }
    let shared = syncs() - before;
    assert!(
        (1..=50).contains(&shared),
        "500 proposals took {shared} syncs"
    );
    store.shutdown().await;
}

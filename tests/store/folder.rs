//! The data folder: what it may be opened by, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jointoken::lifecycle::Phase;
use jointoken::store::disk::RealDisk;
use jointoken::store::{
    CallError, GroupConfig, OpenError, PeerAddress, RaftStore, StoreConfig, TokenStore as _, Told,
    Transport, Witness, audit_trail, identity,
};
use jointoken::token::StoreId;
use tokio::sync::watch;

use crate::support::{
    IDENTITY, T, admit, clock, config, found, found_real, leads, open_real, token,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_admitted_is_still_so_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = found_real(dir.path()).await;
    for n in 0..20 {
        assert!(admit(&store, n, n, T).await.unwrap().is_some());
    }
    let image = store.state_image();
    store.shutdown().await;
    drop(store);

    let store = open_real(dir.path()).await.unwrap();
    assert!(!store.identity().founding);
    leads(&store).await;
    assert_eq!(store.state_image(), image);
    for n in 0..20 {
        assert_eq!(store.record(&token(n)).unwrap().phase, Phase::Consumed);
        assert!(admit(&store, n, 99, T).await.unwrap().is_none());
    }
    store.shutdown().await;
}

/// All that says so is the very first entry: there is no snapshot yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_replica_of_a_group_is_not_opened_if_it_was_set_back_before_its_first_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = found_real(dir.path()).await;
    store.shutdown().await;
    drop(store);
    let open = |index| {
        let mut config = config(dir.path());
        let address = PeerAddress::new("replica-0:9443");
        config.group = Some(GroupConfig {
            address: address.clone(),
            list: watch::Sender::new(BTreeSet::from([address])).subscribe(),
            transport: Arc::new(Unreachable),
        });
        config.witnesses = vec![Witness {
            told: Told::Index(index),
            place: "the status of JoinToken a/b".into(),
        }];
        RaftStore::open(config, Arc::new(RealDisk), clock())
    };
    let error = open(1_000).await.err().unwrap();
    assert!(matches!(error, OpenError::SetBack { .. }), "{error}");
    open(1).await.unwrap().shutdown().await;
}

struct Unreachable;

impl Transport for Unreachable {
    fn call(&self, _: &PeerAddress, _: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        async { Err(CallError::NotSent("nobody is there".into())) }.boxed()
    }
}

/// Whoever founds does so, and the steward of a group, perhaps at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn that_the_founding_is_complete_may_be_written_down_by_several_at_once() {
    let dir = tempfile::tempdir().unwrap();
    identity::create(&RealDisk, dir.path(), &IDENTITY).unwrap();
    let store = open_real(dir.path()).await.unwrap();
    store.initialize().await.unwrap();
    let all = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.founding_complete().await })
    });
    for written in futures::future::join_all(all).await {
        written.unwrap().unwrap();
    }
    store.shutdown().await;
    let founded = identity::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert!(!founded.founding);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = found_real(dir.path()).await;
    let error = open_real(dir.path()).await.err().unwrap();
    let expected = format!(
        "the data folder {} is in use by another process (pid {})",
        dir.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    store.shutdown().await;
    open_real(dir.path()).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_is_no_store_and_stays_empty() {
    let dir = tempfile::tempdir().unwrap();
    let error = open_real(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::NotFounded { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    found_real(dir.path()).await.shutdown().await;
    let mut config = config(dir.path());
    config.expected_store = Some(StoreId([8; 16]));
    let error = RaftStore::open(config, Arc::new(RealDisk), clock()).await;
    let error = error.err().unwrap();
    assert!(matches!(error, OpenError::OtherStore { found, .. } if found == IDENTITY.store_id));

    // Another's log under this identity.
    let other = tempfile::tempdir().unwrap();
    let identity = jointoken::store::Identity {
        store_id: StoreId([8; 16]),
        ..IDENTITY
    };
    jointoken::store::identity::create(&RealDisk, other.path(), &identity).unwrap();
    fs::create_dir(other.path().join("log")).unwrap();
    for file in fs::read_dir(dir.path().join("log")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), other.path().join("log").join(file.file_name())).unwrap();
    }
    let error = open_real(other.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::OtherStore { found, .. } if found == IDENTITY.store_id));
}

/// All files of a folder with their contents.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The folder is refused with a message that says this, warns of old copies, and is left as it is.
async fn is_refused(dir: &Path, what: &str) {
    let before = contents(dir);
    let said = open_real(dir).await.err().unwrap().to_string();
    assert!(said.contains(what), "{said}");
    assert!(said.contains("Do not put an older copy in its place"));
    assert!(!said.contains("backup"), "{said}");
    assert!(!said.contains('\n'), "{said}");
    assert!(contents(dir) == before, "the folder was changed");
}

/// A store that takes snapshots often and keeps little of the log behind them.
fn snapshotting(dir: &Path) -> StoreConfig {
    let mut config = config(dir);
    config.segment_bytes = 2_000;
    config.snapshot_after_bytes = 10_000;
    config.keep_entries = 5;
    config
}

/// Admits until there is a snapshot and the log before it is gone.
async fn admit_until_purged(store: &RaftStore, dir: &Path) {
    let first = dir.join("log/0000000000000001.log");
    for n in 0.. {
        admit(store, n, n, T).await.unwrap();
        if !first.exists() {
            return;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in contents(from) {
        fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_never_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    found_real(dir.path()).await.shutdown().await;
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    is_refused(dir.path(), "is missing, and it is not begun anew").await;
}

/// What the log has dropped is in the snapshot alone: without it every token used before would be
/// unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store: RaftStore = found(snapshotting(dir.path()), Arc::new(RealDisk), clock()).await;
    admit_until_purged(&store, dir.path()).await;
    store.shutdown().await;
    fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    fs::create_dir(dir.path().join("snapshots")).unwrap();
    is_refused(dir.path(), "are in a snapshot that is missing").await;
}

/// An older copy of the log alone: what came after the snapshot is not in it, and who was admitted
/// then would be unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_the_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let store: RaftStore = found(snapshotting(dir.path()), Arc::new(RealDisk), clock()).await;
    store.shutdown().await;
    drop(store);
    let older = tempfile::tempdir().unwrap();
    copy(&log, older.path());

    let store = RaftStore::open(snapshotting(dir.path()), Arc::new(RealDisk), clock());
    let store = store.await.unwrap();
    leads(&store).await;
    admit_until_purged(&store, dir.path()).await;
    store.shutdown().await;
    fs::remove_dir_all(&log).unwrap();
    copy(older.path(), &log);
    is_refused(dir.path(), "it ends before entry").await;
}

/// Cut at its end, a log looks as if its last writes had never completed; with it, who was admitted
/// then would be unknown. How far the audit had come tells the one from the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    found_real(dir.path()).await.shutdown().await;
    let (sink, mut trail) = audit_trail();
    let mut audited = config(dir.path());
    audited.audit = Some(sink);
    let mark = trail.mark();
    let auditor = tokio::spawn(async move {
        while let Some(change) = trail.next().await {
            mark.written(change.index);
        }
    });
    let store: RaftStore = RaftStore::open(audited, Arc::new(RealDisk), clock())
        .await
        .unwrap();
    leads(&store).await;
    for n in 0..5 {
        admit(&store, n, n, T).await.unwrap();
    }
    store.shutdown().await;
    drop(store);
    auditor.abort();
    // The last segment: the one before it ends where later rules began.
    let segments = contents(&dir.path().join("log"));
    let (log, _) = segments.last().unwrap().clone();
    let whole = fs::read(&log).unwrap();
    // Anywhere: also between two frames, where nothing is torn.
    for len in [whole.len() * 3 / 4, whole.len() / 2, whole.len() / 3] {
        fs::write(&log, &whole[..len]).unwrap();
        is_refused(dir.path(), "it ends at entry").await;
    }
    fs::write(&log, &whole).unwrap();
    open_real(dir.path()).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = found_real(dir.path()).await;
    for n in 0..5 {
        admit(&store, n, n, T).await.unwrap();
    }
    store.shutdown().await;
    let log = dir.path().join("log/0000000000000001.log");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x04;
    fs::write(&log, bytes).unwrap();
    is_refused(dir.path(), "is damaged at byte").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_makes_no_sense_is_refused_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    found_real(dir.path()).await.shutdown().await;
    let before = contents(dir.path());
    let mut config = config(dir.path());
    config.settings.max_token_ttl_ms = u64::MAX;
    let error = RaftStore::open(config, Arc::new(RealDisk), clock()).await;
    let said = error.err().unwrap().to_string();
    assert!(
        said.starts_with("maxTokenTtl is 18446744073709551615 ms"),
        "{said}"
    );
    assert!(contents(dir.path()) == before, "the folder was changed");
}

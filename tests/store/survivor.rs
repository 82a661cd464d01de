//! What is read of a replica's folder without opening it, and a folder that begins with a state.

use std::sync::Arc;

use jointoken::lifecycle::command::RaiseRules;
use jointoken::lifecycle::{Phase, State};
use jointoken::store::disk::{Disk, RealDisk};
use jointoken::store::{
    Identity, OpenError, RaftStore, Seed, StoreConfig, Survivor, TokenStore, seed, submit,
};
use jointoken::token::StoreId;

use crate::support::*;

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_is_read_to_its_last_entry_and_left_as_it_is() {
    for snapshot_after_bytes in [1, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            snapshot_after_bytes,
            keep_entries: 3,
            ..config(dir.path())
        };
        let store: RaftStore = found(config, disk(), clock()).await;
        for n in 0..40 {
            admit(&store, n, n, T).await.unwrap().unwrap();
        }
        // Time for a snapshot.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let last = store.health().borrow().applied_index;
        let image = store.state_image();
        let in_use = Survivor::read(&disk(), dir.path()).unwrap_err();
        assert!(matches!(in_use, OpenError::Locked { .. }), "{in_use}");
        store.shutdown().await;
        for _ in 0..2 {
            let survivor = Survivor::read(&disk(), dir.path()).unwrap();
            assert_eq!(survivor.index, last);
            assert!(survivor.state.encode() == image);
        }
        let store = open_real(dir.path()).await.unwrap();
        assert!(store.state_image() == image);
        store.shutdown().await;
    }
    let nowhere = tempfile::tempdir().unwrap();
    let error = Survivor::read(&disk(), nowhere.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotFounded { .. }), "{error}");
    assert_eq!(nowhere.path().read_dir().unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_by_rules_of_a_later_release_is_not_read_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = found_real(dir.path()).await;
    let to = State::newest_rules() + 1;
    // It is in the log, and the replica stops before it.
    submit(&store, RaiseRules { to }).await.unwrap_err();
    store.shutdown().await;
    let error = Survivor::read(&disk(), dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::LaterRelease { .. }), "{error}");
}

/// A new store whose log begins at entry 100.
fn seeded(dir: &std::path::Path, state: &State) -> Result<(), OpenError> {
    let begin = Seed {
        identity: Identity {
            founding: false,
            ..IDENTITY
        },
        state,
        index: 100,
        salt: 5,
    };
    seed(&disk(), dir, &begin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_goes_on_from_the_state_that_it_was_begun_with() {
    let former = tempfile::tempdir().unwrap();
    let store = found_real(former.path()).await;
    admit(&store, 1, 1, T).await.unwrap().unwrap();
    store.shutdown().await;
    let state = Survivor::read(&disk(), former.path()).unwrap().state;

    let dir = tempfile::tempdir().unwrap();
    seeded(dir.path(), &state).unwrap();
    let again = seeded(dir.path(), &state).unwrap_err();
    assert!(matches!(again, OpenError::Io { .. }), "{again}");
    for round in 0..3 {
        let store = open_real(dir.path()).await.unwrap();
        leads(&store).await;
        assert!(store.identity() != IDENTITY);
        for n in 1..2 + round {
            assert_eq!(store.record(&token(n)).unwrap().phase, Phase::Consumed);
        }
        admit(&store, 2 + round, 2, T).await.unwrap().unwrap();
        assert!(store.health().borrow().applied_index > 100);
        store.shutdown().await;
    }
    // The snapshot that it began with counts as what it is.
    let log = dir.path().join("log");
    std::fs::remove_dir_all(&log).unwrap();
    let error = open_real(dir.path()).await.err().expect("no log");
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
    let config = StoreConfig {
        expected_store: Some(StoreId([1; 16])),
        ..config(dir.path())
    };
    let other = RaftStore::open(config, disk(), clock()).await.err();
    assert!(matches!(other, Some(OpenError::OtherStore { .. })));
}

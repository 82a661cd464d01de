//! The data folder: what it may be opened by, and what is refused.

use std::fs;

use jointoken::lifecycle::Phase;
use jointoken::store::{OpenError, TokenStore as _};
use jointoken::token::StoreId;

use crate::support::{IDENTITY, T, admit, config, found_real, leads, open_real, token};

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
    let disk = std::sync::Arc::new(jointoken::store::disk::RealDisk);
    let clock = crate::support::clock();
    let error = jointoken::store::RaftStore::open(config, disk, clock)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::OtherStore { found, .. } if found == IDENTITY.store_id));

    // Another's log under this identity.
    let other = tempfile::tempdir().unwrap();
    let identity = jointoken::store::Identity {
        store_id: StoreId([8; 16]),
        ..IDENTITY
    };
    jointoken::store::identity::create(&jointoken::store::disk::RealDisk, other.path(), &identity)
        .unwrap();
    fs::create_dir(other.path().join("log")).unwrap();
    for file in fs::read_dir(dir.path().join("log")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), other.path().join("log").join(file.file_name())).unwrap();
    }
    let error = open_real(other.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::OtherStore { found, .. } if found == IDENTITY.store_id));
}

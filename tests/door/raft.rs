//! The same over the store that is shipped: openraft, on a disk.

use std::path::Path;
use std::sync::Arc;

use jointoken::clock::ManualClock;
use jointoken::lifecycle::{Phase, Settings};
use jointoken::store::disk::{Disk, RealDisk};
use jointoken::store::identity::{self, Identity};
use jointoken::store::{RaftStore, StoreConfig, TokenStore};
use tempfile::TempDir;

use crate::caller::{ask, new_key};
use crate::world::{START, STORE, World};
use crate::{admission, faults};

async fn store(folder: &Path, clock: &ManualClock) -> Arc<RaftStore> {
    store_on(Arc::new(RealDisk), folder, clock).await
}

/// Opens the store in this folder, which is founded if it is empty.
pub async fn store_on(disk: Arc<dyn Disk>, folder: &Path, clock: &ManualClock) -> Arc<RaftStore> {
    let founder = Identity {
        store_id: STORE,
        node_id: 1,
        epoch: 1,
        founding: true,
    };
    let is_new = identity::read(&RealDisk, folder).unwrap().is_none();
    if is_new {
        identity::create(&RealDisk, folder, &founder).unwrap();
    }
    let config = StoreConfig::new(folder, Settings::default());
    let store = RaftStore::open(config, disk, Arc::new(clock.clone()))
        .await
        .unwrap();
    if is_new {
        store.initialize().await.unwrap();
        store.founding_complete().await.unwrap();
    }
    let mut health = store.health();
    health.wait_for(|health| health.is_leader).await.unwrap();
    Arc::new(store)
}

pub async fn world(store: &Arc<RaftStore>, clock: &ManualClock) -> World {
    let store = Arc::clone(store) as Arc<dyn TokenStore>;
    World::open_on(clock.clone(), store, |_| ()).await
}

macro_rules! on_raft {
    ($($name:ident: $scenario:path;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let folder = TempDir::new().unwrap();
            let clock = ManualClock::new(START);
            let store = store(folder.path(), &clock).await;
            $scenario(world(&store, &clock).await).await;
            store.shutdown().await;
        }
    )*};
}

on_raft! {
    a_machine_is_admitted: admission::admitted;
    the_same_key_has_the_same_certificate_again: admission::same_key_again;
    an_acknowledged_answer_is_not_given_again: admission::acknowledged;
    a_claim_in_the_way_is_told: admission::conflict;
    a_commit_that_nobody_heard_of_is_an_admission: admission::unheard_commit;
    one_key_twice_at_once_has_one_certificate: admission::twice_at_once;
    of_many_keys_one_is_admitted: admission::many_keys;
    who_goes_away_gives_the_claim_back: faults::goes_away;
}

/// The reply was lost because the server went down; the machine asks the one that came up again.
#[tokio::test]
async fn an_admission_outlives_the_process() {
    let folder = TempDir::new().unwrap();
    let clock = ManualClock::new(START);
    let first = store(folder.path(), &clock).await;
    let mut before = world(&first, &clock).await;
    let (token, key) = (before.plain_token().await, new_key());
    let answer = ask(&before, &token, &key).await.admission();
    before.close().await;
    first.shutdown().await;

    let second = store(folder.path(), &clock).await;
    let after = world(&second, &clock).await;
    assert_eq!(after.record(&token).phase, Phase::Consumed);
    let again = ask(&after, &token, &key).await.admission();
    assert_eq!(again.certificate, answer.certificate);
    assert_eq!(ask(&after, &token, &new_key()).await.code(), "token_used");
    second.shutdown().await;
}

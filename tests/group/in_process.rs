//! The replicas' data folders, opened by the test itself once the processes have ended: their states can be compared byte
//! by byte, and figures be set that no configuration has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jointoken::clock::SystemClock;
use jointoken::lifecycle::{Settings, State};
use jointoken::store::disk::RealDisk;
use jointoken::store::{
    CallError, GroupConfig, PeerAddress, PeerService, RaftStore, StoreConfig, TokenStore as _,
    Transport,
};

use crate::group::Group;

const PATIENCE: Duration = Duration::from_secs(60);

/// Who is reached where.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<PeerAddress, Arc<dyn PeerService>>>>);

/// The wires of one replica.
struct From(PeerAddress, Wires);

impl Transport for From {
    fn call(
        &self,
        to: &PeerAddress,
        request: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        let there = self.1.0.lock().unwrap().get(to).cloned();
        let Some(there) = there else {
            return async { Err(CallError::NotSent("nobody is there".into())) }.boxed();
        };
        let answer = tokio::spawn(there.answer(&self.0, request));
        async {
            answer
                .await
                .map_err(|error| CallError::NoAnswer(error.to_string()))
        }
        .boxed()
    }
}

/// Opens these replicas; each with what is changed in its configuration.
pub async fn open(
    group: &Group,
    replicas: &[usize],
    change: impl Fn(&mut StoreConfig),
) -> Vec<RaftStore> {
    let at = |replica: &usize| (*replica, PeerAddress::new(&group.peer_address(*replica)));
    open_at(group, replicas.iter().map(at).collect(), change).await
}

/// Opens these replicas, each at an address that need not be its own.
pub async fn open_at(
    group: &Group,
    places: Vec<(usize, PeerAddress)>,
    change: impl Fn(&mut StoreConfig),
) -> Vec<RaftStore> {
    let wires = Wires::default();
    let at = |replica| PeerAddress::new(&group.peer_address(replica));
    let list: BTreeSet<_> = (0..group.size()).map(at).collect();
    let mut stores = Vec::new();
    for (replica, address) in places {
        let mut config = StoreConfig::new(group.data(replica).join("store"), Settings::default());
        config.group = Some(GroupConfig {
            address: address.clone(),
            list: tokio::sync::watch::Sender::new(list.clone()).subscribe(),
            transport: Arc::new(From(address.clone(), wires.clone())),
        });
        change(&mut config);
        let opened = RaftStore::open(config, Arc::new(RealDisk), Arc::new(SystemClock)).await;
        let store = opened.expect("what a process has left can be opened");
        let service = store.peer_service();
        wires.0.lock().unwrap().insert(address, service);
        stores.push(store);
    }
    stores
}

/// Returns once the replica has applied all that was committed before.
pub async fn catches_up(store: &RaftStore) {
    let catches_up = async {
        while store.barrier().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let caught_up = tokio::time::timeout(PATIENCE, catches_up).await;
    caught_up.expect("a leader");
}

/// Opens all replicas and returns the state on which they agree to the byte.
pub async fn common_state(group: &Group) -> State {
    common_state_of(group, &(0..group.size()).collect::<Vec<_>>()).await
}

/// The same of these replicas.
pub async fn common_state_of(group: &Group, replicas: &[usize]) -> State {
    let stores = open(group, replicas, |_| {}).await;
    let mut images = Vec::new();
    // What a leader does by itself may come in between for once.
    for _ in 0..20 {
        images.clear();
        for store in &stores {
            catches_up(store).await;
            images.push(store.state_image());
        }
        if images.iter().all(|image| *image == images[0]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for store in &stores {
        store.shutdown().await;
    }
    let is_common = images.iter().all(|image| *image == images[0]);
    assert!(is_common, "the replicas' states differ");
    State::decode(&images[0]).expect("a state")
}

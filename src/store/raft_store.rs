//! The store that is shipped: the lifecycle's state, replicated by openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openraft::AsyncRuntime;
use openraft::errors::{InitializeError, RaftError};
use openraft_rt_tokio::TokioRuntime;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings, State, StateHash};
use crate::token::{KeyId, TokenId};

use super::disk::Disk;
use super::group::PULSE;
use super::health::root_cause;
use super::identity::Identity;
use super::inner::Inner;
use super::member_view::Members;
use super::members::RemoveError;
use super::peers::{PeerService, Service};
use super::record_query::{RecordPage, RecordQuery};
use super::token_store::{Change, Committed, Health, StoreError, TokenStore};
use super::types::Member;
use super::upgrade::{Rules, UpgradeError};
use super::{OpenError, Reached, StoreConfig};

/// How long a founding waits for its first commit before it asks again.
const FIRST_COMMIT: Duration = Duration::from_secs(5);

/// A replica of the store. Cheap to clone; all clones are the same replica.
///
/// When [`Health::fatal`] says so it has stopped for good and the process has to end.
pub struct RaftStore<Rt: AsyncRuntime = TokioRuntime>(Arc<Inner<Rt>>);

impl RaftStore<TokioRuntime> {
    /// Opens the replica in a data folder that has an identity, and starts it.
    ///
    /// # Errors
    /// If the folder is in use, was never founded, belongs to another store, is damaged, or was
    /// written by a later release. Then nothing in it was changed.
    pub async fn open(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::open_on(config, disk, clock).await
    }
}

impl<Rt: AsyncRuntime> RaftStore<Rt> {
    /// As [`RaftStore::open`], on any runtime.
    ///
    /// # Errors
    /// As [`RaftStore::open`].
    pub async fn open_on(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let inner = Inner::start(config, disk, clock).await?;
        inner.elect_if_alone().await?;
        Ok(Self(inner))
    }

    /// Who this replica is.
    pub fn identity(&self) -> Identity {
        self.0.identity()
    }

    /// It is of no group yet: neither founded nor let in.
    pub fn is_new(&self) -> bool {
        self.0.is_new()
    }

    /// Returns once every other replica of the list has said that it is in no group, so that one may be founded: each
    /// keeps the name of this store, and so follows no other founder. At once, if this replica is alone.
    ///
    /// # Errors
    /// If one is in a group: then there is nothing to found.
    pub async fn until_all_are_new(&self) -> Result<(), OpenError> {
        let Some(group) = self.0.group() else {
            return Ok(());
        };
        let mut said = Vec::new();
        loop {
            match self.0.who_is_not_ready(group) {
                Ok(waited_for) if waited_for.is_empty() => return Ok(()),
                Ok(waited_for) if waited_for != said => {
                    tracing::info!(
                        waited_for = waited_for.join(", "),
                        "waiting for the other replicas before the group is founded"
                    );
                    said = waited_for;
                }
                Ok(_) => {}
                Err(address) => {
                    return Err(OpenError::Start(format!(
                        "{address} is in a group already: this replica must not found another"
                    )));
                }
            }
            Rt::sleep(PULSE).await;
        }
    }

    /// Makes this replica the only voter of a new group. Returns once the group has committed
    /// something and this replica leads; may be repeated after a crash.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] if the disk fails, [`StoreError::NoLeader`] if no commit was seen for long.
    pub async fn initialize(&self) -> Result<(), StoreError> {
        let address = self.0.group().map(|group| group.address());
        let member = Member {
            address: address.map_or_else(String::new, |address| address.as_str().to_owned()),
        };
        let members = BTreeMap::from([(self.0.identity().node_id, member)]);
        // It returns before anything is durable: until a commit is seen, it may not have happened.
        for _ in 0..6 {
            match self.0.raft().initialize(members.clone()).await {
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => {
                    let error = root_cause(&error);
                    tracing::error!(
                        error,
                        "the group cannot be initialised: see that the data folder can be written, and start this replica again"
                    );
                    return Err(StoreError::Stopped);
                }
            }
            let mut health = self.0.health();
            let settled = health.wait_for(|health| health.is_leader || health.fatal.is_some());
            if let Ok(Ok(health)) = Rt::timeout(FIRST_COMMIT, settled).await {
                return match health.fatal {
                    None => Ok(()),
                    Some(_) => Err(StoreError::Stopped),
                };
            }
        }
        Err(StoreError::NoLeader)
    }

    /// Writes down that the founding is complete: the identity no longer says `founding`.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn founding_complete(&self) -> Result<(), OpenError> {
        self.0.settle().await
    }

    /// Up to where everything is known here to be committed.
    pub fn reached(&self) -> Option<Reached> {
        self.0.reached()
    }

    /// What answers this replica's peers.
    pub fn peer_service(&self) -> Arc<dyn PeerService> {
        Arc::new(Service::new(self.0.clone()))
    }

    /// The records that are asked for, as applied here.
    pub fn records(&self, query: &RecordQuery) -> RecordPage {
        query.page(self.0.live())
    }

    /// Takes the machine's clock for right, however far it stepped. How far ahead of the time in use it was, if it was not
    /// followed, in milliseconds.
    pub fn accept_clock(&self) -> Option<u64> {
        self.0.clocks().accept()
    }

    /// The time by which the store goes, as far as it is known here, in milliseconds since the epoch: this machine's, unless
    /// that is not followed.
    pub fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    /// How far the store's clock is ahead of that time, in milliseconds, if it is by so much that nothing is issued: by more than
    /// five minutes.
    pub fn ahead_ms(&self) -> Option<u64> {
        self.0.ahead_ms()
    }

    /// Returns once another replica of the group has said what time it is, or all have been silent for three seconds; at once, if
    /// there is none.
    pub async fn until_time_is_known(&self) {
        self.0.until_time_is_known().await;
    }

    /// The hash of the state as applied here; the same on all replicas that applied the same log.
    pub fn state_hash(&self) -> StateHash {
        self.0.live().read().hash()
    }

    /// The canonical image of the state as applied here.
    pub fn state_image(&self) -> Vec<u8> {
        let state: State = self.0.live().read().clone();
        state.encode()
    }

    /// Shows up to which index was applied here, and what that came to. For whoever judges a simulation.
    #[cfg(debug_assertions)]
    pub fn look_at_state<T>(&self, look: impl FnOnce(u64, &State) -> T) -> T {
        let index = self.0.shared().applied().last.map_or(0, |last| last.index);
        look(index, &self.0.live().read())
    }

    /// What this replica knows of its group.
    pub fn members(&self) -> Members {
        self.0.members()
    }

    /// Removes members for good; whoever asks need not be the leader.
    ///
    /// # Errors
    /// [`RemoveError`] says why nothing, or nothing that is known of, was done.
    pub async fn remove_members(
        &self,
        nodes: BTreeSet<u64>,
        force: bool,
    ) -> Result<(), RemoveError> {
        self.0.remove_members(nodes, force).await
    }

    /// By which rules the state goes, and which the members know.
    pub fn rules(&self) -> Rules {
        self.0.rules()
    }

    /// Puts the latest rules in force that every member knows; there is no way back. Whoever asks need not be the leader.
    ///
    /// # Errors
    /// [`UpgradeError`] says what is in the way.
    pub async fn finalize_upgrade(&self) -> Result<u32, UpgradeError> {
        self.0.finalize_upgrade().await
    }

    /// Has another replica lead, if this one does and there is another; to be called before it stops.
    pub async fn hand_over(&self) {
        self.0.hand_over().await;
    }

    /// This replica was removed from its group: its data are of no use to anybody any more.
    pub fn is_removed(&self) -> bool {
        self.0.is_removed()
    }

    /// A copy of the state as applied here, and the place in the log that it is of.
    pub fn state(&self) -> (u64, State) {
        self.0.live().copy()
    }

    /// The keys that a restore retired, as applied here.
    pub fn retired_keys(&self) -> Vec<AdoptKey> {
        self.0.live().read().retired_keys().to_vec()
    }

    /// Stops the replica; afterwards its folder may be opened again.
    pub async fn shutdown(&self) {
        self.0.stop().await;
    }
}

impl<Rt: AsyncRuntime> Clone for RaftStore<Rt> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Rt: AsyncRuntime> TokenStore for RaftStore<Rt> {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        self.0.propose(operation).boxed()
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.barrier().boxed()
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.0.live().read().record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.0.live().read().issuance(issuance)
    }

    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        self.0.live().live_part(from)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.0.live().read().keys()
    }

    fn key(&self, key_id: &KeyId) -> Option<AdoptKey> {
        self.0.live().read().key(key_id).cloned()
    }

    fn key_count(&self) -> usize {
        self.0.live().read().key_count()
    }

    fn founded(&self) -> Option<Founded> {
        self.0.live().read().founded().cloned()
    }

    fn restored_at(&self) -> Option<u64> {
        self.0
            .live()
            .read()
            .restored()
            .map(|restored| restored.index)
    }

    fn settings(&self) -> Settings {
        self.0.live().read().settings().clone()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.0.live().changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health()
    }
}

//! The store that is shipped: the lifecycle's state, replicated by openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openraft::alias::JoinHandleOf;
use openraft::errors::{InitializeError, RaftError};
use openraft::{AsyncRuntime, Raft};
use openraft_rt_tokio::TokioRuntime;
use rand::Rng as _;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::faults::{self, Fault};
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings, State, StateHash};
use crate::token::TokenId;

use super::audit::{self, Auditor};
use super::disk::{Disk, DiskLock};
use super::duties::Duties;
use super::group::{Group, PULSE};
use super::identity::Identity;
use super::live::Live;
use super::log::{self, LogGauge, WriterTask};
use super::machine::{Machine, Shared};
use super::members::{Members, RemoveError};
use super::peers::{CallError, Caller, Links, PeerAddress, PeerService, Service, Transport};
use super::proposing::Clocks;
use super::record_query::{RecordPage, RecordQuery};
use super::token_store::{Change, Committed, Health, StoreError, TokenStore};
use super::types::{Member, NodeId, TypeConfig};
use super::upgrade::{Readiness, Rules, UpgradeError};
use super::{OpenError, StoreConfig, folder, health, identity};

/// How often it is looked whether something has happened that nobody tells of.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// How long a founding waits for its first commit before it asks again.
const FIRST_COMMIT: Duration = Duration::from_secs(5);

/// A replica of the store. Cheap to clone; all clones are the same replica.
///
/// When [`Health::fatal`] says so it has stopped for good and the process has to end.
pub struct RaftStore<Rt: AsyncRuntime = TokioRuntime>(Arc<Inner<Rt>>);

/// What all clones share.
pub(crate) struct Inner<Rt: AsyncRuntime> {
    raft: Raft<TypeConfig<Rt>, Machine<Rt>>,
    config: StoreConfig,
    identity: Identity,
    disk: Arc<dyn Disk>,
    live: Arc<Live>,
    audit: Auditor,
    log_gauge: LogGauge,
    image_bytes: Arc<AtomicU64>,
    clocks: Clocks,
    group: Option<Group>,
    shared: Shared,
    readiness: Readiness,
    health: watch::Sender<Health>,
    stopping: Arc<AtomicBool>,
    tasks: Mutex<Vec<JoinHandleOf<TypeConfig<Rt>, ()>>>,
    lock: Mutex<Option<Arc<DiskLock>>>,
}

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
        let store = start(config, disk, clock).await?;
        store.0.elect_if_alone().await?;
        Ok(store)
    }

    /// Who this replica is.
    pub fn identity(&self) -> Identity {
        self.0.identity
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
                        ?waited_for,
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
        let address = self.0.group.as_ref().map(|group| group.address());
        let member = Member {
            address: address.map_or_else(String::new, |address| address.as_str().to_owned()),
        };
        let members = BTreeMap::from([(self.0.identity.node_id, member)]);
        // It returns before anything is durable: until a commit is seen, it may not have happened.
        for _ in 0..6 {
            match self.0.raft.initialize(members.clone()).await {
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => {
                    tracing::error!(%error, "the group cannot be initialised");
                    return Err(StoreError::Stopped);
                }
            }
            let mut health = self.0.health.subscribe();
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
        let inner = self.0.clone();
        blocking::<Rt, _>(&self.0.config.data_dir, move || {
            identity::founding_complete(&*inner.disk, &inner.config.data_dir, &inner.identity)
        })
        .await
    }

    /// What answers this replica's peers.
    pub fn peer_service(&self) -> Arc<dyn PeerService> {
        Arc::new(Service::new(self.0.clone()))
    }

    /// The records that are asked for, as applied here.
    pub fn records(&self, query: &RecordQuery) -> RecordPage {
        query.page(&self.0.live)
    }

    /// Takes the machine's clock for right, however far it stepped. How far ahead of the time in use it was, if it was not
    /// followed, in milliseconds.
    pub fn accept_clock(&self) -> Option<u64> {
        self.0.clocks.accept()
    }

    /// The time by which the store goes, as far as it is known here, in milliseconds since the epoch: this machine's, unless
    /// that is not followed.
    pub fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    /// Returns once another replica of the group has said what time it is, or all have been silent for three seconds; at once, if
    /// there is none.
    pub async fn until_time_is_known(&self) {
        self.0.until_time_is_known().await;
    }

    /// The hash of the state as applied here; the same on all replicas that applied the same log.
    pub fn state_hash(&self) -> StateHash {
        self.0.live.read().hash()
    }

    /// The canonical image of the state as applied here.
    pub fn state_image(&self) -> Vec<u8> {
        let state: State = self.0.live.read().clone();
        state.encode()
    }

    /// Shows up to which index was applied here, and what that came to. For whoever judges a simulation.
    #[cfg(debug_assertions)]
    pub fn look_at_state<T>(&self, look: impl FnOnce(u64, &State) -> T) -> T {
        let index = self.0.shared.applied().last.map_or(0, |last| last.index);
        look(index, &self.0.live.read())
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
        self.0.live.copy()
    }

    /// The keys that a restore retired, as applied here.
    pub fn retired_keys(&self) -> Vec<AdoptKey> {
        self.0.live.read().retired_keys().to_vec()
    }

    /// Stops the replica; afterwards its folder may be opened again.
    pub async fn shutdown(&self) {
        let inner = &self.0;
        inner.stopping.store(true, Ordering::SeqCst);
        if let Err(error) = inner.raft.shutdown().await {
            tracing::warn!(%error, "the replica did not stop cleanly");
        }
        let tasks = std::mem::take(&mut *lock_of(&inner.tasks));
        for task in tasks {
            let _ = task.await;
        }
        let Some(folder_lock) = lock_of(&inner.lock).take() else {
            return;
        };
        // Whoever still writes a snapshot holds it, too.
        for _ in 0..1_000 {
            if Arc::strong_count(&folder_lock) == 1 {
                break;
            }
            Rt::sleep(LOOK).await;
        }
    }
}

impl<Rt: AsyncRuntime> Clone for RaftStore<Rt> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The transport of a lone replica: there is nobody to reach.
struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: &PeerAddress, _: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        async { Err(CallError::NotSent("a lone replica has no peers".into())) }.boxed()
    }
}

/// Opens a folder and starts the replica in it.
async fn start<Rt: AsyncRuntime>(
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<RaftStore<Rt>, OpenError> {
    let raft_config = config.raft()?;
    let salt = Rt::thread_rng().next_u64();
    let opened = {
        let (config, disk) = (config.clone(), disk.clone());
        let data_dir = config.data_dir.clone();
        blocking::<Rt, _>(&data_dir, move || folder::open(&config, disk, salt)).await?
    };
    let (log_store, log_gauge, writer): (_, _, WriterTask<Rt>) = log::start(opened.log);
    let live = Arc::new(Live::new(State::new()));
    let image_bytes = opened.snapshots.image_bytes();
    let audit = Auditor::new(config.audit.clone(), opened.audited);
    let shared = Shared::default();
    let machine = Machine::new(
        live.clone(),
        shared.clone(),
        opened.snapshots,
        audit.clone(),
    );
    let transport = match &config.group {
        Some(group) => group.transport.clone(),
        None => Arc::new(Nobody),
    };
    let caller = Caller {
        store_id: opened.identity.store_id,
        node_id: opened.identity.node_id,
        transport,
    };
    let raft = Raft::new(
        opened.identity.node_id,
        raft_config,
        Links::new(caller.clone()),
        log_store,
        machine,
    )
    .await
    .map_err(|error| OpenError::Start(health::root_cause(&error)))?;
    let health = watch::Sender::new(Health::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let follow = health::follow::<Rt>(raft.metrics(), health.clone(), stopping.clone());
    let follow = Rt::spawn(follow);
    let group = (config.group.as_ref()).map(|group| Group::new(group, caller, clock.boot_ms()));
    let inner = Arc::new(Inner {
        raft,
        config,
        identity: opened.identity,
        disk,
        live,
        audit,
        log_gauge,
        image_bytes,
        clocks: Clocks::new(clock),
        group,
        shared,
        readiness: Readiness::default(),
        health,
        stopping,
        tasks: Mutex::default(),
        lock: Mutex::new(Some(opened.lock)),
    });
    let duties = {
        let inner = inner.clone();
        Rt::spawn(async move { Duties::new().run(&inner).await })
    };
    lock_of(&inner.tasks).extend([duties, follow, writer]);
    if inner.group.is_some() {
        let group = inner.clone();
        let pulses = Rt::spawn(async move { group.pulses().await });
        let group = inner.clone();
        let steward = Rt::spawn(async move { group.steward().await });
        lock_of(&inner.tasks).extend([pulses, steward]);
    }
    Ok(RaftStore(inner))
}

/// Does what blocks where it holds up nobody.
async fn blocking<Rt: AsyncRuntime, T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    match Rt::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(OpenError::io(path)(io::Error::other(error))),
    }
}

pub(super) fn lock_of<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) const fn raft(&self) -> &Raft<TypeConfig<Rt>, Machine<Rt>> {
        &self.raft
    }

    pub(crate) const fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    pub(crate) const fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(crate) const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(crate) const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// This replica's node id was a member's once and is none any more, as far as it is known here.
    pub(crate) fn was_removed(&self, node: NodeId) -> bool {
        !faults::is_on(Fault::RemovedNotTold) && self.shared.applied().removed.contains(&node)
    }

    /// Where the members' table says that this one is reached.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<PeerAddress> {
        let membership = self.membership();
        let member = membership.get_node(&node)?;
        Some(PeerAddress::new(&member.address))
    }

    pub(crate) const fn config(&self) -> &StoreConfig {
        &self.config
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    pub(crate) const fn log_gauge(&self) -> &LogGauge {
        &self.log_gauge
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// It leads, and has applied everything of the terms before its own.
    pub(crate) fn leads(&self) -> bool {
        self.health.borrow().is_leader
    }

    /// It cannot go on.
    pub(crate) fn fail(&self, why: &str) {
        self.health.send_modify(|health| {
            health.is_leader = false;
            health.fatal.get_or_insert_with(|| why.to_owned());
        });
    }

    /// Whether nobody is to be served. `true`: that is new.
    pub(crate) fn suspend(&self, suspend: bool) -> bool {
        let suspended =
            |health: &mut Health| std::mem::replace(&mut health.suspended, suspend) != suspend;
        self.health.send_if_modified(suspended)
    }

    /// Whether nothing can be committed for want of others.
    pub(crate) fn cut_off(&self, cut_off: bool) {
        let set = |health: &mut Health| std::mem::replace(&mut health.cut_off, cut_off) != cut_off;
        self.health.send_if_modified(set);
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Up to where every change is written down; `None` without an audit.
    pub(crate) fn audited(&self) -> Option<u64> {
        self.audit.marked()
    }

    /// Keeps in the folder up to where every change is written down.
    pub(crate) async fn keep_audit_mark(self: &Arc<Self>, index: u64) -> Result<(), OpenError> {
        let inner = self.clone();
        blocking::<Rt, _>(&self.config.data_dir, move || {
            let data_dir = &inner.config.data_dir;
            audit::write_mark(&*inner.disk, data_dir, inner.identity.store_id, index)
                .map_err(OpenError::io(data_dir))
        })
        .await
    }

    /// How long the last snapshot's image is.
    pub(crate) fn last_image_bytes(&self) -> u64 {
        self.image_bytes.load(Ordering::Relaxed)
    }

    /// Asks for a snapshot. `false`: there is no one to ask any more.
    pub(crate) async fn request_snapshot(&self) -> bool {
        self.raft.trigger().snapshot().await.is_ok()
    }

    /// A group of one need not wait for an election: nobody else can lead.
    async fn elect_if_alone(&self) -> Result<(), OpenError> {
        let voters: Vec<_> = self.raft.voter_ids().collect();
        if voters != [self.identity.node_id] {
            return Ok(());
        }
        let elected = self.raft.trigger().elect(true).await;
        elected.map_err(|error| OpenError::Start(error.to_string()))
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
        self.0.live.read().record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.0.live.read().issuance(issuance)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.0.live.read().keys()
    }

    fn founded(&self) -> Option<Founded> {
        self.0.live.read().founded().cloned()
    }

    fn restored_at(&self) -> Option<u64> {
        self.0.live.read().restored().map(|restored| restored.index)
    }

    fn settings(&self) -> Settings {
        self.0.live.read().settings().clone()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.0.live.changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }
}

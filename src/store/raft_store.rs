//! The store that is shipped: the lifecycle's state, replicated by openraft.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openraft::alias::JoinHandleOf;
use openraft::errors::{
    ClientWriteError, Fatal, InitializeError, LinearizableReadError, RaftError,
};
use openraft::{AsyncRuntime, Raft, RaftNetworkFactory, ReadPolicy};
use openraft_rt_tokio::TokioRuntime;
use rand::Rng as _;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{
    Command, Issuance, IssuanceEntry, Operation, Record, Settings, State, StateHash,
};
use crate::token::TokenId;

use super::audit::{self, Auditor};
use super::disk::{Disk, DiskLock};
use super::duties::Duties;
use super::identity::Identity;
use super::isolated::Isolated;
use super::leader_clock::{LoneClock, Readings, Stamp, may_issue};
use super::live::Live;
use super::log::{self, LogGauge, WriterTask};
use super::machine::Machine;
use super::record_query::{RecordPage, RecordQuery};
use super::token_store::{Change, Committed, Health, StoreError, TokenStore};
use super::types::{Member, Proposal, TypeConfig};
use super::{OpenError, StoreConfig, folder, health, identity};

/// How often it is looked whether something has happened that nobody tells of.
const LOOK: Duration = Duration::from_millis(5);

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
    clock: Arc<dyn Clock>,
    lone_clock: Mutex<LoneClock>,
    health: watch::Sender<Health>,
    stopping: AtomicBool,
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
        let store = start(config, disk, clock, Isolated).await?;
        store.0.elect_if_alone().await?;
        Ok(store)
    }

    /// Who this replica is.
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Makes this replica the only voter of a new group. Returns once the group has committed
    /// something and this replica leads; may be repeated after a crash.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] if the disk fails, [`StoreError::NoLeader`] if no commit was seen for long.
    pub async fn initialize(&self) -> Result<(), StoreError> {
        let members = BTreeMap::from([(self.0.identity.node_id, Member::default())]);
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

    /// The records that are asked for, as applied here.
    pub fn records(&self, query: &RecordQuery) -> RecordPage {
        query.page(&self.0.live)
    }

    /// Takes the machine's clock for right, however far it stepped. How far ahead of the time in use it was, if it was not
    /// followed, in milliseconds.
    pub fn accept_clock(&self) -> Option<u64> {
        let readings = self.0.readings();
        self.0.lone_clock().accept(readings)
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

/// Opens a folder and starts the replica in it, with a way to its peers.
async fn start<Rt, N>(
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    network: N,
) -> Result<RaftStore<Rt>, OpenError>
where
    Rt: AsyncRuntime,
    N: RaftNetworkFactory<TypeConfig<Rt>>,
    N::Network:
        openraft::network::NetSnapshot<TypeConfig<Rt>, SnapshotData = super::snapshot::Image>,
{
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
    let machine = Machine::new(live.clone(), opened.snapshots, audit.clone());
    let raft = Raft::new(
        opened.identity.node_id,
        raft_config,
        network,
        log_store,
        machine,
    )
    .await
    .map_err(|error| OpenError::Start(error.to_string()))?;
    let health = watch::Sender::new(Health::default());
    let follow = Rt::spawn(health::follow::<Rt>(raft.metrics(), health.clone()));
    let inner = Arc::new(Inner {
        raft,
        config,
        identity: opened.identity,
        disk,
        live,
        audit,
        log_gauge,
        image_bytes,
        clock,
        lone_clock: Mutex::default(),
        health,
        stopping: AtomicBool::new(false),
        tasks: Mutex::default(),
        lock: Mutex::new(Some(opened.lock)),
    });
    let duties = {
        let inner = inner.clone();
        Rt::spawn(async move { Duties::new().run(&inner).await })
    };
    lock_of(&inner.tasks).extend([duties, follow, writer]);
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

fn lock_of<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
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

    fn lone_clock(&self) -> std::sync::MutexGuard<'_, LoneClock> {
        lock_of(&self.lone_clock)
    }

    fn readings(&self) -> Readings {
        Readings {
            wall_ms: self.clock.now_ms(),
            boot_ms: self.clock.boot_ms(),
            synchronised: self.clock.is_synchronised(),
        }
    }

    fn stamp(&self) -> u64 {
        let readings = self.readings();
        let Stamp {
            at_ms,
            held_back_ms,
        } = self.lone_clock().stamp(readings);
        if let Some(step_ms) = held_back_ms {
            // Said once a step, not at every proposal.
            static SAID: AtomicU64 = AtomicU64::new(0);
            let minute = readings.boot_ms / 60_000 + 1;
            if SAID.swap(minute, Ordering::Relaxed) != minute {
                tracing::warn!(
                    step_ms,
                    "the machine's clock stepped ahead and is not followed yet; if it is right: jointoken store clock accept"
                );
            }
        }
        at_ms
    }

    pub(crate) fn is_sweep_due(&self) -> bool {
        let due_ms = self.live.read().next_due_ms();
        due_ms.is_some_and(|due_ms| due_ms <= self.stamp())
    }

    pub(crate) async fn propose(&self, operation: Operation) -> Result<Committed, StoreError> {
        {
            let health = self.health.borrow();
            if health.fatal.is_some() || self.is_stopping() {
                return Err(StoreError::Stopped);
            }
            if !health.is_leader {
                return Err(StoreError::NoLeader);
            }
        }
        let at_ms = self.stamp();
        if !may_issue(&operation, self.live.read().now_ms(), at_ms) {
            return Err(StoreError::Clock);
        }
        let proposal = Proposal(Arc::new(Command { at_ms, operation }));
        let written = self.raft.client_write(proposal);
        match Rt::timeout(self.config.answer_timeout, written).await {
            Ok(Ok(response)) => response.data.ok_or(StoreError::Unknown),
            Ok(Err(RaftError::Fatal(_))) => Err(StoreError::Stopped),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(StoreError::NoLeader)
            }
            // Appended here, or about to be: another leader may yet commit it.
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(StoreError::Unknown),
        }
    }

    async fn barrier(&self) -> Result<(), StoreError> {
        // Never by lease: that would trust clocks.
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match Rt::timeout(self.config.answer_timeout, read).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(
                Fatal::Stopped | Fatal::Panicked | Fatal::StorageError(_),
            ))) => Err(StoreError::Stopped),
            Ok(Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_)
                | LinearizableReadError::QuorumNotEnough(_),
            )))
            | Err(_) => Err(StoreError::NoLeader),
        }
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

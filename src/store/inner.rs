//! What a replica is made of, and how it is started and stopped.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openraft::alias::{JoinHandleOf, WatchReceiverOf};
use openraft::async_runtime::WatchReceiver as _;
use openraft::{AsyncRuntime, Raft, RaftMetrics};
use rand::Rng as _;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::faults::{self, Fault};
use crate::lifecycle::State;

use super::audit::{self, Auditor};
use super::behind::{self, Lacking};
use super::contradiction::Found;
use super::disk::{Disk, DiskLock};
use super::duties::Duties;
use super::group::Group;
use super::identity::Identity;
use super::live::Live;
use super::log::{self, LogGauge, WriterTask};
use super::machine::{Machine, Shared};
use super::peers::{CallError, Caller, Links, PeerAddress, Transport, Whereabouts};
use super::proposing::Clocks;
use super::standing::Advance;
use super::token_store::Health;
use super::types::{NodeId, TypeConfig};
use super::upgrade::Readiness;
use super::{OpenError, StoreConfig, folder, health, identity};

/// How often it is looked whether something has happened that nobody tells of.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// A replica: what all clones of the store share.
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
    advance: Mutex<Advance>,
    lacking: Mutex<Lacking>,
    pasts: Mutex<Option<Found>>,
    shared: Shared,
    readiness: Readiness,
    health: watch::Sender<Health>,
    stopping: Arc<AtomicBool>,
    tasks: Mutex<Vec<JoinHandleOf<TypeConfig<Rt>, ()>>>,
    lock: Mutex<Option<Arc<DiskLock>>>,
    /// Whether the identity no longer says that this replica is being founded, or let in. Held while that is written.
    is_settled: tokio::sync::Mutex<bool>,
}

/// The transport of a lone replica: there is nobody to reach.
pub(super) struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: &PeerAddress, _: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        async { Err(CallError::NotSent("a lone replica has no peers".into())) }.boxed()
    }
}

/// Does what blocks where it holds up nobody.
pub(super) async fn blocking<Rt: AsyncRuntime, T: Send + 'static>(
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
    /// Opens a folder and starts the replica in it.
    pub(super) async fn start(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OpenError> {
        config.settings.check()?;
        let salt = Rt::thread_rng().next_u64();
        let opened = {
            let (config, disk) = (config.clone(), disk.clone());
            let data_dir = config.data_dir.clone();
            blocking::<Rt, _>(&data_dir, move || folder::open(&config, disk, salt)).await?
        };
        let behind = opened.behind;
        let raft_config =
            config.raft(behind.is_empty() || faults::is_on(Fault::SetBackCampaigns))?;
        let (mut log_store, log_gauge, writer): (_, _, WriterTask<Rt>) = log::start(opened.log);
        if let Some(vote) = behind::promise(&behind) {
            let promised = log_store.promise(vote).await;
            promised.map_err(OpenError::io(&config.data_dir))?;
        }
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
            claim: Arc::default(),
        };
        let whereabouts = Arc::new(Whereabouts::new(clock.clone()));
        let raft = Raft::new(
            opened.identity.node_id,
            raft_config,
            Links::new(caller.clone(), whereabouts.clone()),
            log_store,
            machine,
        )
        .await
        .map_err(|error| OpenError::Start(health::root_cause(&error)))?;
        let table: WatchReceiverOf<TypeConfig<Rt>, RaftMetrics<TypeConfig<Rt>>> = raft.metrics();
        whereabouts.follow(Box::new(move |node| {
            let metrics = table.borrow_watched();
            let member = metrics.membership_config.membership().get_node(&node)?;
            Some(PeerAddress::new(&member.address))
        }));
        let health = watch::Sender::new(Health {
            incomplete: !behind.is_empty(),
            // It is no member's folder yet.
            newcomer: opened.identity.founding,
            ..Health::default()
        });
        let stopping = Arc::new(AtomicBool::new(false));
        let follow = health::follow::<Rt>(raft.metrics(), health.clone(), stopping.clone());
        let follow = Rt::spawn(follow);
        let group = (config.group.as_ref())
            .map(|group| Group::new(group, caller, whereabouts, clock.boot_ms()));
        let inner = Arc::new(Self {
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
            advance: Mutex::default(),
            lacking: Mutex::new(Lacking::new(behind)),
            pasts: Mutex::default(),
            shared,
            readiness: Readiness::default(),
            health,
            stopping,
            tasks: Mutex::default(),
            lock: Mutex::new(Some(opened.lock)),
            is_settled: tokio::sync::Mutex::new(!opened.identity.founding),
        });
        let duties = {
            let inner = inner.clone();
            Rt::spawn(async move { Duties::new().run(&inner).await })
        };
        let pulses = {
            let inner = inner.clone();
            Rt::spawn(async move { inner.pulses().await })
        };
        lock_of(&inner.tasks).extend([duties, follow, writer, pulses]);
        if inner.health.borrow().incomplete {
            let catching_up = inner.clone();
            let catching_up = Rt::spawn(async move { catching_up.catch_up().await });
            lock_of(&inner.tasks).push(catching_up);
        }
        if inner.group.is_some() {
            let group = inner.clone();
            let steward = Rt::spawn(async move { group.steward().await });
            lock_of(&inner.tasks).extend([steward]);
        }
        Ok(inner)
    }

    /// Writes down that this folder is a member's: what is missing in it from now on is missing.
    pub(super) async fn settle(self: &Arc<Self>) -> Result<(), OpenError> {
        // Whoever founds and the steward both see to it, perhaps at the same time.
        let mut is_settled = self.is_settled.lock().await;
        if !*is_settled {
            let inner = self.clone();
            blocking::<Rt, _>(&self.config.data_dir, move || {
                identity::founding_complete(&*inner.disk, &inner.config.data_dir, &inner.identity)
            })
            .await?;
            *is_settled = true;
        }
        Ok(())
    }

    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the replica did not stop cleanly");
        }
        let tasks = std::mem::take(&mut *lock_of(&self.tasks));
        for task in tasks {
            let _ = task.await;
        }
        let Some(folder_lock) = lock_of(&self.lock).take() else {
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

    pub(crate) const fn advance(&self) -> &Mutex<Advance> {
        &self.advance
    }

    pub(super) const fn lacking(&self) -> &Mutex<Lacking> {
        &self.lacking
    }

    pub(super) const fn pasts(&self) -> &Mutex<Option<Found>> {
        &self.pasts
    }

    pub(super) const fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
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

    /// Whether nothing can be committed for want of others, and whether the log stands still.
    pub(crate) fn set_fitness(&self, cut_off: bool, stalled: bool) {
        self.health.send_if_modified(|health| {
            let is_new = (health.cut_off, health.stalled) != (cut_off, stalled);
            (health.cut_off, health.stalled) = (cut_off, stalled);
            is_new
        });
    }

    /// Whether its log lacks what is known to be committed.
    pub(super) fn set_incomplete(&self, incomplete: bool) {
        self.health
            .send_modify(|health| health.incomplete = incomplete);
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
    pub(super) async fn elect_if_alone(&self) -> Result<(), OpenError> {
        let voters: Vec<_> = self.raft.voter_ids().collect();
        if voters != [self.identity.node_id] {
            return Ok(());
        }
        let elected = self.raft.trigger().elect(true).await;
        elected.map_err(|error| OpenError::Start(error.to_string()))
    }
}

//! What `serve` and `operator` have in common: one replica with its door, from start to stop.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::config::ServerConfig;
use super::exit::{Exit, Failure};
use super::group::{GroupWay, MembersList};
use super::input;
use super::ports::{Port, Ports};
use crate::admin::{AdminServer, KeyExporter, Offered};
use crate::bootstrap::{self, Door, DoorCertificates, DoorLimits};
use crate::clock::{Clock, SystemClock};
use crate::controller::{Leaving, Scaling};
use crate::founding::{
    self, DataFolder as _, FormerEpochs, FoundingObject, GuardedStore, IfAbsent, KeyGuard,
    KeySource, Material, OnDisk, Site, Vault, adopt_nodedb, found_or_open,
};
use crate::pki::TrustDomain;
use crate::store::disk::RealDisk;
use crate::store::{
    Health, Identity, OpenError, RaftStore, StoreConfig, TokenStore, audit_trail, identity,
};
use crate::telemetry::{self, audit, metrics::Metrics};
use crate::token::{Delivery, SigningKey};

/// How long a replica that is to leave its group waits until it is removed. Kubernetes is told to wait for that and for the
/// orderly stop (`terminationGracePeriodSeconds`).
const LEAVING: Duration = Duration::from_secs(60);

/// Where the keys of a replica are kept, and what it is told of the cluster.
pub struct Ground<'a> {
    pub vault: Arc<dyn Vault>,
    /// `None` outside Kubernetes.
    pub object: Option<Arc<dyn FoundingObject>>,
    /// `None` outside Kubernetes.
    pub former: Option<&'a dyn FormerEpochs>,
    /// Whoever runs the replica says that there is no group yet.
    pub may_found_group: bool,
    /// The members of the group, where they change while it runs; `None`: they are as configured.
    pub list: Option<MembersList>,
}

/// A replica that is serving.
pub struct Replica {
    pub store: Arc<dyn TokenStore>,
    pub material: Material,
    pub metrics: Arc<Metrics>,
    pub delivery: Delivery,
    pub clock: Arc<dyn Clock>,
    /// Every key is as the store was founded with it.
    pub keys_in_order: watch::Receiver<bool>,
    raft: RaftStore,
    data_dir: PathBuf,
    /// The way to the other replicas; `None`: this one is alone.
    way: Option<Arc<GroupWay>>,
    /// Whether it leaves its group for good when it stops; `None`: it does not.
    leaving: Option<Leaving>,
    stop: CancellationToken,
    parts: JoinSet<Part>,
    /// Writes down what is applied: longer than all other parts, whose last doings it tells too.
    audit: JoinSet<Part>,
    end_of_audit: CancellationToken,
}

/// A part of the replica ended: its name, and why if it failed.
type Part = (&'static str, Result<(), Failure>);

impl Replica {
    /// Opens or founds the store, then opens the door and everything beside it.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do; nothing is left running.
    pub async fn start(config: &ServerConfig, ground: Ground<'_>) -> Result<Self, Failure> {
        let trust_domain = config.trust_domain().map_err(Failure::usage)?;
        let nodedb = nodedb_key(config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let raft: Arc<OnceLock<RaftStore>> = Arc::default();
        // Before the store is opened: what an earlier process did not come to write is told then.
        let (sink, trail) = audit_trail();
        let end_of_audit = CancellationToken::new();
        let mut auditing = JoinSet::new();
        auditing.spawn(
            audit::follow(trail, end_of_audit.clone().cancelled_owned())
                .map(|()| ("audit", Ok(()))),
        );
        let (health, metrics_health) = watch::channel(Health::default());
        let metrics = Arc::new(Metrics::new(metrics_health.clone()));
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        // A replica of a group may wait long for the others: it answers them and tells how it is meanwhile.
        let mut ports = None;
        let mut way = None;
        if let Some(peers) = &config.peers {
            let mut taken = Ports::take(config)?;
            if let Some(port) = taken.peers.take() {
                let list = match &ground.list {
                    Some(list) => list.clone(),
                    None => peers.fixed_list().map_err(Failure::usage)?,
                };
                way = Some(Arc::new(GroupWay::new(
                    peers,
                    list,
                    Arc::clone(&ground.vault),
                    trust_domain.clone(),
                    Arc::clone(&clock),
                    port.listen()?,
                )));
            }
            serve_metrics(
                &mut parts,
                taken.metrics.listen()?,
                &metrics,
                metrics_health.clone(),
                &stop,
            );
            ports = Some(taken.door);
        }
        let folder = {
            let (raft, clock, way) = (Arc::clone(&raft), Arc::clone(&clock), way.clone());
            let mut store = StoreConfig::new(config.data_dir.join("store"), config.settings());
            store.audit = Some(sink);
            OnDisk::new(&config.data_dir, move |identity, if_absent| {
                let (raft, clock, store) = (Arc::clone(&raft), Arc::clone(&clock), store.clone());
                let (way, identity) = (way.clone(), identity.clone());
                async move {
                    let opening = open_store(store, &identity, if_absent, clock, way.as_deref());
                    let opened = opening.await?;
                    let _ = raft.set(opened.clone());
                    Ok(Arc::new(opened) as Arc<dyn TokenStore>)
                }
                .boxed_local()
            })
            .map_err(failed)?
        };
        // Before anything is founded: what cannot serve leaves nothing behind. Where something is founded already, another
        // process may have it, which is the better thing to say.
        let is_new = folder.identity().map_err(failed)?.is_none();
        let mut lone_ports = None;
        if is_new && ports.is_none() {
            lone_ports = Some(Ports::take(config)?);
        }
        let opened = found_or_open(Site {
            data: &folder,
            vault: &*ground.vault,
            object: ground.object.as_deref(),
            former: ground.former,
            trust_domain: &trust_domain,
            clock: &*clock,
            group: (config.peers.as_ref()).map(|peers| peers.place(ground.may_found_group)),
        })
        .await;
        let opened = match (opened, raft.get()) {
            (Ok(opened), _) => opened,
            (Err(error), None) => return Err(failed(error)),
            (Err(error), Some(raft)) => {
                let fatal = raft.health().borrow().fatal.clone();
                raft.shutdown().await;
                if let Some(way) = &way {
                    way.close();
                }
                set_aside_if_removed(raft, &config.data_dir);
                return Err(fatal.map_or_else(|| failed(error), |why| stopped(raft, &why)));
            }
        };
        let raft = raft
            .get()
            .cloned()
            .ok_or_else(|| failed("no store was opened"))?;
        tracing::info!(
            store_id = %opened.identity.store_id,
            epoch = opened.identity.epoch,
            trust_domain = %trust_domain,
            founded_now = opened.founded_now,
            "the store is open"
        );
        let guard = KeyGuard::new(
            opened.identity,
            ground.vault,
            ground.object,
            Arc::clone(&opened.store),
        );
        let keys_in_order = guard.in_order();
        let store = Arc::new(GuardedStore::new(opened.store, keys_in_order.clone()));
        let store: Arc<dyn TokenStore> =
            Arc::new(telemetry::metrics::MeteredStore::new(store, &metrics));
        let material = opened.material;
        let mut replica = Self {
            delivery: Delivery {
                door_pin: material.door.spki_pin(),
                urls: config.advertise_urls.clone(),
            },
            store,
            material,
            metrics,
            clock,
            keys_in_order,
            raft,
            data_dir: config.data_dir.clone(),
            way,
            leaving: None,
            stop,
            parts,
            audit: auditing,
            end_of_audit,
        };
        replica.spawn_until_stop("key guard", guard.run());
        replica.spawn_until_stop("key gauge", replica.show_keys());
        let opened = async {
            let door = match ports {
                Some(door) => door,
                None => {
                    let taken = lone_ports.map_or_else(|| Ports::take(config), Ok)?;
                    let metrics = taken.metrics.listen()?;
                    let parts = &mut replica.parts;
                    serve_metrics(
                        parts,
                        metrics,
                        &replica.metrics,
                        metrics_health,
                        &replica.stop,
                    );
                    taken.door
                }
            };
            replica.open_doors(config, trust_domain, nodedb, door).await
        };
        match opened.await {
            Ok(()) => {
                // Not before the door is open: whoever is told that it is ready goes there.
                let health = show_health(replica.store.health(), health);
                replica.spawn_until_stop("health", health);
                Ok(replica)
            }
            Err(failure) => {
                replica.shut_down().await;
                Err(failure)
            }
        }
    }

    /// Shows in the metrics whether the keys are in order.
    fn show_keys(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut keys_in_order = self.keys_in_order.clone();
        let gauge = self.metrics.keys_in_order.clone();
        async move {
            while keys_in_order.changed().await.is_ok() {
                gauge.set(i64::from(*keys_in_order.borrow_and_update()));
            }
        }
    }

    async fn open_doors(
        &mut self,
        config: &ServerConfig,
        trust_domain: TrustDomain,
        nodedb: Option<(SigningKey, u64)>,
        door: Port,
    ) -> Result<(), Failure> {
        if let Some((key, max_ttl_ms)) = &nodedb {
            adopt_nodedb(&*self.store, key, *max_ttl_ms)
                .await
                .map_err(failed)?;
        }
        self.raft.until_time_is_known().await;
        let time: Arc<dyn Clock> = Arc::new(StoreTime(self.raft.clone()));
        let door_listener = door.listen()?;
        let admin = AdminServer::bind(&config.admin_socket()).map_err(failed)?;

        let (keys, follow_keys) = KeySource {
            resource: vec![self.material.resource_key.clone()],
            offline_master: self.material.offline_master.clone(),
            nodedb: nodedb.into_iter().map(|(key, _)| key).collect(),
        }
        .follow(Arc::clone(&self.store));
        self.spawn_until_stop("key ring", follow_keys);

        let (identity, renew_identity) = DoorCertificates::new(
            Arc::clone(&self.material.door),
            trust_domain.clone(),
            &config.door_hosts(),
            Arc::clone(&time),
        )
        .keep()
        .map_err(failed)?;
        self.spawn_until_stop("door certificate", renew_identity);

        let stop = self.stop.clone();
        let offered = Offered {
            exporter: KeyExporter::new(
                Arc::clone(&self.store),
                self.material.offline_master.clone(),
                self.delivery.clone(),
            ),
            store: self.raft.clone(),
        };
        self.spawn(
            "admin socket",
            admin
                .run(offered, stop.clone().cancelled_owned())
                .map(|ended| ended.map_err(failed)),
        );
        let door = Door {
            store: Arc::clone(&self.store),
            keys,
            members: Arc::clone(&self.material.members),
            identity,
            trust_domain,
            clock: time,
            bare_names: config.bare_name_patterns().map_err(Failure::usage)?,
            certificate_lifetime_ms: config.certificate_lifetime.as_ms(),
            limits: DoorLimits::default(),
            observer: Arc::new(self.metrics.door.clone()),
        };
        tracing::info!(listen = %config.listen, urls = ?config.advertise_urls, "the door is open");
        self.spawn(
            "door",
            bootstrap::serve(door, door_listener, stop.cancelled_owned())
                .map(|ended| ended.map_err(failed)),
        );
        Ok(())
    }

    /// Runs a part until the replica stops. A part that ends before that stops the replica.
    pub fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        self.parts.spawn(part.map(move |ended| (name, ended)));
    }

    /// Runs a part that has no end of its own: it is cut off when the replica stops.
    fn spawn_until_stop(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            tokio::select! {
                () = part => Ok(()),
                () = stop.cancelled() => Ok(()),
            }
        });
    }

    /// Is cancelled when the replica is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Has the group be as large as this says, as long as the replica runs.
    pub fn follow(&mut self, scaling: Scaling) {
        self.leaving = Some(scaling.leaving());
        let metrics = self.metrics.controller.clone();
        self.spawn_until_stop("scaling", scaling.run(self.raft.clone(), metrics));
    }

    /// If it is to leave the group for good, it votes on until it has been removed, for the others may need its vote for
    /// that; but not for ever.
    pub async fn leave(&mut self) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        if self.raft.is_new() || !leaving.is_leaving().await {
            return;
        }
        tracing::info!("this replica has no place any more: it votes on until it is removed");
        self.raft.hand_over().await;
        tokio::select! {
            failure = self.until_failed() => match self.raft.is_removed() {
                true => tracing::info!("this replica was removed from the group, as it should be"),
                false => tracing::warn!(error = %failure.message, "it does not wait until it is removed"),
            },
            () = leaving.is_over() => tracing::info!("this replica has a place again and stays a member"),
            () = tokio::time::sleep(LEAVING) => tracing::warn!(
                "this replica was not removed in time and stops as a member: bring it back, or see `jointoken store members`"
            ),
        }
    }

    /// Why it cannot go on, when that comes: a part failed, or the store has stopped for good.
    pub async fn until_failed(&mut self) -> Failure {
        let mut health = self.store.health();
        let fatal = async {
            match health.wait_for(|health| health.fatal.is_some()).await {
                Ok(health) => health.fatal.clone().unwrap_or_default(),
                Err(_) => "its task has ended".to_owned(),
            }
        };
        tokio::select! {
            reason = fatal => stopped(&self.raft, &reason),
            Some(ended) = self.audit.join_next() => part_ended(ended),
            Some(ended) = self.parts.join_next() => part_ended(ended),
        }
    }

    /// Another replica leads before the door closes. Then the door first, the store last: what is in flight may still commit.
    pub async fn shut_down(mut self) {
        self.raft.hand_over().await;
        self.stop.cancel();
        while let Some(ended) = self.parts.join_next().await {
            if let Ok((name, Err(failure))) = ended {
                tracing::warn!(part = name, error = %failure.message, "did not end well");
            }
        }
        self.end_of_audit.cancel();
        while self.audit.join_next().await.is_some() {}
        self.raft.shutdown().await;
        if let Some(way) = &self.way {
            way.close();
        }
        set_aside_if_removed(&self.raft, &self.data_dir);
    }
}

/// Why a replica whose store has stopped for good cannot go on.
fn stopped(raft: &RaftStore, reason: &str) -> Failure {
    match raft.is_removed() {
        true => failed(reason),
        false => failed(format_args!(
            "the store has stopped: {reason}; when the cause is mended, start again"
        )),
    }
}

/// The store must be shut down.
fn set_aside_if_removed(raft: &RaftStore, data_dir: &Path) {
    if !raft.is_removed() {
        return;
    }
    match founding::set_aside(data_dir) {
        Ok(aside) => tracing::warn!(
            aside = ?aside,
            "the data of the removed replica are set aside; started again it joins as a new one, if it is still in the list of members"
        ),
        Err(error) => {
            tracing::error!(%error, "the data of the removed replica could not be set aside");
        }
    }
}

/// The time of day as the store goes by it. By its machine's own, the door of a replica with a wrong clock would call tokens
/// expired that the store has not seen yet, and no joiner would trust its certificate or its `Date`.
struct StoreTime(RaftStore);

impl Clock for StoreTime {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    fn boot_ms(&self) -> u64 {
        SystemClock.boot_ms()
    }

    fn is_synchronised(&self) -> bool {
        SystemClock.is_synchronised()
    }
}

/// Serves metrics and health.
fn serve_metrics(
    parts: &mut JoinSet<Part>,
    listener: TcpListener,
    metrics: &Arc<Metrics>,
    health: watch::Receiver<Health>,
    stop: &CancellationToken,
) {
    let served = telemetry::serve(
        listener,
        Arc::clone(metrics),
        health,
        stop.clone().cancelled_owned(),
    );
    parts.spawn(served.map(|()| ("metrics", Ok(()))));
}

/// Tells how the store is to whoever asked before it was open.
async fn show_health(mut health: watch::Receiver<Health>, shown: watch::Sender<Health>) {
    loop {
        shown.send_replace(health.borrow_and_update().clone());
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Why a part that ended keeps the replica from going on.
fn part_ended(ended: Result<Part, JoinError>) -> Failure {
    match ended {
        Ok((name, Err(failure))) => {
            Failure::new(failure.exit, format_args!("{name}: {}", failure.message))
        }
        Ok((name, Ok(()))) => failed(format_args!("{name} has ended by itself")),
        Err(panicked) => failed(format_args!("a part of the program failed: {panicked}")),
    }
}

/// The configured NodeDB secret and the longest life of its tokens, in milliseconds.
fn nodedb_key(config: &ServerConfig) -> Result<Option<(SigningKey, u64)>, Failure> {
    let Some(nodedb) = &config.nodedb else {
        return Ok(None);
    };
    let key = input::read_nodedb_secret(&nodedb.secret_file)?;
    Ok(Some((key, nodedb.max_ttl.as_ms())))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

/// Opens the store in its folder; makes it first if it is to be made. One of a group answers the others from here on.
async fn open_store(
    mut config: StoreConfig,
    of: &founding::Identity,
    if_absent: IfAbsent,
    clock: Arc<dyn Clock>,
    way: Option<&GroupWay>,
) -> Result<RaftStore, OpenError> {
    let disk = Arc::new(RealDisk);
    config.expected_store = Some(of.store_id);
    if if_absent != IfAbsent::Refuse && identity::read(&*disk, &config.data_dir)?.is_none() {
        let drawn = Identity {
            store_id: of.store_id,
            node_id: of.node_id,
            epoch: of.epoch,
            founding: true,
        };
        identity::create(&*disk, &config.data_dir, &drawn)?;
    }
    let opened = match way {
        Some(way) => Some((way, way.open(of).await?)),
        None => None,
    };
    config.group = opened.as_ref().map(|(_, opened)| opened.config.clone());
    let store = RaftStore::open(config, disk, clock).await?;
    if let Some((way, opened)) = &opened {
        way.serve(opened.tls(), &store);
    }
    if if_absent == IfAbsent::Make && store.identity().founding {
        // Unless it was founded already, and stopped before that was written down.
        if store.is_new() {
            store.until_all_are_new().await?;
        }
        store
            .initialize()
            .await
            .map_err(|error| OpenError::Start(error.to_string()))?;
        store.founding_complete().await?;
    }
    Ok(store)
}

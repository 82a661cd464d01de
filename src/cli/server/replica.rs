//! One replica with its door.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{SetOnce, watch};
use tokio_util::sync::CancellationToken;

use super::failed;
use super::ground::Ground;
use super::mark_keeper::MarkKeeper;
use super::opening::Opening;
use super::outside::Outside;
use super::parts::Parts;
use super::store_time::StoreTime;
use crate::admin::{AdminServer, KeyExporter, Offered};
use crate::bootstrap::{self, Door, DoorCertificates, DoorLimits};
use crate::cli::config::ServerConfig;
use crate::cli::exit::Failure;
use crate::cli::group::GroupWay;
use crate::cli::input;
use crate::cli::ports::{Port, Ports};
use crate::clock::{Clock, SystemClock};
use crate::controller::{Leaving, Scaling};
use crate::founding::{
    self, DataFolder as _, GuardedStore, KeyGuard, KeySource, Material, OnDisk, Site, adopt_nodedb,
    found_or_open,
};
use crate::pki::TrustDomain;
use crate::store::{Health, RaftStore, StoreConfig, TokenStore, audit_trail};
use crate::telemetry::{self, audit, metrics::Metrics};
use crate::token::{Delivery, SigningKey};

/// How long a replica that is to leave its group waits until it is removed. Kubernetes is told to wait for that and for the
/// orderly stop (`terminationGracePeriodSeconds`).
const LEAVING: Duration = Duration::from_secs(60);

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
    parts: Parts,
    /// Writes down what is applied: longer than all other parts, whose last doings it tells too.
    audit: Parts,
}

impl Replica {
    /// Opens or founds the store, then opens the door and everything beside it.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do; nothing is left running.
    pub async fn start(config: &ServerConfig, ground: Ground) -> Result<Self, Failure> {
        let trust_domain = config.trust_domain().map_err(Failure::usage)?;
        let nodedb = nodedb_key(config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let raft: Arc<SetOnce<RaftStore>> = Arc::default();
        // Before the store is opened: what an earlier process did not come to write is told then.
        let (sink, trail) = audit_trail();
        let mut auditing = Parts::default();
        let end_of_audit = auditing.stop_token().cancelled_owned();
        auditing.spawn("audit", audit::follow(trail, end_of_audit).map(Ok));
        let (health, metrics_health) = watch::channel(Health::default());
        let metrics = Arc::new(Metrics::new(metrics_health.clone()));
        let mut parts = Parts::default();
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
            let listener = taken.metrics.listen()?;
            parts.serve_metrics(listener, &metrics, metrics_health.clone());
            ports = Some(taken.door);
        }
        let folder = {
            let mut store = StoreConfig::new(config.data_dir.join("store"), config.settings());
            store.audit = Some(sink);
            let opening = Opening {
                config: store,
                clock: Arc::clone(&clock),
                way: way.clone(),
                outside: Outside {
                    mark: Arc::clone(&ground.mark),
                    statuses: ground.former.clone(),
                    data_dir: config.data_dir.clone(),
                },
                opened: Arc::clone(&raft),
            };
            OnDisk::new(&config.data_dir, move |identity, if_absent| {
                let opening = opening.clone();
                async move {
                    let opened = opening.open(identity, if_absent).await?;
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
        let found = found_or_open(Site {
            data: &folder,
            vault: &*ground.vault,
            object: ground.object.as_deref(),
            former: ground.former.as_deref(),
            trust_domain: &trust_domain,
            clock: &*clock,
            group: (config.peers.as_ref()).map(|peers| peers.place(ground.may_found_group)),
        });
        let opened = match &config.peers {
            None => found.await,
            Some(_) => tokio::select! {
                opened = found => opened,
                never = tell_of_group(&raft, config.admin_socket()) => match never {},
                never = show_whether_it_is_incomplete(&raft, &health) => match never {},
            },
        };
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
        let mut mark_keeper = MarkKeeper {
            store: raft.clone(),
            mark: ground.mark,
            identity: opened.identity.clone(),
            data_dir: config.data_dir.clone(),
            metrics: Arc::clone(&metrics),
            written: None,
            is_stale: false,
            outrun_by: None,
        };
        // Before anything is served or minted.
        mark_keeper.first().await;
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
            parts,
            audit: auditing,
        };
        let stop = replica.parts.stop_token();
        replica.parts.spawn("mark", mark_keeper.run(stop));
        replica.parts.spawn_until_stop("key guard", guard.run());
        replica
            .parts
            .spawn_until_stop("key gauge", replica.show_keys());
        let opened = async {
            let door = match ports {
                Some(door) => door,
                None => {
                    let taken = lone_ports.map_or_else(|| Ports::take(config), Ok)?;
                    let metrics = taken.metrics.listen()?;
                    (replica.parts).serve_metrics(metrics, &replica.metrics, metrics_health);
                    taken.door
                }
            };
            replica.open_doors(config, trust_domain, nodedb, door).await
        };
        match opened.await {
            Ok(()) => {
                // Not before the door is open: whoever is told that it is ready goes there.
                let health = show_health(replica.store.health(), health);
                replica.parts.spawn_until_stop("health", health);
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
        let time: Arc<dyn Clock> = Arc::new(StoreTime::of(self.raft.clone()));
        let door_listener = door.listen()?;
        let admin = AdminServer::bind(&config.admin_socket()).map_err(failed)?;

        let (keys, follow_keys) = KeySource {
            resource: vec![self.material.resource_key.clone()],
            offline_master: self.material.offline_master.clone(),
            nodedb: nodedb.into_iter().map(|(key, _)| key).collect(),
        }
        .follow(Arc::clone(&self.store));
        self.parts.spawn_until_stop("key ring", follow_keys);

        let (identity, renew_identity) = DoorCertificates::new(
            Arc::clone(&self.material.door),
            trust_domain.clone(),
            &config.door_hosts(),
            Arc::clone(&time),
        )
        .keep()
        .map_err(failed)?;
        self.parts
            .spawn_until_stop("door certificate", renew_identity);

        let stop = self.parts.stop_token();
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
        tracing::info!(listen = %config.listen, urls = config.advertise_urls.join(", "), "the door is open");
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
        self.parts.spawn(name, part);
    }

    /// Is cancelled when the replica is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.parts.stop_token()
    }

    /// Has the group be as large as this says, as long as the replica runs.
    pub fn follow(&mut self, scaling: Scaling) {
        self.leaving = Some(scaling.leaving());
        let metrics = self.metrics.controller.clone();
        self.parts
            .spawn_until_stop("scaling", scaling.run(self.raft.clone(), metrics));
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
            failure = self.audit.until_one_ends() => failure,
            failure = self.parts.until_one_ends() => failure,
        }
    }

    /// Another replica leads before the door closes. Then the door first, the store last: what is in flight may still commit.
    pub async fn shut_down(mut self) {
        self.raft.hand_over().await;
        self.parts.stop().await;
        self.audit.stop().await;
        // Whoever of the group asks from now on would be told of a store that has stopped.
        if let Some(way) = &self.way {
            way.close();
        }
        self.raft.shutdown().await;
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
            aside = aside
                .as_ref()
                .map(|path| tracing::field::display(path.display())),
            "the data of the removed replica are set aside; started again it joins as a new one, if it is still in the list of members"
        ),
        Err(error) => {
            tracing::error!(%error, "the data of the removed replica could not be set aside");
        }
    }
}

/// Answers on the socket who is there of the group, as long as that is waited for.
async fn tell_of_group(opened: &SetOnce<RaftStore>, socket: PathBuf) -> Infallible {
    let store = opened.wait().await.clone();
    let ended = match AdminServer::bind(&socket) {
        Ok(server) => server
            .run_while_waiting(store)
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    // It is opened once more for all that is offered, and then it counts.
    if let Err(error) = ended {
        tracing::warn!(error, "nobody can ask this replica for its group");
    }
    std::future::pending().await
}

/// Tells whether the log lacks something, as long as the group is waited for: that may be what keeps it away.
async fn show_whether_it_is_incomplete(
    opened: &SetOnce<RaftStore>,
    shown: &watch::Sender<Health>,
) -> Infallible {
    let mut health = opened.wait().await.health();
    loop {
        let incomplete = health.borrow_and_update().incomplete;
        shown.send_modify(|shown| shown.incomplete = incomplete);
        if health.changed().await.is_err() {
            std::future::pending().await
        }
    }
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

/// The configured NodeDB secret and the longest life of its tokens, in milliseconds.
fn nodedb_key(config: &ServerConfig) -> Result<Option<(SigningKey, u64)>, Failure> {
    let Some(nodedb) = &config.nodedb else {
        return Ok(None);
    };
    let key = input::read_nodedb_secret(&nodedb.secret_file)?;
    Ok(Some((key, nodedb.max_ttl.as_ms())))
}

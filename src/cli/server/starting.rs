//! From a configuration to a replica that serves.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{SetOnce, watch};

use super::door_opening::DoorOpening;
use super::failed;
use super::ground::Ground;
use super::mark_keeper::MarkKeeper;
use super::opening::Opening;
use super::outside::Outside;
use super::parts::Parts;
use super::replica::{Replica, set_aside_if_removed, stopped};
use super::store_time::StoreTime;
use crate::admin::AdminServer;
use crate::cli::config::ServerConfig;
use crate::cli::exit::Failure;
use crate::cli::group::GroupWay;
use crate::cli::input;
use crate::cli::ports::{Port, Ports};
use crate::clock::{Clock, SystemClock};
use crate::founding::{DataFolder, GuardedStore, KeyGuard, OnDisk, Opened, Site, found_or_open};
use crate::pki::TrustDomain;
use crate::store::{AuditSink, Health, RaftStore, StoreConfig, TokenStore, audit_trail};
use crate::telemetry::audit;
use crate::telemetry::metrics::{MeteredStore, Metrics};
use crate::token::{Delivery, SigningKey};

/// A replica on the way to serving. Dropped, it leaves nothing running.
pub(super) struct Starting<'a> {
    config: &'a ServerConfig,
    ground: Ground,
    trust_domain: TrustDomain,
    nodedb: Option<(SigningKey, u64)>,
    clock: Arc<dyn Clock>,
    /// The store as soon as it is open.
    raft: Arc<SetOnce<RaftStore>>,
    sink: AuditSink,
    metrics: Arc<Metrics>,
    /// How the store is, for whoever asked before it was open.
    health: watch::Sender<Health>,
    parts: Parts,
    audit: Parts,
    /// The way to the other replicas; `None`: this one is alone.
    way: Option<Arc<GroupWay>>,
    /// The port of the door, as soon as the ports are taken.
    door: Option<Port>,
}

impl<'a> Starting<'a> {
    pub fn new(config: &'a ServerConfig, ground: Ground) -> Result<Self, Failure> {
        let trust_domain = config.trust_domain().map_err(Failure::usage)?;
        let nodedb = nodedb_key(config)?;
        // Before the store is opened: what an earlier process did not come to write is told then.
        let (sink, trail) = audit_trail();
        let mut auditing = Parts::default();
        let end_of_audit = auditing.stop_token().cancelled_owned();
        auditing.spawn("audit", audit::follow(trail, end_of_audit).map(Ok));
        let health = watch::Sender::new(Health::default());
        Ok(Self {
            config,
            ground,
            trust_domain,
            nodedb,
            clock: Arc::new(SystemClock),
            raft: Arc::default(),
            sink,
            metrics: Arc::new(Metrics::new(health.subscribe())),
            health,
            parts: Parts::default(),
            audit: auditing,
            way: None,
            door: None,
        })
    }

    /// Opens or founds the store, then opens the door and everything beside it.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do; nothing is left running.
    pub async fn start(mut self) -> Result<Replica, Failure> {
        // A replica of a group may wait long for the others: it answers them and tells how it is meanwhile.
        if self.config.peers.is_some() {
            self.take_ports()?;
        }
        let folder = self.folder()?;
        // Before anything is founded: what cannot serve leaves nothing behind. Where something is founded already, another
        // process may have it, which is the better thing to say.
        let is_new = folder.identity().map_err(failed)?.is_none();
        let mut lone_ports = None;
        if is_new && self.config.peers.is_none() {
            lone_ports = Some(Ports::take(self.config)?);
        }
        let (opened, raft) = self.open(&folder).await?;
        let mut mark_keeper = MarkKeeper {
            store: raft.clone(),
            mark: Arc::clone(&self.ground.mark),
            identity: opened.identity.clone(),
            data_dir: self.config.data_dir.clone(),
            metrics: Arc::clone(&self.metrics),
            written: None,
            is_stale: false,
            outrun_by: None,
        };
        // Before anything is served or minted.
        mark_keeper.first().await;
        let guard = KeyGuard::new(
            opened.identity.clone(),
            Arc::clone(&self.ground.vault),
            self.ground.object.clone(),
            Arc::clone(&opened.store),
        );
        let mut replica = self.replica(opened, raft, guard.in_order());
        let stop = replica.mark.stop_token();
        replica.mark.spawn("mark", mark_keeper.run(stop));
        replica.show_keys(guard.unseen());
        replica.parts.spawn_until_stop("key guard", guard.run());
        match self.serve(&mut replica, lone_ports).await {
            Ok(()) => {
                // Not before the door is open: whoever is told that it is ready goes there.
                let health = show_health(replica.store.health(), self.health);
                replica.parts.spawn_until_stop("health", health);
                Ok(replica)
            }
            Err(failure) => {
                replica.shut_down().await;
                Err(failure)
            }
        }
    }

    /// The ports of one of a group: the others and whoever looks after it are answered from here on.
    fn take_ports(&mut self) -> Result<(), Failure> {
        let taken = Ports::take(self.config)?;
        if let (Some(peers), Some(port)) = (&self.config.peers, taken.peers) {
            let list = match &self.ground.list {
                Some(list) => list.clone(),
                None => peers.fixed_list().map_err(Failure::usage)?,
            };
            self.way = Some(Arc::new(GroupWay::new(
                peers,
                list,
                Arc::clone(&self.ground.vault),
                self.trust_domain.clone(),
                Arc::clone(&self.clock),
                port.listen()?,
            )));
        }
        let listeners = taken.watched.listen()?;
        (self.parts).tell_how_it_is(listeners, &self.metrics, self.health.subscribe());
        self.door = Some(taken.door);
        Ok(())
    }

    /// The data folder, and how the store in it is opened.
    fn folder(&self) -> Result<impl DataFolder + use<>, Failure> {
        let config = self.config;
        let mut store = StoreConfig::new(config.data_dir.join("store"), config.settings());
        store.audit = Some(self.sink.clone());
        let opening = Opening {
            config: store,
            clock: Arc::clone(&self.clock),
            way: self.way.clone(),
            outside: Outside {
                mark: Arc::clone(&self.ground.mark),
                statuses: self.ground.former.clone(),
                data_dir: config.data_dir.clone(),
                watched: config.watched(),
            },
            opened: Arc::clone(&self.raft),
        };
        OnDisk::new(&config.data_dir, move |identity, if_absent| {
            let opening = opening.clone();
            async move {
                let opened = opening.open(identity, if_absent).await?;
                Ok(Arc::new(opened) as Arc<dyn TokenStore>)
            }
            .boxed_local()
        })
        .map_err(failed)
    }

    /// Opens or founds the store. Where that fails nothing of it is left running.
    async fn open(&self, folder: &dyn DataFolder) -> Result<(Opened, RaftStore), Failure> {
        let config = self.config;
        let ground = &self.ground;
        let peers = config.peers.as_ref();
        let found = found_or_open(Site {
            data: folder,
            vault: &*ground.vault,
            object: ground.object.as_deref(),
            former: ground.former.as_deref(),
            trust_domain: &self.trust_domain,
            clock: &*self.clock,
            group: peers.map(|peers| peers.place(ground.may_found_group)),
        });
        let opened = match peers {
            None => found.await,
            Some(_) => tokio::select! {
                opened = found => opened,
                never = tell_of_group(&self.raft, config.admin_socket()) => match never {},
                never = show_whether_it_is_incomplete(&self.raft, &self.health) => match never {},
            },
        };
        match (opened, self.raft.get()) {
            (Ok(opened), Some(raft)) => {
                tracing::info!(
                    store_id = %opened.identity.store_id,
                    epoch = opened.identity.epoch,
                    trust_domain = %self.trust_domain,
                    founded_now = opened.founded_now,
                    "the store is open"
                );
                Ok((opened, raft.clone()))
            }
            (Ok(_), None) => Err(failed("no store was opened")),
            (Err(error), None) => Err(failed(error)),
            (Err(error), Some(raft)) => {
                let fatal = raft.health().borrow().fatal.clone();
                raft.shutdown().await;
                if let Some(way) = &self.way {
                    way.close();
                }
                set_aside_if_removed(raft, &config.data_dir);
                Err(fatal.map_or_else(|| failed(error), |why| stopped(raft, &why)))
            }
        }
    }

    /// The replica, which takes over all that runs so far.
    fn replica(
        &mut self,
        opened: Opened,
        raft: RaftStore,
        keys_in_order: watch::Receiver<bool>,
    ) -> Replica {
        let guarded = GuardedStore::new(opened.store, keys_in_order.clone());
        let metered = MeteredStore::new(Arc::new(guarded), &self.metrics);
        Replica {
            delivery: Delivery {
                door_pin: opened.material.door.spki_pin(),
                urls: self.config.advertise_urls.clone(),
            },
            store: Arc::new(metered),
            material: opened.material,
            metrics: Arc::clone(&self.metrics),
            // By the machine's own, which may be ahead, live tokens would seem overdue.
            clock: Arc::new(StoreTime::of(raft.clone())),
            keys_in_order,
            raft,
            data_dir: self.config.data_dir.clone(),
            way: self.way.take(),
            leaving: None,
            parts: std::mem::take(&mut self.parts),
            mark: Parts::default(),
            audit: std::mem::take(&mut self.audit),
        }
    }

    /// Opens the door, and the ports of metrics and probes if those are not open yet.
    async fn serve(
        &mut self,
        replica: &mut Replica,
        lone_ports: Option<Ports>,
    ) -> Result<(), Failure> {
        let door = match self.door.take() {
            Some(door) => door,
            None => {
                let taken = lone_ports.map_or_else(|| Ports::take(self.config), Ok)?;
                let listeners = taken.watched.listen()?;
                (replica.parts).tell_how_it_is(listeners, &self.metrics, self.health.subscribe());
                taken.door
            }
        };
        let opening = DoorOpening {
            config: self.config,
            trust_domain: self.trust_domain.clone(),
            nodedb: self.nodedb.take(),
            door,
        };
        opening.open(replica).await
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
        let now = health.borrow_and_update().clone();
        shown.send_modify(|shown| {
            (shown.incomplete, shown.newcomer) = (now.incomplete, now.newcomer);
        });
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

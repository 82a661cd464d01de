//! The door and the admin socket of a replica whose store is open.

use std::sync::Arc;

use futures::FutureExt;

use super::door_threads;
use super::failed;
use super::replica::Replica;
use super::store_time::StoreTime;
use crate::admin::{AdminServer, KeyExporter, Offered};
use crate::bootstrap::{Door, DoorCertificates};
use crate::cli::config::ServerConfig;
use crate::cli::exit::Failure;
use crate::cli::ports::Port;
use crate::clock::Clock;
use crate::founding::{KeySource, adopt_nodedb};
use crate::pki::TrustDomain;
use crate::token::SigningKey;

/// What the door is opened with.
pub(super) struct DoorOpening<'a> {
    pub config: &'a ServerConfig,
    pub trust_domain: TrustDomain,
    /// The configured NodeDB secret and the longest life of its tokens, in milliseconds.
    pub nodedb: Option<(SigningKey, u64)>,
    pub door: Port,
}

impl DoorOpening<'_> {
    pub async fn open(self, replica: &mut Replica) -> Result<(), Failure> {
        let config = self.config;
        if let Some((key, max_ttl_ms)) = &self.nodedb {
            adopt_nodedb(&*replica.store, key, *max_ttl_ms)
                .await
                .map_err(failed)?;
        }
        replica.raft.until_time_is_known().await;
        let time: Arc<dyn Clock> = Arc::new(StoreTime::of(replica.raft.clone()));
        let listener = self.door.listen()?;
        let admin = AdminServer::bind(&config.admin_socket()).map_err(failed)?;

        let (keys, follow_keys) = KeySource {
            resource: vec![replica.material.resource_key.clone()],
            offline_master: replica.material.offline_master.clone(),
            nodedb: self.nodedb.into_iter().map(|(key, _)| key).collect(),
        }
        .follow(Arc::clone(&replica.store));
        replica.parts.spawn_until_stop("key ring", follow_keys);

        let (identity, renew_identity) = DoorCertificates::new(
            Arc::clone(&replica.material.door),
            self.trust_domain.clone(),
            &config.door_hosts(),
            Arc::clone(&time),
        )
        .keep()
        .map_err(failed)?;
        (replica.parts).spawn_until_stop("door certificate", renew_identity);

        run_admin(admin, replica);
        let door = Door {
            store: Arc::clone(&replica.store),
            keys,
            members: Arc::clone(&replica.material.members),
            identity,
            trust_domain: self.trust_domain,
            clock: time,
            bare_names: config.bare_name_patterns().map_err(Failure::usage)?,
            certificate_lifetime_ms: config.certificate_lifetime.as_ms(),
            limits: config.limits.door(),
            observer: Arc::new(replica.metrics.door.clone()),
        };
        tracing::info!(listen = %config.listen, urls = config.advertise_urls.join(", "), "the door is open");
        let stop = replica.stop_token().cancelled_owned();
        replica.spawn("door", door_threads::serve(door, listener, stop));
        Ok(())
    }
}

fn run_admin(admin: AdminServer, replica: &mut Replica) {
    let offered = Offered {
        exporter: KeyExporter::new(
            Arc::clone(&replica.store),
            replica.material.offline_master.clone(),
            replica.delivery.clone(),
        ),
        store: replica.raft.clone(),
    };
    let running = admin.run(offered, replica.stop_token().cancelled_owned());
    replica.spawn("admin socket", running.map(|ended| ended.map_err(failed)));
}

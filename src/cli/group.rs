//! What a replica of a group needs beside its own folder: the way to the others, and the port on which it answers them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::ConfigError;
use crate::clock::Clock;
use crate::founding::{self, GroupPlace, Vault};
use crate::peers::{
    PeerCertificates, PeerLimits, PeerServer, PeerTls, PeerTransport, peer_address,
};
use crate::pki::TrustDomain;
use crate::store::{GroupConfig, OpenError, PeerAddress, RaftStore};

/// Where a replica listens for the others unless told otherwise.
pub const DEFAULT_PEER_LISTEN: &str = "[::]:9443";
/// More voters make every commit slower and nothing safer.
const MOST_MEMBERS: usize = 9;

/// How a replica is one of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeersConfig {
    /// Where it listens for the others.
    #[serde(
        default = "default_peer_listen",
        deserialize_with = "super::config::address"
    )]
    pub listen: SocketAddr,
    /// Where the others reach it, `host:port`; one of `members`.
    pub address: String,
    /// Where all replicas are, the same list on each. The first founds the group.
    pub members: Vec<String>,
}

/// The default of `peers.listen`.
pub fn default_peer_listen() -> SocketAddr {
    SocketAddr::from(([0_u16; 8], 9443))
}

impl PeersConfig {
    /// Whether every value can be.
    ///
    /// # Errors
    /// Names the first that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let list: BTreeSet<PeerAddress> = self.places()?.into_iter().collect();
        if list.len() < self.members.len() {
            return Err(ConfigError::Invalid(
                "the list of the group's members names one twice".to_owned(),
            ));
        }
        if !self.members.contains(&self.address) {
            return Err(ConfigError::Invalid(format!(
                "this replica's peer address, {}, is not among the members of its group ({}): it must stand there exactly so",
                self.address,
                self.members.join(", "),
            )));
        }
        if list.len() > MOST_MEMBERS || list.len().is_multiple_of(2) {
            return Err(ConfigError::Invalid(format!(
                "a group of {} replicas is not possible: give 1, 3, 5, 7 or {MOST_MEMBERS} members, an even number loses its majority sooner than one less",
                list.len()
            )));
        }
        Ok(())
    }

    /// Where all replicas are, in the order in which they are given.
    ///
    /// # Errors
    /// Names the first that is no address.
    pub fn places(&self) -> Result<Vec<PeerAddress>, ConfigError> {
        let parsed = |text: &String| {
            peer_address(text)
                .map_err(|error| ConfigError::Invalid(format!("the member {text:?}: {error}")))
        };
        self.members.iter().map(parsed).collect()
    }

    /// That list, for a group whose members are always the same.
    ///
    /// # Errors
    /// As [`PeersConfig::places`].
    pub fn fixed_list(&self) -> Result<MembersList, ConfigError> {
        let list = self.places()?.into_iter().collect();
        Ok(watch::Sender::new(list).subscribe())
    }

    /// What it may do while there is no store. `may_found`: whoever runs it says that there is no group yet.
    pub fn place(&self, may_found: bool) -> GroupPlace {
        match (self.members.first() == Some(&self.address), may_found) {
            (true, true) => GroupPlace::Founder,
            (true, false) => GroupPlace::First,
            (false, _) => GroupPlace::Further,
        }
    }
}

/// Where all replicas should be, as of now.
pub type MembersList = watch::Receiver<BTreeSet<PeerAddress>>;

/// The way to the other replicas, from before the store is open until after it is closed.
pub(super) struct GroupWay {
    address: PeerAddress,
    list: MembersList,
    vault: Arc<dyn Vault>,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    listener: Mutex<Option<TcpListener>>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

/// A way to the others, and what answers them once the store is there.
pub(super) struct Opened {
    pub config: GroupConfig,
    tls: PeerTls,
}

impl GroupWay {
    pub(super) fn new(
        config: &PeersConfig,
        list: MembersList,
        vault: Arc<dyn Vault>,
        trust_domain: TrustDomain,
        clock: Arc<dyn Clock>,
        listener: TcpListener,
    ) -> Self {
        Self {
            address: PeerAddress::new(&config.address),
            list,
            vault,
            trust_domain,
            clock,
            listener: Mutex::new(Some(listener)),
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Makes the way, with a certificate by the peers' CA of the replica's store.
    pub(super) async fn open(&self, of: &founding::Identity) -> Result<Opened, OpenError> {
        let ca = founding::peers_ca(&*self.vault, of).await.map_err(start)?;
        let (identity, renew) = PeerCertificates::new(
            Arc::clone(&ca),
            self.trust_domain.clone(),
            self.address.clone(),
            Arc::clone(&self.clock),
        )
        .keep()
        .map_err(start)?;
        self.spawn(renew);
        let cas = [ca.cert_der()];
        let tls = PeerTls::new(identity, &cas, &self.trust_domain, Arc::clone(&self.clock))
            .map_err(start)?;
        let transport = PeerTransport::new(tls.clone(), PeerLimits::default());
        Ok(Opened {
            config: GroupConfig {
                address: self.address.clone(),
                list: self.list.clone(),
                transport: Arc::new(transport),
            },
            tls,
        })
    }

    /// Answers the others from now on.
    pub(super) fn serve(&self, opened: &PeerTls, store: &RaftStore) {
        let listener = lock(&self.listener).take();
        if let Some(listener) = listener {
            let server =
                PeerServer::new(opened.clone(), store.peer_service(), PeerLimits::default());
            let stop = self.stop.clone();
            self.spawn(async move { server.serve(listener, stop.cancelled_owned()).await });
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).spawn(task);
    }

    /// Answers nobody any more.
    pub(super) fn close(&self) {
        self.stop.cancel();
        lock(&self.tasks).abort_all();
    }
}

impl Opened {
    pub(super) fn tls(&self) -> &PeerTls {
        &self.tls
    }
}

fn start(error: impl std::fmt::Display) -> OpenError {
    OpenError::Start(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

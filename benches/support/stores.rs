//! Stores in this process with real disks and mutual TLS between them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jointoken::clock::{Clock as _, SystemClock};
use jointoken::lifecycle::command::{AdoptKey, Begin, Founded, OfflineRegistration, RaiseRules};
use jointoken::lifecycle::{Settings, State};
use jointoken::peers::{PeerCertificates, PeerLimits, PeerServer, PeerTls, PeerTransport};
use jointoken::pki::{Authority, CaRole, TrustDomain};
use jointoken::store::disk::RealDisk;
use jointoken::store::{
    GroupConfig, Identity, PeerAddress, RaftStore, StoreConfig, identity, submit,
};
use jointoken::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};
use tokio::net::TcpListener;
use tokio::sync::watch;

const HOUR_MS: u64 = 3_600_000;
const STORE: StoreId = StoreId([7; 16]);
const KEY: KeyId = KeyId([1; 8]);
pub const JOINER: JoinerId = JoinerId([3; 32]);

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What the replicas of a group have in common, and their places.
pub struct Stores {
    domain: TrustDomain,
    ca: Arc<Authority>,
    list: BTreeSet<PeerAddress>,
    listeners: Vec<TcpListener>,
}

impl Stores {
    /// Of a group of so many.
    pub async fn new(size: usize) -> Result<Self, Failed> {
        let domain: TrustDomain = "bench.example".parse()?;
        let ca = Authority::generate(CaRole::Peers, &domain, SystemClock.now_ms())?;
        let mut listeners = Vec::new();
        for _ in 0..size {
            listeners.push(TcpListener::bind("127.0.0.1:0").await?);
        }
        let list = listeners.iter().map(address_of).collect::<Result<_, _>>()?;
        Ok(Self {
            domain,
            ca: Arc::new(ca),
            list,
            listeners,
        })
    }

    /// Starts the next replica in this folder. The first is number 1.
    pub async fn open(
        &mut self,
        data: &Path,
        node_id: u64,
        change: impl FnOnce(&mut StoreConfig),
    ) -> Result<RaftStore, Failed> {
        let listener = self.listeners.remove(0);
        let address = address_of(&listener)?;
        let clock = Arc::new(SystemClock);
        let certificates = PeerCertificates::new(
            self.ca.clone(),
            self.domain.clone(),
            address.clone(),
            clock.clone(),
        );
        let (shown, _) = certificates.keep()?;
        let tls = PeerTls::new(shown, &[self.ca.cert_der()], &self.domain, clock.clone())?;
        let mut config = StoreConfig::new(data, Settings::default());
        config.group = Some(GroupConfig {
            address,
            list: watch::Sender::new(self.list.clone()).subscribe(),
            transport: Arc::new(PeerTransport::new(tls.clone(), PeerLimits::default())),
        });
        change(&mut config);
        let disk = Arc::new(RealDisk);
        let identity = Identity {
            store_id: STORE,
            node_id,
            epoch: 1,
            founding: true,
        };
        identity::create(&*disk, data, &identity)?;
        let store = RaftStore::open(config, disk, clock).await?;
        let server = PeerServer::new(tls, store.peer_service(), PeerLimits::default());
        tokio::spawn(server.serve(listener, std::future::pending()));
        Ok(store)
    }
}

fn address_of(of: &TcpListener) -> Result<PeerAddress, Failed> {
    Ok(PeerAddress::new(&of.local_addr()?.to_string()))
}

/// Makes this replica a store that knows a key for offline tokens.
pub async fn found(store: &RaftStore) -> Result<(), Failed> {
    store.initialize().await?;
    let founded = Founded {
        store_id: STORE,
        epoch: 1,
        trust_domain: "bench.example".into(),
        fingerprints: vec![("door-ca".into(), Fingerprint([1; 32]))],
    };
    let to = State::newest_rules();
    submit(store, RaiseRules { to }).await?;
    submit(store, founded).await?;
    let key = AdoptKey {
        key_id: KEY,
        purpose: Purpose::Offline,
        fingerprint: Fingerprint([2; 32]),
        max_ttl_ms: None,
        node_pattern: Some("*".into()),
    };
    submit(store, key).await?;
    Ok(())
}

/// Claims the token of this number.
pub fn claim(number: u64, now_ms: u64) -> Begin {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Begin {
        token_id: TokenId(id),
        joiner: JOINER,
        holder: [4; 16],
        address: None,
        registration: Some(OfflineRegistration {
            key_id: KEY,
            issued_at_ms: Some(now_ms),
            expires_at_ms: now_ms + HOUR_MS,
            node_name: Some("edge-1".into()),
        }),
    }
}

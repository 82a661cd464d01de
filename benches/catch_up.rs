//! How long a new replica takes to have what the others have, at a million tokens: from the log, and from a snapshot. Leader and
//! newcomer are two stores in this process with real disks and mutual TLS between them.
//!
//! `cargo bench --bench catch_up [-- <tokens>]`

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::lifecycle::Settings;
use jointoken::lifecycle::command::{AdoptKey, Begin, Founded, OfflineRegistration};
use jointoken::peers::{PeerCertificates, PeerLimits, PeerServer, PeerTls, PeerTransport};
use jointoken::pki::{Authority, CaRole, TrustDomain};
use jointoken::store::disk::RealDisk;
use jointoken::store::{
    GroupConfig, Identity, PeerAddress, RaftStore, StoreConfig, TokenStore as _, identity, submit,
};
use jointoken::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};
use tokio::net::TcpListener;
use tokio::sync::watch;

const HOUR_MS: u64 = 3_600_000;
const STORE: StoreId = StoreId([7; 16]);
const KEY: KeyId = KeyId([1; 8]);
/// So many proposals are under way at once.
const AT_ONCE: usize = 512;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    // Cargo hands its own arguments on; a number is ours.
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let tokens: u64 = given.unwrap_or(1_000_000);
    println!("{tokens} tokens");
    for by_snapshot in [false, true] {
        catch_up(tokens, by_snapshot).await?;
    }
    Ok(())
}

async fn catch_up(tokens: u64, by_snapshot: bool) -> Result<(), Failed> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let domain: TrustDomain = "bench.example".parse()?;
    let ca = Arc::new(Authority::generate(
        CaRole::Peers,
        &domain,
        SystemClock.now_ms(),
    )?);
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let address =
        |of: &TcpListener| Ok::<_, Failed>(PeerAddress::new(&of.local_addr()?.to_string()));
    let list: BTreeSet<_> = listeners.iter().map(address).collect::<Result<_, _>>()?;
    let open = |name: &str, node_id, listener| {
        let data = folder.path().join(name);
        let (ca, domain, list) = (ca.clone(), domain.clone(), list.clone());
        async move { open(&data, node_id, listener, &ca, &domain, list, by_snapshot).await }
    };
    // The third never comes: the newcomer stays a learner, and everything is sent to it alone.
    let leader = open("leader", 1, listeners.remove(0)).await?;
    leader.initialize().await?;
    found(&leader).await?;
    let filled = Instant::now();
    fill(&leader, tokens).await?;
    let seconds = filled.elapsed().as_secs_f64();
    println!("filled alone: {:.0} tokens/s", tokens as f64 / seconds);
    if by_snapshot {
        // The last snapshot is to have most of it, and the log before it is to be gone.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let began = Instant::now();
    let newcomer = open("newcomer", 2, listeners.remove(0)).await?;
    let committed = leader.health().borrow().applied_index;
    let mut health = newcomer.health();
    let mut first = None;
    health
        .wait_for(|health| {
            if health.applied_index > 0 {
                first.get_or_insert_with(|| (began.elapsed(), health.applied_index));
            }
            health.applied_index >= committed
        })
        .await?;
    let took = began.elapsed();
    let (first, index) = first.unwrap_or_default();
    println!(
        "caught up {} in {:.1} s ({committed} entries; the first, {index}, after {:.1} s)",
        if by_snapshot { "by snapshot" } else { "by log" },
        took.as_secs_f64(),
        first.as_secs_f64(),
    );
    assert_eq!(leader.state_hash(), newcomer.state_hash());
    leader.shutdown().await;
    newcomer.shutdown().await;
    Ok(())
}

async fn open(
    data: &Path,
    node_id: u64,
    listener: TcpListener,
    ca: &Arc<Authority>,
    domain: &TrustDomain,
    list: BTreeSet<PeerAddress>,
    by_snapshot: bool,
) -> Result<RaftStore, Failed> {
    let address = PeerAddress::new(&listener.local_addr()?.to_string());
    let clock = Arc::new(SystemClock);
    let certificates =
        PeerCertificates::new(ca.clone(), domain.clone(), address.clone(), clock.clone());
    let (shown, _) = certificates.keep()?;
    let tls = PeerTls::new(shown, &[ca.cert_der()], domain, clock.clone())?;
    let mut config = StoreConfig::new(data, Settings::default());
    if !by_snapshot {
        config.snapshot_after_bytes = u64::MAX;
    }
    config.group = Some(GroupConfig {
        address,
        list: watch::Sender::new(list).subscribe(),
        transport: Arc::new(PeerTransport::new(tls.clone(), PeerLimits::default())),
    });
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

async fn found(store: &RaftStore) -> Result<(), Failed> {
    let founded = Founded {
        store_id: STORE,
        epoch: 1,
        trust_domain: "bench.example".into(),
        fingerprints: vec![("door-ca".into(), Fingerprint([1; 32]))],
    };
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

/// Claims so many offline tokens.
async fn fill(store: &RaftStore, tokens: u64) -> Result<(), Failed> {
    let now_ms = SystemClock.now_ms();
    let claims = stream::iter(0..tokens).map(|number| async move {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let begin = Begin {
            token_id: TokenId(id),
            joiner: JoinerId([3; 32]),
            holder: [4; 16],
            address: None,
            registration: Some(OfflineRegistration {
                key_id: KEY,
                issued_at_ms: Some(now_ms),
                expires_at_ms: now_ms + HOUR_MS,
            }),
        };
        submit(store, begin).await
    });
    let mut claims = claims.buffer_unordered(AT_ONCE);
    while let Some(claimed) = claims.next().await {
        claimed?;
    }
    Ok(())
}

//! What the tests of the store share.

use std::path::Path;
use std::sync::Arc;

use jointoken::clock::{Clock, ManualClock};
use jointoken::lifecycle::command::{
    AdoptKey, Begin, Consume, Founded, OfflineRegistration, RaiseRules,
};
use jointoken::lifecycle::outcome::{BeginOutcome, ConsumeOutcome, FoundedOutcome};
use jointoken::lifecycle::{Record, Settings, State};
use jointoken::store::disk::{Disk, RealDisk};
use jointoken::store::{
    Identity, OpenError, RaftStore, StoreConfig, StoreError, TokenStore, identity, submit,
};
use jointoken::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};
use openraft::AsyncRuntime;

/// A Tuesday.
pub const T: u64 = 1_750_000_000_000;
pub const HOUR_MS: u64 = 3_600_000;
pub const KEY: KeyId = KeyId([3; 8]);

pub const IDENTITY: Identity = Identity {
    store_id: StoreId([7; 16]),
    node_id: 0x0123_4567_89ab_cdef,
    epoch: 1,
    founding: true,
};

pub fn founded() -> Founded {
    Founded {
        store_id: IDENTITY.store_id,
        epoch: IDENTITY.epoch,
        trust_domain: "example.org".into(),
        fingerprints: vec![("door-ca".into(), Fingerprint([1; 32]))],
    }
}

/// A key that mints tokens without a server: its tokens need no `Register`.
pub fn offline_key() -> AdoptKey {
    AdoptKey {
        key_id: KEY,
        purpose: Purpose::Offline,
        fingerprint: Fingerprint([2; 32]),
        max_ttl_ms: None,
        node_pattern: Some("*".into()),
    }
}

pub const RESOURCE_KEY: KeyId = KeyId([4; 8]);

/// The key of tokens that are registered.
pub fn resource_key() -> AdoptKey {
    AdoptKey {
        key_id: RESOURCE_KEY,
        purpose: Purpose::Resource,
        fingerprint: Fingerprint([3; 32]),
        max_ttl_ms: None,
        node_pattern: None,
    }
}

/// A number made into an id.
pub fn token(n: u64) -> TokenId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    TokenId(id)
}

pub fn joiner(n: u64) -> JoinerId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    JoinerId(id)
}

pub fn begin(n: u64, by: u64, now_ms: u64) -> Begin {
    Begin {
        token_id: token(n),
        joiner: joiner(by),
        holder: [1; 16],
        address: None,
        registration: Some(OfflineRegistration {
            key_id: KEY,
            issued_at_ms: Some(now_ms),
            expires_at_ms: now_ms + HOUR_MS,
            node_name: Some("edge-1".into()),
        }),
    }
}

pub fn leaf(by: u64) -> Vec<u8> {
    format!("certificate of {by}").into_bytes()
}

/// Admits a joiner with an offline token; `None` if somebody else has the token.
pub async fn admit(
    store: &dyn TokenStore,
    n: u64,
    by: u64,
    now_ms: u64,
) -> Result<Option<Record>, StoreError> {
    let attempt = match submit(store, begin(n, by, now_ms)).await? {
        BeginOutcome::Granted { attempt, .. } => attempt,
        _ => return Ok(None),
    };
    let consume = Consume {
        token_id: token(n),
        joiner: joiner(by),
        attempt,
        leaf: leaf(by),
    };
    match submit(store, consume).await? {
        ConsumeOutcome::Admitted { record, .. } => Ok(Some(*record)),
        _ => Ok(None),
    }
}

/// A founded store: what the first start of a lone replica comes to.
pub async fn found<Rt: AsyncRuntime>(
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> RaftStore<Rt> {
    identity::create(&*disk, &config.data_dir, &IDENTITY).unwrap();
    let store = RaftStore::<Rt>::open_on(config, disk, clock).await.unwrap();
    complete_founding(&store).await.unwrap();
    store
}

pub async fn complete_founding<Rt: AsyncRuntime>(store: &RaftStore<Rt>) -> Result<(), StoreError> {
    store.initialize().await?;
    let to = State::newest_rules();
    submit(store, RaiseRules { to }).await?;
    let outcome = submit(store, founded()).await?;
    assert!(matches!(
        outcome,
        FoundedOutcome::Founded | FoundedOutcome::Known
    ));
    submit(store, offline_key()).await?;
    store
        .founding_complete()
        .await
        .map_err(|_| StoreError::Stopped)
}

pub fn config(data_dir: &Path) -> StoreConfig {
    StoreConfig::new(data_dir, Settings::default())
}

pub async fn found_real(data_dir: &Path) -> RaftStore {
    found(config(data_dir), Arc::new(RealDisk), clock()).await
}

pub async fn open_real(data_dir: &Path) -> Result<RaftStore, OpenError> {
    RaftStore::open(config(data_dir), Arc::new(RealDisk), clock()).await
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(T))
}

/// Returns once the replica leads.
pub async fn leads(store: &dyn TokenStore) {
    let mut health = store.health();
    let led = health.wait_for(|health| health.is_leader || health.fatal.is_some());
    let health = led.await.unwrap().clone();
    assert_eq!(health.fatal, None);
}

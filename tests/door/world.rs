//! A founded store, three CAs, keys, and a door that is served: what every test begins with.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jointoken::bootstrap::{Door, DoorLimits, serve};
use jointoken::clock::{Clock, ManualClock};
use jointoken::joiner::{Join, JoinError, Joined, join};
use jointoken::lifecycle::command::{AdoptKey, Bindings, Founded, RaiseRules, Register};
use jointoken::lifecycle::outcome::{AdoptKeyOutcome, FoundedOutcome, RegisterOutcome};
use jointoken::lifecycle::{Issuance, Operation, Phase, Record, Settings, State};
use jointoken::net::Proxies;
use jointoken::pki::{Authority, CaRole, DoorIdentity, TrustDomain};
use jointoken::store::reference::InMemoryStore;
use jointoken::store::{StoreError, TokenStore, submit};
use jointoken::token::{
    Claims, Delivery, JoinTokenString, KeyId, KeyRing, NodePattern, OfflinePolicy, Presented,
    Purpose, SigningKey, StoreId, TokenId, mint,
};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::observed::Recorder;
use crate::script::{Play, ScriptedStore};

/// When every world begins, milliseconds since the epoch.
pub const START: u64 = 1_790_000_000_000;
pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub const STORE: StoreId = StoreId([0x51; 16]);
pub const RESOURCE_KEY: KeyId = KeyId([1; 8]);
pub const OFFLINE_KEY: KeyId = KeyId([2; 8]);
pub const OFFLINE_PATTERN: &str = "edge-*";
pub const OFFLINE_MAX_TTL: u64 = 2 * HOUR;

pub struct World {
    pub clock: ManualClock,
    pub store: Arc<ScriptedStore>,
    pub door_ca: Authority,
    pub members: Arc<Authority>,
    pub keys: Keys,
    pub observer: Arc<Recorder>,
    pub address: SocketAddr,
    pub identity: watch::Sender<Arc<DoorIdentity>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

/// The signing keys, as those who mint hold them.
pub struct Keys {
    pub resource: SigningKey,
    pub offline: SigningKey,
    pub nodedb: SigningKey,
}

impl Keys {
    fn new() -> Self {
        Self {
            resource: SigningKey::from_bytes(Purpose::Resource, RESOURCE_KEY, &[0xa1; 32]),
            offline: SigningKey::from_bytes(Purpose::Offline, OFFLINE_KEY, &[0xa2; 32]),
            nodedb: SigningKey::nodedb(&[0xa3; 32]),
        }
    }

    fn ring(self) -> KeyRing {
        let mut ring = KeyRing::new();
        ring.insert(self.resource).unwrap();
        ring.insert_offline(self.offline, policy()).unwrap();
        ring.insert(self.nodedb).unwrap();
        ring
    }

    fn adoptions(&self) -> [AdoptKey; 3] {
        let adopt = |key: &SigningKey, max_ttl_ms, node_pattern: Option<&str>| AdoptKey {
            key_id: key.id(),
            purpose: key.purpose(),
            fingerprint: key.fingerprint(),
            max_ttl_ms,
            node_pattern: node_pattern.map(str::to_owned),
        };
        [
            adopt(&self.resource, None, None),
            adopt(&self.offline, Some(OFFLINE_MAX_TTL), Some(OFFLINE_PATTERN)),
            adopt(&self.nodedb, Some(OFFLINE_MAX_TTL), None),
        ]
    }
}

pub fn policy() -> OfflinePolicy {
    OfflinePolicy {
        node_pattern: OFFLINE_PATTERN.parse().unwrap(),
        max_ttl_ms: OFFLINE_MAX_TTL,
    }
}

pub fn domain() -> TrustDomain {
    TrustDomain::parse("prod.example.com").unwrap()
}

pub fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// A door's identity by this CA.
pub fn identity(ca: &Authority, now_ms: u64) -> DoorIdentity {
    DoorIdentity::issue(ca, &domain(), &[], &[loopback()], now_ms, 30 * DAY).unwrap()
}

/// A JoinToken, as the tests need it.
pub struct Resource<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub ttl_ms: u64,
    pub bindings: Bindings,
    pub in_flight_timeout_ms: Option<u64>,
    pub max_claims: Option<u32>,
}

impl Default for Resource<'_> {
    fn default() -> Self {
        Self {
            namespace: "default",
            name: "db-1",
            ttl_ms: HOUR,
            bindings: Bindings::default(),
            in_flight_timeout_ms: None,
            max_claims: None,
        }
    }
}

/// A token and its public name.
pub struct Token {
    pub id: TokenId,
    pub text: JoinTokenString,
}

impl World {
    pub async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    /// `change` may alter the door before it is opened.
    pub async fn open_with(change: impl FnOnce(&mut Door)) -> Self {
        let clock = ManualClock::new(START);
        let store = Arc::new(InMemoryStore::new(Arc::new(clock.clone())));
        Self::open_on(clock, store, change).await
    }

    pub async fn open_on(
        clock: ManualClock,
        store: Arc<dyn TokenStore>,
        change: impl FnOnce(&mut Door),
    ) -> Self {
        let now_ms = clock.now_ms();
        let store = ScriptedStore::new(store);
        let door_ca = Authority::generate(CaRole::Door, &domain(), now_ms).unwrap();
        let members = Arc::new(Authority::generate(CaRole::Members, &domain(), now_ms).unwrap());
        found(&*store).await;
        let observer = Arc::new(Recorder::default());
        let (identity, shown) = watch::channel(Arc::new(identity(&door_ca, now_ms)));
        let (_, ring) = watch::channel(Arc::new(Keys::new().ring()));
        let mut door = Door {
            store: Arc::clone(&store) as Arc<dyn TokenStore>,
            keys: ring,
            members: Arc::clone(&members),
            identity: shown,
            trust_domain: domain(),
            clock: Arc::new(clock.clone()),
            bare_names: [("infra".to_owned(), "db-*".parse::<NodePattern>().unwrap())].into(),
            certificate_lifetime_ms: DAY,
            limits: DoorLimits::default(),
            observer: Arc::clone(&observer) as _,
        };
        change(&mut door);
        let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(door, listener, stopped).await.unwrap();
        });
        Self {
            clock,
            store,
            door_ca,
            members,
            keys: Keys::new(),
            observer,
            address,
            identity,
            stop: Some(stop),
            served,
        }
    }

    /// Stops the door and waits until it is closed.
    pub async fn close(&mut self) {
        self.begin_close();
        timeout(PATIENCE, &mut self.served).await.unwrap().unwrap();
    }

    pub fn begin_close(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn delivery(&self) -> Delivery {
        Delivery {
            door_pin: self.door_ca.spki_pin(),
            urls: vec![self.url()],
        }
    }

    /// Registers a JoinToken and mints its token.
    pub async fn token(&self, resource: Resource<'_>) -> Token {
        let register = Register {
            issuance: Issuance {
                namespace: resource.namespace.to_owned(),
                name: resource.name.to_owned(),
            },
            namespace_uid: "uid".to_owned(),
            revision: 1,
            spec_hash: [7; 32],
            revoked: false,
            reissue_if_unused: false,
            token_id: random_token_id(),
            key_id: RESOURCE_KEY,
            node_name: resource.name.to_owned(),
            ttl_ms: resource.ttl_ms,
            in_flight_timeout_ms: resource.in_flight_timeout_ms,
            max_claims: resource.max_claims,
            bindings: resource.bindings,
        };
        let record = match submit(&*self.store, register).await.unwrap() {
            RegisterOutcome::Created(record) => record,
            other => panic!("{other:?}"),
        };
        let claims = Claims {
            purpose: Purpose::Resource,
            key_id: RESOURCE_KEY,
            audience: STORE.audience(),
            token_id: record.token_id,
            node_name: resource.name.to_owned(),
            issued_at_ms: record.issued_at_ms,
            expires_at_ms: record.expires_at_ms,
        };
        Token {
            id: record.token_id,
            text: mint(&self.keys.resource, &claims, &self.delivery()).unwrap(),
        }
    }

    /// The token of a plain JoinToken.
    pub async fn plain_token(&self) -> Token {
        self.token(Resource::default()).await
    }

    /// The claims of an offline token that the door accepts.
    pub fn offline_claims(&self) -> Claims {
        let now_ms = self.clock.now_ms();
        Claims {
            purpose: Purpose::Offline,
            key_id: OFFLINE_KEY,
            audience: STORE.audience(),
            token_id: random_token_id(),
            node_name: "edge-7".to_owned(),
            issued_at_ms: now_ms,
            expires_at_ms: now_ms + HOUR,
        }
    }

    pub fn offline_token(&self, claims: &Claims) -> Token {
        Token {
            id: claims.public_id(),
            text: mint(&self.keys.offline, claims, &self.delivery()).unwrap(),
        }
    }

    /// What `jointoken join` is told.
    pub fn joining(&self, token: &JoinTokenString, folder: &Path) -> Join {
        Join {
            token: Presented::parse(token.expose()).unwrap(),
            folder: folder.to_owned(),
            urls: Vec::new(),
            pin: None,
            proxies: Proxies::none(),
            timeout: Duration::from_secs(15),
            clock: Arc::new(self.clock.clone()),
            waiting: Box::new(|_| ()),
            warning: Box::new(|_| ()),
        }
    }

    /// Runs `jointoken join` in this folder.
    pub async fn join(&self, token: &Token, folder: &Path) -> Result<Joined, JoinError> {
        join(self.joining(&token.text, folder)).await
    }

    /// From here on the store answers no acknowledgement.
    pub fn refuse_acknowledgements(&self) {
        self.store.play(
            |operation| match matches!(operation, Operation::Acknowledge(_)) {
                true => Play::Fail(StoreError::NoLeader),
                false => Play::Pass,
            },
        );
    }

    pub fn record(&self, token: &Token) -> Record {
        self.store.record(&token.id).expect("the token is recorded")
    }

    pub fn store_record(&self, token: &Token) -> Option<Record> {
        self.store.record(&token.id)
    }

    pub fn settings(&self) -> Settings {
        self.store.settings()
    }

    /// How long the store's log is.
    pub fn store_index(&self) -> u64 {
        self.store.health().borrow().applied_index
    }

    /// Waits until the token's record is as it should be.
    pub async fn until(&self, token: &Token, ready: impl Fn(&Record) -> bool) -> Record {
        eventually("the record", || self.store.record(&token.id).filter(&ready)).await
    }

    pub async fn until_phase(&self, token: &Token, phase: Phase) -> Record {
        self.until(token, |record| record.phase == phase).await
    }
}

/// Waits until there is what the test looks for.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            match look() {
                Some(found) => return found,
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// No test hangs.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

fn random_token_id() -> TokenId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).unwrap();
    TokenId(id)
}

async fn found(store: &dyn TokenStore) {
    let founded = Founded {
        store_id: STORE,
        epoch: 1,
        trust_domain: domain().to_string(),
        fingerprints: Vec::new(),
    };
    let to = State::newest_rules();
    submit(store, RaiseRules { to }).await.unwrap();
    let outcome = submit(store, founded).await.unwrap();
    // Known: the store was opened again.
    assert!(matches!(
        outcome,
        FoundedOutcome::Founded | FoundedOutcome::Known
    ));
    for adoption in Keys::new().adoptions() {
        let outcome = submit(store, adoption).await.unwrap();
        assert!(matches!(
            outcome,
            AdoptKeyOutcome::Adopted | AdoptKeyOutcome::Known
        ));
    }
}

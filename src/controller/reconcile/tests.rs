//! A reconciliation on a watch's copy that is behind.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower::service_fn;

use super::*;
use crate::clock::ManualClock;
use crate::controller::frozen;
use crate::controller::same_node::SameNode;
use crate::controller::{Effect, Minting};
use crate::lifecycle::command::{Abort, AdoptKey, Begin, Founded, Register};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Phase, Reason, Record, Settings};
use crate::store::reference::InMemoryStore;
use crate::store::{Change, Committed, StoreError, submit};
use crate::telemetry::metrics::Metrics;
use crate::token::{Delivery, JoinerId, KeyId, Purpose, SigningKey, StoreId, TokenId};

const NOW_MS: u64 = 1_800_000_000_000;

/// Notes what it is asked to do, and does nothing.
#[derive(Default)]
struct Noted(Mutex<Vec<&'static str>>);

impl Effects for Noted {
    fn perform<'a>(
        &'a self,
        _: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        self.0.lock().unwrap().push(effect.name());
        async { Ok(Effected::Done) }.boxed()
    }
}

fn resource(version: &str, spec: Value) -> JoinToken {
    let resource = json!({
        "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
        "metadata": {
            "namespace": "edge", "name": "n1", "uid": "uid-1", "generation": 1, "resourceVersion": version,
            "finalizers": [super::super::view::FINALIZER],
        },
        "spec": spec,
    });
    serde_json::from_value(resource).unwrap()
}

/// An API server that has this resource, its namespace, and no Secret.
fn client(resource: JoinToken) -> Client {
    let service = service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let (code, answer) = match path.as_str() {
            "/api/v1/namespaces/edge" => (
                200,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "edge", "uid": "ns-1"}}),
            ),
            "/apis/jointoken.io/v1alpha1/namespaces/edge/jointokens/n1" => (200, json!(resource)),
            _ => (
                404,
                json!({"status": "Failure", "reason": "NotFound", "code": 404}),
            ),
        };
        let body = Body::from(answer.to_string().into_bytes());
        let response = Response::builder().status(code).body(body).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    Client::new(service, "default")
}

/// A store that is founded and has its key.
async fn founded_store(clock: &ManualClock, key: &SigningKey) -> Arc<InMemoryStore> {
    let store = Arc::new(InMemoryStore::new(Arc::new(clock.clone())));
    let founded = Founded {
        store_id: StoreId([9; 16]),
        epoch: 1,
        trust_domain: "example.org".to_owned(),
        fingerprints: Vec::new(),
    };
    submit(&*store, founded).await.unwrap();
    let adopt = AdoptKey {
        key_id: key.id(),
        purpose: Purpose::Resource,
        fingerprint: key.fingerprint(),
        max_ttl_ms: None,
        node_pattern: None,
    };
    submit(&*store, adopt).await.unwrap();
    store
}

fn reconciler(
    resource: JoinToken,
    store: Arc<dyn TokenStore>,
    effects: Arc<dyn Effects>,
    clock: ManualClock,
    key: SigningKey,
) -> Reconciler {
    Reconciler {
        client: client(resource),
        health: store.health(),
        store: store.clone(),
        effects,
        clock: Arc::new(clock),
        config: ControllerConfig::default(),
        minting: Minting {
            key: Arc::new(key),
            delivery: Delivery {
                door_pin: [3; 32],
                urls: vec!["https://door:8443".to_owned()],
            },
            door_ca_pem: "PEM".to_owned(),
        },
        metrics: Metrics::new(store.health()).controller,
        keys_in_order: watch::Sender::new(true).subscribe(),
        scope: Scope {
            store,
            class: None,
            former: watch::Sender::new(Default::default()).subscribe(),
        },
        rewrites: Rewrites::default(),
        others: Others::default(),
        namespaces: Namespaces::default(),
        latest: Latest::default(),
        same_node: SameNode::default(),
        asked: Asked::default(),
    }
}

/// After a conflict the controller reads the resource itself and may thus be ahead of its watch. The next
/// reconciliation then starts from an older copy than the last one ended with. It once ended the token
/// of the new revision because of the old revision's `revoked`, and took its own re-issue for
/// somebody else's.
#[tokio::test]
async fn nothing_is_proposed_on_an_old_copy() {
    let clock = ManualClock::new(NOW_MS);
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[2; 32]);
    let store = founded_store(&clock, &key).await;
    let now = resource("20", json!({"revision": 2}));
    let register: Register =
        frozen::registration(&now, "ns-1", TokenId([0xab; 16]), key.id()).unwrap();
    submit(&*store, register).await.unwrap();

    let effects = Arc::new(Noted::default());
    let reconciler = reconciler(now, store.clone(), effects.clone(), clock, key);
    let old = resource("10", json!({"revision": 1, "revoked": true}));
    reconciler.reconcile(&old).await.unwrap();
    let noted = effects.0.lock().unwrap().clone();
    assert_eq!(noted, ["create_secret", "write_status", "publish"]);
    let record = store.record(&TokenId([0xab; 16])).unwrap();
    assert_eq!(record.phase, Phase::Issued);
}

/// Whoever fights with the operator and changes the spec each time would have it write as fast as before.
#[tokio::test(start_paused = true)]
async fn what_is_asked_anew_ends_no_pause() {
    let clock = ManualClock::new(NOW_MS);
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[2; 32]);
    let store = founded_store(&clock, &key).await;
    let mut now = resource("20", json!({}));
    let register = frozen::registration(&now, "ns-1", TokenId([0xab; 16]), key.id()).unwrap();
    submit(&*store, register).await.unwrap();
    let effects = Arc::new(Noted::default());
    let reconciler = reconciler(now.clone(), store, effects.clone(), clock, key);
    let changed_at = reconciler.changed_at(&now);
    let pause = loop {
        reconciler.rewrites.note(&now, changed_at);
        if let Some(pause) = reconciler.rewrites.pause(&now, changed_at) {
            break pause.remaining;
        }
    };
    now.metadata.generation = Some(2);
    let noted = || effects.0.lock().unwrap().clone();
    reconciler.reconcile(&now).await.unwrap();
    assert_eq!(noted(), Vec::<&str>::new());
    tokio::time::advance(pause).await;
    reconciler.reconcile(&now).await.unwrap();
    assert_eq!(noted(), ["create_secret", "write_status", "publish"]);
}

/// An API server that has begun to delete the namespace after it was read.
#[derive(Default)]
struct Ending(Noted);

impl Effects for Ending {
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        let done = self.0.perform(resource, effect);
        let Effect::CreateSecret { name, .. } = effect else {
            return done;
        };
        let refusal = json!({
            "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no",
            "details": {"causes": [{"reason": "NamespaceTerminating", "message": "no", "field": ""}]},
        });
        let source = kube::Error::Api(serde_json::from_value(refusal).unwrap());
        let name = name.clone();
        async { Err(Error::CreateSecret { name, source }) }.boxed()
    }
}

#[tokio::test]
async fn a_refusal_tells_that_the_namespace_is_being_deleted() {
    let clock = ManualClock::new(NOW_MS);
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[2; 32]);
    let store = founded_store(&clock, &key).await;
    let now = resource("20", json!({}));
    let register = frozen::registration(&now, "ns-1", TokenId([0xab; 16]), key.id()).unwrap();
    submit(&*store, register).await.unwrap();
    let effects = Arc::new(Ending::default());
    let reconciler = reconciler(now.clone(), store, effects.clone(), clock, key);
    reconciler.reconcile(&now).await.unwrap();
    let noted = effects.0.0.lock().unwrap().clone();
    // It is refused once, and no event is tried that would be refused, too.
    assert_eq!(noted, ["create_secret", "write_status"]);
}

/// A replica that has just begun to lead and has not applied everything yet: what it answers is old, until a barrier.
struct Behind {
    now: Arc<InMemoryStore>,
    old: InMemoryStore,
    has_caught_up: AtomicBool,
}

impl Behind {
    fn store(&self) -> &InMemoryStore {
        match self.has_caught_up.load(Ordering::SeqCst) {
            true => &self.now,
            false => &self.old,
        }
    }
}

impl TokenStore for Behind {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        self.now.propose(operation)
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.has_caught_up.store(true, Ordering::SeqCst);
        self.now.barrier()
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.store().record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.store().issuance(issuance)
    }

    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        self.store().live_part(from)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.store().keys()
    }

    fn key(&self, key_id: &KeyId) -> Option<AdoptKey> {
        self.store().key(key_id)
    }

    fn key_count(&self) -> usize {
        self.store().key_count()
    }

    fn founded(&self) -> Option<Founded> {
        self.store().founded()
    }

    fn restored_at(&self) -> Option<u64> {
        self.store().restored_at()
    }

    fn settings(&self) -> Settings {
        self.store().settings()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.now.changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.now.health()
    }
}

/// Whether anything was committed is seen by the store's own index.
#[tokio::test]
async fn a_replica_that_is_behind_is_not_taken_for_a_store_that_was_set_back() {
    let clock = ManualClock::new(NOW_MS);
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[2; 32]);
    let store = founded_store(&clock, &key).await;
    let mut resource = resource("20", json!({}));
    let register =
        |id| frozen::registration(&resource, "ns-1", TokenId([id; 16]), key.id()).unwrap();
    submit(&*store, register(0xab)).await.unwrap();
    let old = InMemoryStore::with_state(Arc::new(clock.clone()), store.state());
    let before = store.record(&TokenId([0xab; 16])).unwrap().changed_at_index;
    let begin = Begin {
        token_id: TokenId([0xab; 16]),
        joiner: JoinerId([5; 32]),
        holder: [5; 16],
        address: None,
        registration: None,
    };
    submit(&*store, begin).await.unwrap();
    let claimed = store.record(&TokenId([0xab; 16])).unwrap();
    assert!(claimed.changed_at_index > before);
    resource.status = serde_json::from_value(json!({
        "phase": "InFlight", "revision": 1, "reissues": 0, "tokenId": "ab".repeat(16),
        "storeId": "09".repeat(16), "storeEpoch": 1, "storeIndex": claimed.changed_at_index,
    }))
    .unwrap();
    for (is_behind, record) in [(true, Phase::InFlight), (false, Phase::Aborted)] {
        let behind = Arc::new(Behind {
            now: match is_behind {
                true => store.clone(),
                // It will never know more.
                false => {
                    let state = old.state();
                    Arc::new(InMemoryStore::with_state(Arc::new(clock.clone()), state))
                }
            },
            old: InMemoryStore::with_state(Arc::new(clock.clone()), old.state()),
            has_caught_up: AtomicBool::new(false),
        });
        let effects = Arc::new(Noted::default());
        let reconciler = reconciler(
            resource.clone(),
            behind.clone(),
            effects.clone(),
            clock.clone(),
            key.clone(),
        );
        // What is noted is not done, so that a token is to be ended for ever.
        let _ = reconciler.reconcile(&resource).await;
        let noted = effects.0.lock().unwrap().clone();
        assert!(behind.has_caught_up.load(Ordering::SeqCst));
        assert_eq!(
            noted.contains(&"abort"),
            record == Phase::Aborted,
            "{noted:?}"
        );
    }
}

/// Each edit of such a status once cost a commit.
#[tokio::test(start_paused = true)]
async fn a_status_that_stays_ahead_has_the_store_asked_once_a_minute() {
    let clock = ManualClock::new(NOW_MS);
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[2; 32]);
    let store = founded_store(&clock, &key).await;
    let mut resource = resource("20", json!({}));
    let token_id = TokenId([0xab; 16]);
    let register = frozen::registration(&resource, "ns-1", token_id, key.id()).unwrap();
    submit(&*store, register).await.unwrap();
    let abort = Abort {
        token_id,
        reason: Reason::Restored,
        keep_until_ms: None,
    };
    submit(&*store, abort).await.unwrap();
    let behind = Arc::new(Behind {
        now: store.clone(),
        old: InMemoryStore::with_state(Arc::new(clock.clone()), store.state()),
        has_caught_up: AtomicBool::new(false),
    });
    let effects = Arc::new(Noted::default());
    let reconciler = reconciler(resource.clone(), behind.clone(), effects, clock, key);
    for (index, is_asked) in [
        (40, true),
        (41, false),
        (42, false),
        (43, true),
        (44, false),
    ] {
        resource.status = serde_json::from_value(json!({
            "phase": "Aborted", "revision": 1, "reissues": 0, "tokenId": token_id.to_string(),
            "storeId": "09".repeat(16), "storeEpoch": 1, "storeIndex": 1u64 << index,
        }))
        .unwrap();
        if index == 43 {
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        behind.has_caught_up.store(false, Ordering::SeqCst);
        let _ = reconciler.reconcile(&resource).await;
        let was_asked = behind.has_caught_up.load(Ordering::SeqCst);
        assert_eq!(was_asked, is_asked, "{index}");
    }
}

//! A reconciliation on a watch's copy that is behind.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::clock::ManualClock;
use crate::controller::{Effect, Minting};
use crate::lifecycle::Phase;
use crate::lifecycle::command::{AdoptKey, Founded, Register};
use crate::store::reference::InMemoryStore;
use crate::store::submit;
use crate::telemetry::metrics::Metrics;
use crate::token::{Delivery, KeyId, Purpose, SigningKey, StoreId};

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

/// After a conflict the controller reads the resource itself and may thus be ahead of its watch. The next
/// reconciliation then starts from an older copy than the last one ended with. It once ended the token
/// of the new revision because of the old revision's `revoked`, and took its own re-issue for
/// somebody else's.
#[tokio::test]
async fn nothing_is_proposed_on_an_old_copy() {
    let clock = ManualClock::new(NOW_MS);
    let store = Arc::new(InMemoryStore::new(Arc::new(clock.clone())));
    let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[2; 32]);
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
    let now = resource("20", json!({"revision": 2}));
    let register: Register =
        frozen::registration(&now, "ns-1", TokenId([0xab; 16]), key.id()).unwrap();
    submit(&*store, register).await.unwrap();

    let effects = Arc::new(Noted::default());
    let reconciler = Reconciler {
        client: client(now),
        health: store.health(),
        store: store.clone(),
        effects: effects.clone(),
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
        namespaces: Namespaces::default(),
        latest: Latest::default(),
    };
    let old = resource("10", json!({"revision": 1, "revoked": true}));
    reconciler.reconcile(&old).await.unwrap();
    let noted = effects.0.lock().unwrap().clone();
    assert_eq!(noted, ["create_secret", "write_status", "publish"]);
    let record = store.record(&TokenId([0xab; 16])).unwrap();
    assert_eq!(record.phase, Phase::Issued);
}

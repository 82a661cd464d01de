//! Where one test plays: a namespace of its own on the real API server, a store in memory whose clock
//! stands where the test sets it, and operators that watch that namespace alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use jointoken::api::{JoinToken, JoinTokenStatus};
use jointoken::clock::{Clock, ManualClock};
use jointoken::controller::{ControllerConfig, Effects, FormerStores, Minting, Operator};
use jointoken::lifecycle::command::{AdoptKey, Begin, Bindings, Consume, Founded, Register, Sweep};
use jointoken::lifecycle::outcome::{BeginOutcome, ConsumeOutcome};
use jointoken::lifecycle::{Issuance, IssuanceEntry, Record};
use jointoken::store::reference::InMemoryStore;
use jointoken::store::{Health, TokenStore, submit};
use jointoken::telemetry::metrics::Metrics;
use jointoken::token::{
    Delivery, JoinerId, KeyId, KeyRing, Presented, Purpose, SigningKey, StoreId, TokenId, Verified,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::{log, marks};

/// Far more than anything here takes; a test that hangs says what it waited for.
const PATIENCE: Duration = Duration::from_secs(60);
pub const START_MS: u64 = 1_800_000_000_000;
pub const STORE: StoreId = StoreId([9; 16]);
pub const MINUTE_MS: u64 = 60_000;
pub const URL: &str = "https://door.example:8443";
pub const DOOR_CA: &str = "-----BEGIN CERTIFICATE-----\nnot read here\n-----END CERTIFICATE-----\n";

pub struct Ground {
    pub client: Client,
    pub namespace: String,
    pub clock: ManualClock,
    pub store: Arc<dyn TokenStore>,
    pub minting: Minting,
    pub config: ControllerConfig,
    /// The stores whose resources the operators here have taken over.
    pub former_stores: FormerStores,
}

impl Ground {
    /// With the reference store.
    pub async fn new(test: &str) -> Self {
        Self::with_memory(test).await.0
    }

    /// With the reference store, and that store.
    pub async fn with_memory(test: &str) -> (Self, Arc<InMemoryStore>) {
        let clock = ManualClock::new(START_MS);
        let store = Arc::new(InMemoryStore::new(Arc::new(clock.clone())));
        (Self::on(test, store.clone(), clock).await, store)
    }

    /// With this store, which is told of its founding, and its clock.
    pub async fn on(test: &str, store: Arc<dyn TokenStore>, clock: ManualClock) -> Self {
        log::listen();
        let client = Client::try_from(admin().await).expect("a client");
        let namespace = json!({"metadata": {"generateName": format!("{test}-")}});
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        let created = Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await;
        let namespace = created.expect("creating a namespace").name_any();
        let key = SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[0x5a; 32]);
        let ground = Self {
            client,
            config: ControllerConfig {
                namespaces: vec![namespace.clone()],
                ..ControllerConfig::default()
            },
            namespace,
            former_stores: FormerStores::default(),
            clock,
            store,
            minting: Minting {
                key: Arc::new(key),
                delivery: Delivery {
                    door_pin: [7; 32],
                    urls: vec![URL.to_owned()],
                },
                door_ca_pem: DOOR_CA.to_owned(),
            },
        };
        ground.found().await;
        ground
    }

    /// The store is lost, and another one takes its place, in the same epoch since nobody could tell of the former.
    pub async fn found_anew(&mut self) {
        self.store = Arc::new(InMemoryStore::new(Arc::new(self.clock.clone())));
        self.found().await;
    }

    /// Another store, with keys of its own, whose operator serves the same namespace.
    pub async fn beside(&self, store_id: StoreId, epoch: u64) -> Self {
        let key = SigningKey::from_bytes(Purpose::Resource, KeyId([2; 8]), &[0x6b; 32]);
        let store = Arc::new(InMemoryStore::new(Arc::new(self.clock.clone())));
        let beside = Self {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            clock: self.clock.clone(),
            store,
            minting: Minting {
                key: Arc::new(key),
                ..self.minting.clone()
            },
            config: self.config.clone(),
            former_stores: FormerStores::default(),
        };
        beside.found_as(store_id, epoch).await;
        beside
    }

    async fn found(&self) {
        self.found_as(STORE, 1).await;
    }

    async fn found_as(&self, store_id: StoreId, epoch: u64) {
        let founded = Founded {
            store_id,
            epoch,
            trust_domain: "example.org".to_owned(),
            fingerprints: Vec::new(),
        };
        submit(&*self.store, founded).await.unwrap();
        let adopt = AdoptKey {
            key_id: self.minting.key.id(),
            purpose: Purpose::Resource,
            fingerprint: self.minting.key.fingerprint(),
            max_ttl_ms: None,
            node_pattern: None,
        };
        submit(&*self.store, adopt).await.unwrap();
    }

    /// Starts an operator for the namespace.
    pub fn operator(&self) -> Running {
        self.operator_with(self.client.clone(), |effects| effects)
    }

    /// Starts an operator as somebody, with something around its effects.
    pub fn operator_with(
        &self,
        client: Client,
        around: impl FnOnce(Arc<dyn Effects>) -> Arc<dyn Effects>,
    ) -> Running {
        self.run(client, |operator| operator.with_effects(around))
    }

    /// Starts an operator as somebody, with something else about it.
    pub fn run(&self, client: Client, change: impl FnOnce(Operator) -> Operator) -> Running {
        let metrics = Metrics::new(watch::channel(Health::default()).1);
        let operator = Operator::new(
            client,
            self.store.clone(),
            self.config.clone(),
            self.minting.clone(),
            Arc::new(self.clock.clone()),
            metrics.controller.clone(),
        );
        let former = watch::channel(self.former_stores.clone()).1;
        let operator = operator.with_former_stores(former);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(change(operator).run(stopped.map(|_| ())));
        Running {
            stop,
            task,
            metrics,
        }
    }

    pub fn resources(&self) -> Api<JoinToken> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `n1` of this namespace as it would be registered; the hash does not matter to whoever asks for this.
    pub fn registration(&self, namespace: &str) -> Register {
        Register {
            issuance: Issuance {
                namespace: namespace.to_owned(),
                name: "n1".to_owned(),
            },
            namespace_uid: "uid".to_owned(),
            revision: 1,
            spec_hash: [7; 32],
            revoked: false,
            reissue_if_unused: false,
            token_id: TokenId([0xab; 16]),
            key_id: self.minting.key.id(),
            node_name: "n1".to_owned(),
            ttl_ms: 3_600_000,
            in_flight_timeout_ms: None,
            max_claims: None,
            bindings: Bindings::default(),
        }
    }

    pub async fn create(&self, name: &str, spec: Value) -> JoinToken {
        let resource = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": { "name": name }, "spec": spec,
        });
        let resource: JoinToken = serde_json::from_value(resource).unwrap();
        let created = self
            .resources()
            .create(&PostParams::default(), &resource)
            .await;
        created.expect("creating a JoinToken")
    }

    pub async fn patch(&self, name: &str, patch: Value) -> JoinToken {
        let params = PatchParams::default();
        let patched = self
            .resources()
            .patch(name, &params, &Patch::Merge(&patch))
            .await;
        patched.expect("patching a JoinToken")
    }

    /// Changes something that means nothing, so that the operator looks at the resource.
    pub async fn poke(&self, name: &str) {
        let resource = self.resources().get(name).await.unwrap();
        let version = resource.metadata.resource_version;
        self.patch(
            name,
            json!({"metadata": {"annotations": {"test/poked-at": version}}}),
        )
        .await;
    }

    pub async fn delete(&self, name: &str) {
        let deleted = self
            .resources()
            .delete(name, &DeleteParams::default())
            .await;
        deleted.expect("deleting a JoinToken");
    }

    /// Deletes a resource behind the operator's back, its finalizer torn off, and creates it again.
    pub async fn recreate(&self, name: &str, spec: Value) {
        let there = self.resources().get(name).await.unwrap();
        let release = json!({"metadata": {"finalizers": null}});
        self.patch(name, release).await;
        self.delete(name).await;
        self.wait_gone(&there).await;
        self.create(name, spec).await;
    }

    /// Waits until the resource is as it should be.
    pub async fn wait(
        &self,
        name: &str,
        what: impl Debug,
        is_so: impl Fn(&JoinToken, &JoinTokenStatus) -> bool,
    ) -> JoinToken {
        let condition = |resource: Option<&JoinToken>| {
            resource.is_some_and(|resource| {
                is_so(resource, &resource.status.clone().unwrap_or_default())
            })
        };
        let waiting = await_condition(self.resources(), name, condition);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found.expect("watching").expect("the condition needs it"),
            Err(_) => {
                let now = self.resources().get_opt(name).await.unwrap();
                panic!("{name} did not become {what:?}; it is {now:#?}");
            }
        }
    }

    /// Waits for what no watch on the resource tells.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    /// Waits until the phase is this, reported at the resource's generation.
    pub async fn wait_for_phase(&self, name: &str, phase: &str) -> JoinToken {
        self.wait(name, phase, |resource, status| {
            status.phase.is_some_and(|is| is.as_str() == phase)
                && Some(status.observed_generation) == resource.metadata.generation
        })
        .await
    }

    /// Waits until a condition has this status and reason.
    pub async fn wait_for(&self, name: &str, kind: &str, is: &str, reason: &str) -> JoinToken {
        self.wait(name, (kind, is, reason), |_, status| {
            status
                .conditions
                .iter()
                .any(|c| c.type_ == kind && c.status == is && c.reason == reason)
        })
        .await
    }

    pub async fn wait_gone(&self, resource: &JoinToken) {
        let uid = resource.uid().unwrap();
        let name = resource.name_any();
        let waiting = await_condition(self.resources(), &name, conditions::is_deleted(&uid));
        let gone = tokio::time::timeout(PATIENCE, waiting).await;
        gone.unwrap_or_else(|_| panic!("{name} is still there"))
            .expect("watching");
    }

    pub async fn wait_secret_gone(&self, name: &str) {
        let absent = |secret: Option<&Secret>| secret.is_none();
        let waiting = await_condition(self.secrets(), name, absent);
        let gone = tokio::time::timeout(PATIENCE, waiting).await;
        gone.unwrap_or_else(|_| panic!("the Secret {name} is still there"))
            .expect("watching");
    }

    /// The data of the Secret of a resource with the default name.
    pub async fn secret_data(&self, resource: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let name = format!("{resource}-join-token");
        let secret = self.secrets().get_opt(&name).await.unwrap()?;
        let data = secret.data.unwrap_or_default();
        Some(
            data.into_iter()
                .map(|(key, value)| (key, value.0))
                .collect(),
        )
    }

    /// The token out of the Secret, verified as the door would.
    pub async fn verified_token(&self, resource: &str) -> Verified {
        let data = self.secret_data(resource).await.expect("the Secret");
        let text = std::str::from_utf8(&data["token"]).unwrap();
        let presented = Presented::parse(text).expect("a well-formed token");
        let mut ring = KeyRing::new();
        ring.insert((*self.minting.key).clone()).unwrap();
        let audience = self.store.founded().unwrap().store_id.audience();
        ring.verify(&presented, audience, self.clock.now_ms())
            .expect("a valid token")
    }

    pub fn entry(&self, name: &str) -> Option<IssuanceEntry> {
        self.store.issuance(&Issuance {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        })
    }

    pub fn record(&self, name: &str) -> Record {
        let entry = self.entry(name).expect("the issuance is known");
        self.store
            .record(&entry.token_id)
            .expect("the record is known")
    }

    /// Time passes, and the store's leader does what is due.
    pub async fn pass(&self, by_ms: u64) {
        self.clock.advance(by_ms);
        submit(&*self.store, Sweep { limit: 1_000 }).await.unwrap();
    }

    pub async fn begin(&self, token_id: TokenId, joiner: u8) -> BeginOutcome {
        let begin = Begin {
            token_id,
            joiner: JoinerId([joiner; 32]),
            holder: [joiner; 16],
            address: Some([192, 0, 2, joiner].into()),
            registration: None,
        };
        submit(&*self.store, begin).await.unwrap()
    }

    /// A machine is admitted with the token of the resource.
    pub async fn admit(&self, name: &str, joiner: u8) {
        let token_id = self.entry(name).expect("the issuance is known").token_id;
        let BeginOutcome::Granted { attempt, .. } = self.begin(token_id, joiner).await else {
            panic!("the claim was not granted");
        };
        let consume = Consume {
            token_id,
            joiner: JoinerId([joiner; 32]),
            attempt,
            leaf: b"certificate".to_vec(),
        };
        let consumed = submit(&*self.store, consume).await.unwrap();
        assert!(
            matches!(consumed, ConsumeOutcome::Admitted { .. }),
            "{consumed:?}"
        );
    }

    /// The reasons of the events about a resource, in order; waits until there are so many.
    pub async fn event_reasons(&self, name: &str, count: usize) -> Vec<String> {
        let events = self.events(name, count).await;
        events
            .into_iter()
            .filter_map(|event| event.reason)
            .collect()
    }

    /// The events about a resource, in order; waits until there are so many.
    pub async fn events(&self, name: &str, count: usize) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        for _ in 0..600 {
            let events = api.list(&ListParams::default()).await.unwrap();
            let mut events: Vec<Event> = events
                .into_iter()
                .filter(|event| {
                    event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name)
                })
                .collect();
            if events.len() >= count {
                events.sort_by(|a, b| a.event_time.cmp(&b.event_time));
                return events;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there never were {count} events about {name}");
    }

    /// Changes the status as somebody might who has the right to.
    pub async fn forge_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        let params = PatchParams::default();
        let patched = self.untyped().patch_status(name, &params, &patch).await;
        patched.expect("the API server takes it");
    }

    /// For what the types cannot read.
    pub fn untyped(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<JoinToken>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// Takes a resource away, whatever holds it.
    pub async fn discard(&self, name: &str) {
        let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let api = self.untyped();
        let deleted = match api.patch(name, &PatchParams::default(), &release).await {
            Ok(_) => api.delete(name, &DeleteParams::default()).await.map(drop),
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => panic!("{name} stays: {error}"),
        }
    }

    /// What users have read is prose.
    async fn check_what_was_said(&self) {
        log::check();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        for event in api.list(&ListParams::default()).await.unwrap() {
            marks::check(&event.note.unwrap_or_default());
        }
        for resource in self.untyped().list(&ListParams::default()).await.unwrap() {
            let conditions = &resource.data["status"]["conditions"];
            for condition in conditions.as_array().into_iter().flatten() {
                marks::check(condition["message"].as_str().unwrap_or_default());
            }
        }
    }

    /// Gives the namespace back. No operator is there any more that would take its finalizers away, and
    /// they would hold the namespace for ever.
    pub async fn remove(self) {
        self.check_what_was_said().await;
        for resource in self.untyped().list(&ListParams::default()).await.unwrap() {
            self.discard(&resource.name_any()).await;
        }
        let namespaces: Api<Namespace> = Api::all(self.client);
        let deleted = namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await;
        deleted.expect("deleting the namespace");
    }
}

/// An operator at work.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    pub metrics: Metrics,
}

impl Running {
    /// Stops it; what it is doing is finished.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        // Sooner than it gives up what does not end: nothing here takes so long.
        let stopped = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        stopped
            .expect("the operator did not stop")
            .expect("the operator panicked");
    }
}

/// The cluster's administrator.
///
/// # Panics
///
/// Without a cluster: a test that could not run must not look like one that passed.
pub async fn admin() -> Config {
    let path = std::env::var("JOINTOKEN_TEST_KUBECONFIG").unwrap_or_else(|_| {
        panic!(
            "JOINTOKEN_TEST_KUBECONFIG is not set, this test needs a Kubernetes API: run `cargo xtask test`"
        )
    });
    let kubeconfig = Kubeconfig::read_from(PathBuf::from(path)).expect("reading the kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.expect("a usable kubeconfig")
}

/// A condition as (status, reason), and its message.
pub fn condition<'a>(resource: &'a JoinToken, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = &resource.status.as_ref()?.conditions;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((&found.status, &found.reason, &found.message))
}

/// The conditions as `type=status/reason`.
pub fn conditions(resource: &JoinToken) -> Vec<String> {
    let conditions = &resource.status.as_ref().unwrap().conditions;
    conditions
        .iter()
        .map(|c| format!("{}={}/{}", c.type_, c.status, c.reason))
        .collect()
}

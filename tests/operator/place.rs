//! Where one test plays: a namespace for JoinTokens, one for the operator's own objects, and a folder for
//! its store.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use jointoken::api::{JoinToken, JoinTokenStatus};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Ground, variable};
use crate::port;
use crate::server::{Server, Setup};

/// Far more than anything here takes; a test that hangs says what it waited for.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Place {
    /// Where the JoinTokens are.
    pub tokens: Ground,
    /// Where the operator keeps its keys.
    pub system: Ground,
    folder: TempDir,
    pub door_port: u16,
    metrics_port: u16,
    probe_port: u16,
}

impl Place {
    pub async fn new(test: &str) -> Self {
        Self {
            tokens: Ground::new(test).await,
            system: Ground::new(&format!("{test}-system")).await,
            folder: tempfile::tempdir().expect("a folder"),
            door_port: port::reserve(),
            metrics_port: port::reserve(),
            probe_port: port::reserve(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// How the operator is started here, as the cluster's administrator.
    pub fn setup(&self) -> Setup {
        self.setup_with(&[])
    }

    pub fn setup_with(&self, more: &[&str]) -> Setup {
        let door = format!("127.0.0.1:{}", self.door_port);
        let arguments = [
            "operator",
            "--data-dir",
            &self.data().display().to_string(),
            "--namespace",
            &self.tokens.namespace,
            "--system-namespace",
            &self.system.namespace,
            "--trust-domain",
            "prod.example",
            "--listen",
            &door,
            "--advertise-url",
            &format!("https://{door}"),
            "--metrics-listen",
            &format!("127.0.0.1:{}", self.metrics_port),
            "--probe-listen",
            &format!("127.0.0.1:{}", self.probe_port),
        ];
        let arguments = arguments.iter().chain(more);
        let kubeconfig = variable("JOINTOKEN_TEST_KUBECONFIG");
        Setup {
            arguments: arguments.map(|&argument| argument.to_owned()).collect(),
            environment: vec![("KUBECONFIG".to_owned(), kubeconfig)],
            metrics_port: self.metrics_port,
            probe_port: self.probe_port,
            log: self.path("log"),
            program: None,
        }
    }

    /// Starts the operator and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Server {
        self.setup().start()
    }

    pub fn resources(&self) -> Api<JoinToken> {
        Api::namespaced(self.tokens.client.clone(), &self.tokens.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.tokens.client.clone(), &self.tokens.namespace)
    }

    /// The operator's own Secrets.
    pub fn keys(&self) -> Api<Secret> {
        Api::namespaced(self.system.client.clone(), &self.system.namespace)
    }

    pub async fn create(&self, name: &str, spec: Value) -> JoinToken {
        let resource = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": { "name": name }, "spec": spec,
        });
        let resource: JoinToken = serde_json::from_value(resource).unwrap();
        let params = PostParams::default();
        let created = self.resources().create(&params, &resource).await;
        created.expect("creating a JoinToken")
    }

    pub async fn patch(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams::default();
        let patched = self.resources().patch(name, &params, &patch).await;
        patched.expect("patching a JoinToken");
    }

    /// Deletes the resource and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        let resource = self.resources().get(name).await.unwrap();
        let deleted = self
            .resources()
            .delete(name, &DeleteParams::default())
            .await;
        deleted.expect("deleting a JoinToken");
        let uid = resource.uid().unwrap();
        let gone = await_condition(self.resources(), name, conditions::is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone)
            .await
            .unwrap_or_else(|_| panic!("{name} is still there"))
            .expect("watching");
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

    /// Waits until the phase is this, reported of the resource as it is now.
    pub async fn wait_for_phase(&self, name: &str, phase: &str) -> JoinToken {
        self.wait(name, phase, |resource, status| {
            status.phase.is_some_and(|is| is.as_str() == phase)
                && Some(status.observed_generation) == resource.metadata.generation
        })
        .await
    }

    /// Waits until a condition is True or False for this reason, and returns its message.
    pub async fn wait_for(&self, name: &str, kind: &str, is: &str, reason: &str) -> String {
        let resource = self
            .wait(name, (kind, is, reason), |resource, status| {
                Some(status.observed_generation) == resource.metadata.generation
                    && status
                        .conditions
                        .iter()
                        .any(|c| c.type_ == kind && c.status == is && c.reason == reason)
            })
            .await;
        let conditions = resource.status.unwrap_or_default().conditions;
        let mut found = conditions.into_iter().filter(|c| c.type_ == kind);
        found.next().expect("just seen").message
    }

    /// A JoinToken that is Issued, and its token.
    pub async fn issue(&self, name: &str, spec: Value) -> String {
        self.create(name, spec).await;
        self.wait_for_phase(name, "Issued").await;
        self.token(name).await
    }

    /// The Secret of a resource, with the name that it has by default.
    pub async fn secret(&self, name: &str) -> Option<Secret> {
        let name = format!("{name}-join-token");
        self.secrets().get_opt(&name).await.unwrap()
    }

    /// The token out of its Secret.
    pub async fn token(&self, name: &str) -> String {
        let secret = self.secret(name).await.expect("the Secret");
        let data = secret.data.unwrap_or_default();
        String::from_utf8(data["token"].0.clone()).expect("text")
    }

    /// Waits until there is an event about the resource with each of these reasons; returns all of them.
    pub async fn wait_for_events(&self, name: &str, reasons: &[&str]) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.tokens.client.clone(), &self.tokens.namespace);
        let started = tokio::time::Instant::now();
        loop {
            let mut events = api.list(&ListParams::default()).await.unwrap().items;
            events.retain(|event| {
                let regarding = event.regarding.as_ref();
                regarding.and_then(|about| about.name.as_deref()) == Some(name)
            });
            let there = |reason| events.iter().any(|e| e.reason.as_deref() == Some(reason));
            if reasons.iter().all(|reason| there(*reason)) {
                return events;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{reasons:?} are missing: {events:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives the namespaces back. No operator is left to take its finalizers away: they would hold the namespace for ever.
    pub async fn remove(self) {
        let resources = self.resources();
        let all = resources.list(&ListParams::default()).await.unwrap();
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        for resource in all.items {
            let name = resource.name_any();
            // It may have gone meanwhile.
            let _ = resources
                .patch(&name, &PatchParams::default(), &patch)
                .await;
        }
        self.tokens.remove().await;
        self.system.remove().await;
    }
}

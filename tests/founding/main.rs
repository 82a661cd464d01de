//! Founding with its keys in Secrets and its mark in a ConfigMap of a real API server.
//!
//! Run by `cargo xtask test`.

#[path = "../api_rules/cluster.rs"]
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod cluster;

use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _, ready};
use jointoken::clock::ManualClock;
use jointoken::controller::{FoundingConfigMap, SecretVault};
use jointoken::founding::{
    FoundingError, Identity, IfAbsent, ItemName, OnDisk, Opened, Site, found_or_open,
};
use jointoken::pki::TrustDomain;
use jointoken::store::reference::InMemoryStore;
use jointoken::store::{OpenError, TokenStore};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use cluster::Ground;

const NOW: u64 = 1_790_000_000_000;

/// A replica whose store stands in for the real one: this is about the API server.
struct Replica {
    ground: Ground,
    store: Arc<InMemoryStore>,
}

impl Replica {
    async fn new(test: &str) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        Self {
            ground: Ground::new(test).await,
            store: Arc::new(InMemoryStore::new(clock)),
        }
    }

    async fn start(&self, data: &Path) -> Result<Opened, FoundingError> {
        let (client, namespace) = (&self.ground.client, &self.ground.namespace);
        let vault = SecretVault::new(client.clone(), namespace, "jointoken");
        let object = FoundingConfigMap::new(client.clone(), namespace, "jointoken");
        let store = self.store.clone();
        let data = OnDisk::new(data, move |_: &Identity, _: IfAbsent| {
            let store: Arc<dyn TokenStore> = store.clone();
            let opened: BoxFuture<'_, Result<_, OpenError>> = ready(Ok(store)).boxed();
            opened
        })?;
        found_or_open(Site {
            data: &data,
            vault: &vault,
            object: Some(&object),
            former: None,
            trust_domain: &TrustDomain::parse("prod.example.com").unwrap(),
            clock: &ManualClock::new(NOW),
        })
        .await
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.ground.client.clone(), &self.ground.namespace)
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.ground.client.clone(), &self.ground.namespace)
    }
}

#[tokio::test]
async fn the_keys_are_immutable_secrets_of_their_store_and_are_found_again() {
    let replica = Replica::new("founding").await;
    let folder = tempfile::tempdir().unwrap();
    let first = replica.start(folder.path()).await.unwrap();
    assert!(first.founded_now);
    let store_id = first.identity.store_id.to_string();
    for name in ItemName::ALL {
        let secret = replica.secrets().get(&format!("jointoken-{name}")).await;
        let secret = secret.unwrap();
        assert_eq!(secret.annotations()["jointoken.io/store-id"], store_id);
        assert_eq!(secret.immutable, Some(true));
    }
    let object = replica.config_maps().get("jointoken-founding").await;
    let data = object.unwrap().data.unwrap();
    assert_eq!(data["store-id"], store_id);
    assert_eq!(data["epoch"], "1");

    let second = replica.start(folder.path()).await.unwrap();
    assert!(!second.founded_now);
    assert_eq!(
        second.material.members.fingerprint(),
        first.material.members.fingerprint()
    );
    assert_eq!(
        second.material.resource_key.fingerprint(),
        first.material.resource_key.fingerprint()
    );
    replica.ground.remove().await;
}

#[tokio::test]
async fn a_secret_that_vanished_is_named_and_not_made_anew() {
    let replica = Replica::new("founding-lost").await;
    let folder = tempfile::tempdir().unwrap();
    replica.start(folder.path()).await.unwrap();
    let name = "jointoken-members-ca";
    let deleted = replica
        .secrets()
        .delete(name, &DeleteParams::default())
        .await;
    deleted.unwrap();
    let said = replica
        .start(folder.path())
        .await
        .err()
        .unwrap()
        .to_string();
    let place = format!("Secret {}/{name}", replica.ground.namespace);
    assert!(
        said.contains("members-ca is missing") && said.contains(&place),
        "{said}"
    );
    assert!(replica.secrets().get_opt(name).await.unwrap().is_none());
    replica.ground.remove().await;
}

#[tokio::test]
async fn an_empty_folder_in_a_namespace_with_a_founding_founds_nothing() {
    let replica = Replica::new("founding-empty").await;
    let folder = tempfile::tempdir().unwrap();
    let first = replica.start(folder.path()).await.unwrap();
    let empty = tempfile::tempdir().unwrap();
    let error = replica.start(empty.path()).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::EmptyFolder { .. }),
        "{error}"
    );
    let said = error.to_string();
    assert!(
        said.contains(&first.identity.store_id.to_string()),
        "{said}"
    );
    assert!(!empty.path().join("identity").exists());
    replica.ground.remove().await;
}

#[tokio::test]
async fn a_secret_of_somebody_elses_is_not_overwritten() {
    let replica = Replica::new("founding-taken").await;
    let theirs = serde_json::json!({
        "metadata": {"name": "jointoken-peers-ca"},
        "stringData": {"tls.key": "theirs"},
    });
    let theirs: Secret = serde_json::from_value(theirs).unwrap();
    let created = replica
        .secrets()
        .create(&PostParams::default(), &theirs)
        .await;
    created.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = replica
        .start(folder.path())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.contains("jointoken-peers-ca") && said.contains("is not one of a store's keys"),
        "{said}"
    );
    let left = replica.secrets().get("jointoken-peers-ca").await.unwrap();
    assert_eq!(left.data.unwrap()["tls.key"].0, b"theirs");
    assert!(!folder.path().join("identity").exists());
    replica.ground.remove().await;
}

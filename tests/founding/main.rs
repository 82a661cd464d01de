//! Founding with its keys in Secrets and its mark in a ConfigMap of a real API server.
//!
//! Run by `cargo xtask test`.

#[path = "../api_rules/cluster.rs"]
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod cluster;
#[path = "../marks/log.rs"]
mod log;
#[path = "../marks/marks.rs"]
mod marks;

mod edited;
mod mortal;
mod replacing;
mod restoring;

use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _, LocalBoxFuture, ready};
use jointoken::clock::ManualClock;
use jointoken::controller::{FoundingConfigMap, SecretVault};
use jointoken::founding::{
    Cluster, FolderVault, FormerEpochs, FoundingError, FoundingObject, Identity, IfAbsent,
    ItemName, OnDisk, Opened, Site, Stranger, ToldEpochs, Vault, VaultError, found_or_open,
};
use jointoken::pki::TrustDomain;
use jointoken::store::reference::InMemoryStore;
use jointoken::store::{OpenError, TokenStore};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use cluster::Ground;
use mortal::{Death, Life, Mortal};

const NOW: u64 = 1_790_000_000_000;

/// A replica whose store stands in for the real one: this is about the API server.
struct Replica {
    ground: Ground,
    store: Arc<InMemoryStore>,
}

impl Replica {
    async fn new(test: &str) -> Self {
        log::listen();
        Self {
            ground: Ground::new(test).await,
            store: new_store(),
        }
    }

    async fn start(&self, data: &Path) -> Result<Opened, FoundingError> {
        self.live(data, &Life::new(Death::Never)).await
    }

    /// Starts a process with this life.
    async fn live(&self, data: &Path, life: &Arc<Life>) -> Result<Opened, FoundingError> {
        let (client, namespace) = (&self.ground.client, &self.ground.namespace);
        let vault = SecretVault::new(client.clone(), namespace, "jointoken");
        let object = FoundingConfigMap::new(client.clone(), namespace, "jointoken");
        found(data, life, &self.store, vault, Some(object)).await
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.ground.client.clone(), &self.ground.namespace)
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.ground.client.clone(), &self.ground.namespace)
    }
}

/// Founds or opens on disk, as a process with this life.
async fn found(
    data: &Path,
    life: &Arc<Life>,
    store: &Arc<InMemoryStore>,
    vault: impl Vault,
    object: Option<FoundingConfigMap>,
) -> Result<Opened, FoundingError> {
    fn mortal<T>(life: &Arc<Life>, it: T) -> Mortal<T> {
        let life = life.clone();
        Mortal { life, it }
    }
    let store = store.clone();
    let data = OnDisk::new(data, move |_: &Identity, _: IfAbsent| {
        let store: Arc<dyn TokenStore> = store.clone();
        let opened: LocalBoxFuture<'_, Result<_, OpenError>> = ready(Ok(store)).boxed_local();
        opened
    })?;
    let object = object.map(|object| mortal(life, object));
    let opened = found_or_open(Site {
        group: None,
        data: &mortal(life, data),
        vault: &mortal(life, vault),
        object: object.as_ref().map(|object| object as &dyn FoundingObject),
        former: None,
        trust_domain: &TrustDomain::parse("prod.example.com").unwrap(),
        clock: &ManualClock::new(NOW),
    })
    .await;
    said_in_prose(opened)
}

/// What went wrong, and what was logged, is told to people.
fn said_in_prose<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, E> {
    if let Err(error) = &result {
        marks::check(&error.to_string());
    }
    log::check();
    result
}

/// What comes of a founding, for comparing.
fn prints(opened: &Opened) -> (Identity, [Vec<u8>; 5]) {
    let material = &opened.material;
    let prints = [
        material.door.fingerprint().to_vec(),
        material.members.fingerprint().to_vec(),
        material.peers.fingerprint().to_vec(),
        material.resource_key.fingerprint().0.to_vec(),
        material.offline_master.fingerprint().0.to_vec(),
    ];
    (opened.identity.clone(), prints)
}

/// Where statuses tell of this epoch.
struct Told(u64);

impl FormerEpochs for Told {
    fn greatest(&self, known: u64) -> BoxFuture<'_, Result<ToldEpochs, VaultError>> {
        let mut told = ToldEpochs::beside(known);
        told.add(self.0, || "the status of JoinToken edge/n1".to_owned());
        ready(Ok(told)).boxed()
    }

    fn strangers(&self) -> BoxFuture<'_, Result<Vec<Stranger>, VaultError>> {
        ready(Ok(Vec::new())).boxed()
    }
}

impl Replica {
    /// The cluster's keys and mark, as a process with this life exchanges them.
    fn cluster(&self, life: &Arc<Life>, told: u64) -> Cluster {
        let (client, namespace) = (&self.ground.client, &self.ground.namespace);
        Cluster {
            vault: Arc::new(Mortal {
                life: life.clone(),
                it: SecretVault::new(client.clone(), namespace, "jointoken"),
            }),
            object: Arc::new(Mortal {
                life: life.clone(),
                it: FoundingConfigMap::new(client.clone(), namespace, "jointoken"),
            }),
            former: Arc::new(Told(told)),
        }
    }

    /// Which former stores the cluster's mark names.
    async fn former_stores(&self) -> String {
        let object = self.config_maps().get("jointoken-founding").await;
        let mut data = object.unwrap().data.unwrap();
        data.remove("former-store-ids").unwrap_or_default()
    }

    /// What the cluster's mark says.
    async fn mark(&self) -> (String, String) {
        let object = self.config_maps().get("jointoken-founding").await;
        let data = object.unwrap().data.unwrap();
        (data["store-id"].clone(), data["epoch"].clone())
    }
}

fn deaths(effects: usize) -> impl Iterator<Item = Death> {
    (0..effects).flat_map(|n| [Death::Before(n), Death::After(n)])
}

fn new_store() -> Arc<InMemoryStore> {
    Arc::new(InMemoryStore::new(Arc::new(ManualClock::new(NOW))))
}

#[tokio::test]
async fn stopped_at_any_step_a_founding_in_a_folder_goes_on_with_what_it_made() {
    // Identity, five items, stage, stage.
    for death in deaths(8) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let vault = FolderVault::new(data.join("keys"));
        let store = new_store();
        let live = |life: Arc<Life>| {
            let (data, store, vault) = (data.clone(), store.clone(), vault.clone());
            async move { found(&data, &life, &store, vault, None).await }
        };
        assert!(live(Life::new(death)).await.is_err());
        let mut made = Vec::new();
        for name in ItemName::ALL {
            made.push(vault.load(name).await.unwrap());
        }
        let resumed = live(Life::new(Death::Never)).await;
        let resumed = resumed.unwrap_or_else(|error| panic!("{death:?}: {error}"));
        for (name, item) in ItemName::ALL.into_iter().zip(made) {
            let now = vault.load(name).await.unwrap();
            assert!(item.is_none() || now == item, "{death:?}: {name}");
        }
        let life = Life::new(Death::Never);
        let again = live(life.clone()).await.unwrap();
        assert_eq!(life.effects(), 0);
        assert_eq!(prints(&again), prints(&resumed), "{death:?}");
    }
}

#[tokio::test]
async fn stopped_at_any_step_a_founding_in_a_cluster_goes_on_with_what_it_made() {
    // Identity, object, five items, stage, stage.
    for death in deaths(9) {
        let replica = Replica::new("founding-deaths").await;
        let folder = tempfile::tempdir().unwrap();
        let died = replica.live(folder.path(), &Life::new(death)).await;
        assert!(died.is_err());
        let names = ItemName::ALL.map(|name| format!("jointoken-{name}"));
        let mut made = Vec::new();
        for name in &names {
            made.push(replica.secrets().get_opt(name).await.unwrap());
        }
        let resumed = replica.start(folder.path()).await;
        let resumed = resumed.unwrap_or_else(|error| panic!("{death:?}: {error}"));
        for (name, secret) in names.iter().zip(made) {
            let now = replica.secrets().get(name).await.unwrap();
            assert!(
                secret.is_none_or(|secret| secret == now),
                "{death:?}: {name}"
            );
        }
        let life = Life::new(Death::Never);
        let again = replica.live(folder.path(), &life).await.unwrap();
        assert_eq!(life.effects(), 0);
        assert_eq!(prints(&again), prints(&resumed), "{death:?}");
        replica.ground.remove().await;
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

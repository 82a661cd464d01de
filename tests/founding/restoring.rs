//! Restoring a store of a cluster: its mark and its keys become those of the new store, whatever stops it in between.

use std::path::{Path, PathBuf};

use jointoken::founding::{
    Home, IdentityFile, Material, Prospect, ReplaceRequest, Replacement, Report, RestoreError,
    RestoreRequest,
};
use jointoken::lifecycle::State;
use jointoken::store::disk::RealDisk;
use jointoken::store::{Backup, RaftStore, StoreConfig};
use kube::core::ObjectMeta;

use super::*;

/// A cluster whose store was lost, and its snapshot.
pub struct Lost {
    pub replica: Replica,
    pub backup: Backup,
    material: Material,
    pub folder: tempfile::TempDir,
}

impl Lost {
    pub async fn new(test: &str) -> Self {
        let replica = Replica::new(test).await;
        let folder = tempfile::tempdir().unwrap();
        let opened = replica.start(&folder.path().join("lost")).await.unwrap();
        let state: State = replica.store.state();
        Self {
            backup: Backup::of(9, NOW, state).unwrap(),
            material: opened.material,
            replica,
            folder,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn look(&self, life: &Arc<Life>, told: u64) -> Result<Prospect, RestoreError> {
        let request = RestoreRequest {
            data: self.data(),
            home: Home::Cluster(self.replica.cluster(life, told)),
            epoch_above: 0,
            clock_ms: None,
        };
        said_in_prose(Prospect::of(&self.backup, "5a", request).await)
    }

    async fn restore(&self, life: &Arc<Life>) -> Result<Report, RestoreError> {
        said_in_prose(self.look(life, 7).await?.carry_out().await)
    }

    /// The operator's first replica opens what was restored.
    async fn open(&self) -> Result<Opened, FoundingError> {
        said_in_prose(open(&self.data(), &self.replica).await)
    }
}

/// With the real store: a restore makes a folder of one.
async fn open(data: &Path, replica: &Replica) -> Result<Opened, FoundingError> {
    let store = data.join("store");
    let folder = OnDisk::new(data, move |identity: &Identity, if_absent| {
        assert_eq!(if_absent, IfAbsent::Refuse, "no store is made anew");
        let config = StoreConfig {
            expected_store: Some(identity.store_id),
            ..StoreConfig::new(&store, jointoken::lifecycle::Settings::default())
        };
        let handle = tokio::runtime::Handle::current();
        let opening = tokio::task::spawn_blocking(move || {
            let clock = Arc::new(jointoken::clock::SystemClock);
            handle.block_on(RaftStore::open(config, Arc::new(RealDisk), clock))
        });
        let opened = async move {
            let opened = opening.await;
            let opened = opened.map_err(|error| OpenError::Start(error.to_string()))??;
            Ok(Arc::new(opened) as Arc<dyn TokenStore>)
        };
        opened.boxed()
    })?;
    let (client, namespace) = (&replica.ground.client, &replica.ground.namespace);
    let object = FoundingConfigMap::new(client.clone(), namespace, "jointoken");
    found_or_open(Site {
        group: None,
        data: &folder,
        vault: &SecretVault::new(client.clone(), namespace, "jointoken"),
        object: Some(&object),
        former: None,
        trust_domain: &TrustDomain::parse("prod.example.com").unwrap(),
        clock: &ManualClock::new(NOW),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_has_the_cas_of_the_former_and_an_epoch_above_all_that_is_told() {
    let lost = Lost::new("restoring").await;
    let report = lost.restore(&Life::new(Death::Never)).await.unwrap();
    assert_eq!((report.former_epoch, report.epoch), (1, 8));
    let mark = lost.replica.mark().await;
    assert_eq!(mark, (report.store_id.to_string(), "8".to_owned()));
    let opened = lost.open().await.unwrap();
    assert_eq!(opened.identity.store_id, report.store_id);
    let (new, old) = (&opened.material, &lost.material);
    for (new, old) in [
        (&new.door, &old.door),
        (&new.members, &old.members),
        (&new.peers, &old.peers),
    ] {
        assert_eq!(new.fingerprint(), old.fingerprint());
    }
    assert_ne!(new.resource_key.id(), old.resource_key.id());
    assert_ne!(new.offline_master.id(), old.offline_master.id());
    // No key is left in the volume.
    assert!(!lost.data().join("restore.ready").exists());
    assert!(!lost.data().join("keys").exists());
    drop(opened);
    // Once is enough.
    let error = lost.look(&Life::new(Death::Never), 8).await.unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    lost.replica.ground.remove().await;
}

/// Mark, then each of five keys taken away and put.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_any_step_the_same_command_goes_on() {
    for death in deaths(11) {
        let lost = Lost::new("restoring-deaths").await;
        assert!(lost.restore(&Life::new(death)).await.is_err(), "{death:?}");
        // Nothing opens the folder, and an empty one founds nothing.
        let error = IdentityFile::new(lost.data()).load().unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
        let elsewhere = lost.folder.path().join("elsewhere");
        assert!(lost.replica.start(&elsewhere).await.is_err());
        let report = lost.restore(&Life::new(Death::Never)).await;
        let report = report.unwrap_or_else(|error| panic!("{death:?}: {error}"));
        let opened = lost.open().await;
        let opened = opened.unwrap_or_else(|error| panic!("{death:?}: {error}"));
        assert_eq!(opened.identity.store_id, report.store_id, "{death:?}");
        let former = lost.replica.former_stores().await;
        assert_eq!(former, report.former_store_id.to_string(), "{death:?}");
        assert_eq!(
            opened.material.door.fingerprint(),
            lost.material.door.fingerprint()
        );
        lost.replica.ground.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_restore_at_once_one_finds_that_the_other_was_faster() {
    let lost = Lost::new("restoring-twice").await;
    let (one, two) = (Life::new(Death::Never), Life::new(Death::Never));
    let slower = lost.look(&one, 0).await.unwrap();
    let faster = Prospect::of(
        &lost.backup,
        "5a",
        RestoreRequest {
            data: lost.folder.path().join("faster"),
            home: Home::Cluster(lost.replica.cluster(&two, 0)),
            epoch_above: 0,
            clock_ms: None,
        },
    );
    let report = faster.await.unwrap().carry_out().await.unwrap();
    let error = slower.carry_out().await.unwrap_err();
    assert!(error.to_string().contains("meanwhile"), "{error}");
    assert_eq!(lost.replica.mark().await.0, report.store_id.to_string());
    // It did not touch the keys either.
    let opened = open(&lost.folder.path().join("faster"), &lost.replica).await;
    assert_eq!(opened.unwrap().identity.store_id, report.store_id);
    lost.replica.ground.remove().await;
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused_and_stays() {
    let lost = Lost::new("restoring-foreign").await;
    let other = Lost::new("restoring-other").await;
    let life = Life::new(Death::Never);
    // Another cluster's keys.
    let request = |home| RestoreRequest {
        data: lost.data(),
        home,
        epoch_above: 0,
        clock_ms: None,
    };
    let home = Home::Cluster(other.replica.cluster(&life, 0));
    let error = Prospect::of(&lost.backup, "5a", request(home))
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::Keys(_)), "{error}");
    // The right keys beside another store's mark.
    let mut object = lost
        .replica
        .config_maps()
        .get("jointoken-founding")
        .await
        .unwrap();
    let foreign = other.replica.mark().await.0;
    let data = object.data.as_mut().unwrap();
    data.insert("store-id".to_owned(), foreign.clone());
    let replaced = lost.replica.config_maps();
    replaced
        .replace("jointoken-founding", &PostParams::default(), &object)
        .await
        .unwrap();
    let error = lost.look(&life, 0).await.unwrap_err();
    assert!(error.to_string().contains(&foreign), "{error}");
    assert!(error.is_about_input());
    assert_eq!(life.effects(), 0);
    assert!(!lost.data().exists());
    lost.replica.ground.remove().await;
    other.replica.ground.remove().await;
}

/// The vault may be empty: its backup was put back, and the mark was not.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_mark_gets_one() {
    let lost = Lost::new("restoring-unmarked").await;
    let now = DeleteParams::default();
    let marks = lost.replica.config_maps();
    marks.delete("jointoken-founding", &now).await.unwrap();
    let keys = lost.replica.secrets();
    keys.delete("jointoken-resource-key", &now).await.unwrap();
    let prospect = lost.look(&Life::new(Death::Never), 0).await.unwrap();
    assert_eq!(prospect.notes().len(), 1);
    let report = prospect.carry_out().await.unwrap();
    assert_eq!(lost.replica.mark().await.0, report.store_id.to_string());
    // The keys may have been put here beside a store that lives elsewhere: they prove nothing.
    assert_eq!(lost.replica.former_stores().await, "");
    assert_eq!(lost.open().await.unwrap().identity.epoch, 2);
    lost.replica.ground.remove().await;
}

/// The store that it names lives on in its own namespace, and goes by the mark that is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_mark_in_another_namespace_hands_nothing_down() {
    let living = Lost::new("restoring-living").await;
    let drill = Replica::new("restoring-drill").await;
    copy_all(&living.replica, &drill).await;
    let request = RestoreRequest {
        data: living.data(),
        home: Home::Cluster(drill.cluster(&Life::new(Death::Never), 0)),
        epoch_above: 0,
        clock_ms: None,
    };
    let prospect = Prospect::of(&living.backup, "5a", request).await.unwrap();
    let report = prospect.carry_out().await.unwrap();
    assert_eq!(drill.mark().await.0, report.store_id.to_string());
    assert_eq!(drill.former_stores().await, "");
    assert_eq!(
        living.replica.mark().await.0,
        report.former_store_id.to_string()
    );
    // What comes of it later is handed down there.
    let request = ReplaceRequest {
        data: living.folder.path().join("later"),
        cluster: drill.cluster(&Life::new(Death::Never), 0),
        lost: report.store_id,
        trust_domain: TrustDomain::parse("prod.example.com").unwrap(),
        epoch_above: 0,
    };
    let later = Replacement::of(request).await.unwrap();
    later.carry_out().await.unwrap();
    assert_eq!(drill.former_stores().await, report.store_id.to_string());
    drill.ground.remove().await;
    living.replica.ground.remove().await;
}

/// As a backup of the namespace is restored into another.
async fn copy_all(from: &Replica, to: &Replica) {
    let anew = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let params = PostParams::default();
    let mark = from.config_maps().get("jointoken-founding").await.unwrap();
    let copy = ConfigMap {
        metadata: anew("jointoken-founding"),
        ..mark
    };
    to.config_maps().create(&params, &copy).await.unwrap();
    for item in ItemName::ALL {
        let name = format!("jointoken-{item}");
        let secret = from.secrets().get(&name).await.unwrap();
        let copy = Secret {
            metadata: ObjectMeta {
                annotations: secret.metadata.annotations.clone(),
                ..anew(&name)
            },
            ..secret
        };
        to.secrets().create(&params, &copy).await.unwrap();
    }
}

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::founding::error::FoundingError;
use crate::founding::vault::Creation;
use crate::founding::{DataFolder as _, IfAbsent, OnDisk, Opened, Site, found_or_open};
use crate::lifecycle::command::{AdoptKey, Bindings, Register};
use crate::lifecycle::{Command, Issuance, Operation, Reason, Settings};
use crate::pki::TrustDomain;
use crate::store::{OpenError, RaftStore, StoreConfig, TokenStore};
use crate::token::{
    Claims, Delivery, Fingerprint, KeyRing, Presented, Purpose, StoreId, TokenId, VerifyError, mint,
};

const NOW: u64 = 1_790_000_000_000;
const DIGEST: &str = "5a";

fn domain() -> TrustDomain {
    TrustDomain::parse("edge.example").unwrap()
}

/// A store as it was: its keys in a folder, and a snapshot.
struct Former {
    folder: TempDir,
    identity: Identity,
    backup: Backup,
}

impl Former {
    async fn new() -> Self {
        Self::with_exported(0).await
    }

    /// With so many exported keys.
    async fn with_exported(exported: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::draw(domain(), 4).unwrap();
        let vault = FolderVault::new(folder.path().join("keys"));
        let mut pieces = BTreeMap::new();
        for name in ItemName::ALL {
            let piece = Piece::make(name, &identity, NOW).unwrap();
            let created = vault.create(name, &piece.to_item(&identity)).await;
            assert_eq!(created.unwrap(), Creation::Created);
            pieces.insert(name, piece);
        }
        let mut state = State::new();
        let resource_key = pieces[&ItemName::ResourceKey].fingerprint();
        let adopt = AdoptKey {
            key_id: KeyId([5; 8]),
            purpose: Purpose::Resource,
            fingerprint: resource_key,
            max_ttl_ms: None,
            node_pattern: None,
        };
        let register = |number: u8| Register {
            issuance: Issuance {
                namespace: "edge".into(),
                name: format!("n{number}"),
            },
            namespace_uid: "uid".into(),
            revision: 1,
            spec_hash: [1; 32],
            revoked: false,
            reissue_if_unused: false,
            token_id: TokenId([number; 16]),
            key_id: adopt.key_id,
            node_name: "n".into(),
            ttl_ms: 3_600_000,
            in_flight_timeout_ms: None,
            max_claims: None,
            bindings: Bindings::default(),
        };
        let operations: [Operation; 4] = [
            founded(&identity, &pieces).into(),
            adopt.clone().into(),
            register(1).into(),
            register(2).into(),
        ];
        for (index, operation) in (1..).zip(operations) {
            let command = Command {
                at_ms: NOW,
                operation,
            };
            state.apply(index, &command);
        }
        for number in 0..exported {
            let mut fingerprint = [0xee; 32];
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            let key = AdoptKey {
                key_id: KeyId(number.to_be_bytes()),
                purpose: Purpose::Offline,
                fingerprint: Fingerprint(fingerprint),
                ..adopt.clone()
            };
            let operation = key.into();
            let at_ms = NOW;
            state.apply(4, &Command { at_ms, operation });
        }
        let backup = Backup::of(4, NOW, state).unwrap();
        Self {
            folder,
            identity,
            backup,
        }
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn request(&self, data: &Path, keys: &Path) -> RestoreRequest {
        RestoreRequest {
            data: data.to_path_buf(),
            home: Home::Folder(keys.to_path_buf()),
            epoch_above: 0,
            clock_ms: None,
        }
    }

    async fn look(&self, data: &Path, keys: &Path) -> Result<Prospect, RestoreError> {
        Prospect::of(&self.backup, DIGEST, self.request(data, keys)).await
    }

    async fn restore(&self, data: &Path, keys: &Path) -> Result<Report, RestoreError> {
        self.look(data, keys).await?.carry_out().await
    }
}

/// Opens the folder as `serve` does.
async fn open(data: &Path) -> Result<Opened, FoundingError> {
    let store = data.join("store");
    let folder = OnDisk::new(data, move |identity, if_absent| {
        assert_eq!(if_absent, IfAbsent::Refuse, "no store is made anew");
        let config = StoreConfig {
            expected_store: Some(identity.store_id),
            ..StoreConfig::new(&store, Settings::default())
        };
        let handle = tokio::runtime::Handle::current();
        let opening = tokio::task::spawn_blocking(move || {
            let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock));
            handle.block_on(RaftStore::open(config, disk, clock))
        });
        Box::pin(async move {
            let opened = opening.await;
            let opened = opened.map_err(|error| OpenError::Start(error.to_string()))??;
            Ok(Arc::new(opened) as Arc<dyn TokenStore>)
        })
    })?;
    assert!(folder.identity()?.is_some(), "it would be founded");
    found_or_open(Site {
        group: None,
        data: &folder,
        vault: &FolderVault::new(data.join("keys")),
        object: None,
        former: None,
        trust_domain: &domain(),
        clock: &SystemClock,
    })
    .await
}

/// By the first rules exported keys could take all the room that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_full_of_exported_keys_opens_once_it_is_restored() {
    let former = Former::with_exported(5_000).await;
    let data = former.folder.path().join("data");
    former.restore(&data, &former.keys()).await.unwrap();
    let opened = open(&data).await.unwrap();
    let key_id = opened.material.resource_key.id();
    assert!(opened.store.key(&key_id).is_some());
    assert_eq!(opened.store.key_count(), 1);
    opened.store.barrier().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_opens_as_another_store_with_the_same_cas() {
    let former = Former::new().await;
    let data = former.folder.path().join("data");
    let before = contents(&former.keys());
    let report = former.restore(&data, &former.keys()).await.unwrap();
    assert_eq!(
        contents(&former.keys()),
        before,
        "a backup elsewhere is only read"
    );
    assert_eq!(report.former_store_id, former.identity.store_id);
    assert_eq!((report.epoch, report.former_epoch), (5, 4));
    assert_eq!((report.index, report.ended), (5, 2));

    let opened = open(&data).await.unwrap();
    assert!(!opened.founded_now);
    assert_eq!(opened.identity.store_id, report.store_id);
    assert_ne!(opened.identity.node_id, former.identity.node_id);
    let new = opened.store.founded().unwrap();
    let old = former.backup.founded();
    for ((role, new), (_, old)) in new.fingerprints.iter().zip(&old.fingerprints) {
        assert_eq!(new == old, role.ends_with("-ca"), "{role}");
    }
    let record = opened.store.record(&TokenId([1; 16])).unwrap();
    assert_eq!(record.aborted, Some(Reason::Restored));
    let keys = opened.store.keys();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id, opened.material.resource_key.id());
    let left: Vec<_> = contents(&data).into_keys().collect();
    assert!(
        !left.iter().any(|path| path.contains("restore.")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_data_folder_make_room_for_the_new_ones() {
    let former = Former::new().await;
    let data = former.folder.path();
    let before = contents(&former.keys());
    former.restore(data, &data.join("keys")).await.unwrap();
    assert_eq!(contents(&data.join("keys.before-restore")), before);
    open(data).await.unwrap();
}

/// A crash before each step: nothing opens the folder before the restore is finished, and to run it again finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_anywhere_it_is_nothing_or_the_restored_store() {
    let mut steps = 0;
    loop {
        let former = Former::new().await;
        let data = former.folder.path();
        let mut left = steps;
        let mut between = || {
            left -= 1;
            if left >= 0 {
                return Ok(());
            }
            Err(RestoreError::NoIndexLeft)
        };
        let prospect = former.look(data, &former.keys()).await.unwrap();
        let first = prospect.step_by_step(&mut between).await;
        if let Ok(report) = first {
            assert!(steps > 10, "{steps}");
            assert_eq!(open(data).await.unwrap().identity.store_id, report.store_id);
            return;
        }
        // As long as there is no identity nobody takes it for anything, least of all for an empty folder.
        match IdentityFile::new(data).load() {
            Ok(found) => assert!(found.is_some(), "after {steps} steps it is nobody's"),
            Err(error) => {
                let error = error.to_string();
                let says = "interrupted: run the same";
                // Before the first step there are the keys alone.
                assert!(error.contains(says) || steps == 0, "{error}");
            }
        }
        let report = former.restore(data, &former.keys()).await.unwrap();
        let opened = open(data).await.unwrap();
        assert_eq!(opened.identity.store_id, report.store_id, "{steps}");
        assert_eq!(opened.identity.epoch, 5);
        steps += 1;
    }
}

#[tokio::test]
async fn another_snapshot_does_not_finish_what_one_has_begun() {
    let former = Former::new().await;
    let data = former.folder.path().join("data");
    let mut steps = 0;
    let mut between = || {
        steps += 1;
        match data.join("restore.ready").exists() {
            true => Err(RestoreError::NoIndexLeft),
            false => Ok(()),
        }
    };
    let prospect = former.look(&data, &former.keys()).await.unwrap();
    assert!(prospect.step_by_step(&mut between).await.is_err());
    let request = former.request(&data, &former.keys());
    let error = Prospect::of(&former.backup, "5b", request).await;
    assert!(matches!(error, Err(RestoreError::OtherSnapshot(_))));
    assert!(steps > 0);
}

#[tokio::test]
async fn whatever_is_in_the_folder_stays_untouched() {
    let former = Former::new().await;
    let data = former.folder.path().join("data");
    for name in ["identity", "store/log/x", "keys/door-ca/store", "notes.txt"] {
        let file = data.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "somebody's").unwrap();
        let before = contents(&data);
        let error = former.look(&data, &former.keys()).await.unwrap_err();
        assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
        let top = name.split('/').next().unwrap();
        assert!(error.to_string().contains(top), "{error}");
        assert_eq!(contents(&data), before);
        fs::remove_dir_all(&data).unwrap();
    }
    // What a file system puts there, and folders with nothing in them, are nothing.
    for name in ["lost+found", "store", "keys"] {
        fs::create_dir_all(data.join(name)).unwrap();
    }
    former.restore(&data, &former.keys()).await.unwrap();
}

#[tokio::test]
async fn every_ca_that_does_not_belong_is_named() {
    let (former, other) = (Former::new().await, Former::new().await);
    let data = former.folder.path().join("data");
    let door = former.keys().join("door-ca");
    fs::remove_dir_all(&door).unwrap();
    fs::remove_dir_all(former.keys().join("peers-ca")).unwrap();
    fs::rename(
        other.keys().join("peers-ca"),
        former.keys().join("peers-ca"),
    )
    .unwrap();
    fs::write(former.keys().join("members-ca/tls.key"), "no key").unwrap();
    // Not needed, so only noted.
    fs::remove_dir_all(former.keys().join("resource-key")).unwrap();
    let error = former.look(&data, &former.keys()).await.unwrap_err();
    let error = error.to_string();
    for said in [
        "do not belong to the former store: ",
        "the door-ca is missing",
        "the members-ca in",
        "cannot be used",
        "the peers-ca in",
        &format!("of another store, {}", other.identity.store_id),
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(!error.contains("resource-key"), "{error}");
    let nowhere = former.folder.path().join("nowhere");
    let error = former.look(&data, &nowhere).await.unwrap_err().to_string();
    for said in ["does the folder or the namespace exist", "nowhere/door-ca"] {
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(!data.exists());
}

#[tokio::test]
async fn signing_keys_are_not_needed_and_what_was_restored_before_is_known_by_its_epoch() {
    let former = Former::new().await;
    let (first, second) = (
        former.folder.path().join("first"),
        former.folder.path().join("second"),
    );
    for item in ["resource-key", "offline-master"] {
        fs::remove_dir_all(former.keys().join(item)).unwrap();
    }
    let prospect = former.look(&first, &former.keys()).await.unwrap();
    assert_eq!(prospect.notes().len(), 2);
    let report = prospect.carry_out().await.unwrap();
    assert_eq!(report.epoch, 5);
    // Once more from the same snapshot: the CAs are of the restored store now, and still the same.
    let prospect = former.look(&second, &first.join("keys")).await.unwrap();
    assert_eq!(prospect.notes().len(), 2, "{:?}", prospect.notes());
    let again = prospect.carry_out().await.unwrap();
    assert_eq!(again.epoch, 6);
    assert_ne!(again.store_id, report.store_id);
}

#[tokio::test]
async fn the_epoch_is_above_what_is_asked_for_and_never_too_high() {
    let former = Former::new().await;
    let data = former.folder.path().join("data");
    let request = |epoch_above| RestoreRequest {
        epoch_above,
        ..former.request(&data, &former.keys())
    };
    for epoch_above in [MAX_EPOCH, u64::MAX] {
        let error = Prospect::of(&former.backup, DIGEST, request(epoch_above)).await;
        assert!(matches!(error, Err(RestoreError::NoEpochLeft(_))));
    }
    let prospect = Prospect::of(&former.backup, DIGEST, request(40)).await;
    assert_eq!(prospect.unwrap().carry_out().await.unwrap().epoch, 41);
}

#[tokio::test]
async fn a_clock_that_is_set_back_is_in_the_restored_store() {
    let former = Former::new().await;
    let data = former.folder.path().join("data");
    let request = RestoreRequest {
        clock_ms: Some(NOW - 60_000),
        ..former.request(&data, &former.keys())
    };
    let prospect = Prospect::of(&former.backup, DIGEST, request).await.unwrap();
    prospect.carry_out().await.unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let made = crate::store::Survivor::read(&disk, &data.join("store")).unwrap();
    assert_eq!(made.state.now_ms(), NOW - 60_000);
}

/// Whoever still had the key that made it: the token is for the former store.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_token_is_refused_by_its_audience_even_where_its_key_is_known() {
    let former = Former::new().await;
    let data = former.folder.path().join("data");
    let vault = FolderVault::new(former.keys());
    let item = vault.load(ItemName::ResourceKey).await.unwrap().unwrap();
    let piece = Piece::from_item(ItemName::ResourceKey, &item, &former.identity);
    let Ok(Piece::Key(key)) = piece else {
        panic!("a signing key");
    };
    let claims = Claims {
        purpose: Purpose::Resource,
        key_id: key.id(),
        audience: former.identity.store_id.audience(),
        token_id: TokenId([1; 16]),
        node_name: "n".to_owned(),
        issued_at_ms: NOW,
        expires_at_ms: NOW + 60_000,
    };
    let delivery = Delivery {
        door_pin: [1; 32],
        urls: vec!["https://door.edge.example".to_owned()],
    };
    let token = mint(&key, &claims, &delivery).unwrap();
    let token = Presented::parse(token.expose()).unwrap();
    let report = former.restore(&data, &former.keys()).await.unwrap();
    let mut ring = KeyRing::new();
    ring.insert(key).unwrap();
    let verify = |store: StoreId| ring.verify(&token, store.audience(), NOW);
    assert!(verify(former.identity.store_id).is_ok());
    assert_eq!(verify(report.store_id), Err(VerifyError::OtherStore));
}

/// All files below a folder by their paths, with what they hold.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = contents(&path).into_iter();
            all.extend(below.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

//! Founding stopped after every effect, and every item missing, replaced or foreign afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};
use zeroize::Zeroizing;

use super::*;
use crate::clock::ManualClock;
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings};
use crate::pki::{CaRole, TrustDomain};
use crate::store::reference::InMemoryStore;
use crate::store::{Change, Committed, Health, OpenError, StoreError, TokenStore};
use crate::token::{Fingerprint, StoreId, TokenId};

const NOW: u64 = 1_790_000_000_000;

/// What outlives a process: disk, keys, the cluster's object, the store's log.
#[derive(Default)]
struct World {
    identity: Mutex<Option<Identity>>,
    items: Mutex<BTreeMap<ItemName, Item>>,
    object: Mutex<Option<Founding>>,
    log: Mutex<Option<Arc<InMemoryStore>>>,
    /// The greatest epoch in a status.
    former: Mutex<u64>,
    is_out_of_reach: Mutex<bool>,
}

/// When a process dies: at its n-th effect, the effect done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Never,
    Before(usize),
    After(usize),
}

/// One run of the program in the world.
struct Process {
    world: Arc<World>,
    death: Death,
    effects: AtomicUsize,
    /// Answers of the store that say "not yet".
    slow: AtomicUsize,
}

impl Process {
    fn new(world: &Arc<World>, death: Death) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            death,
            effects: AtomicUsize::new(0),
            slow: AtomicUsize::new(0),
        })
    }

    /// Carries out an effect, unless the process has died; whatever follows its death fails too.
    fn effect<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let nth = self.effects.fetch_add(1, Ordering::SeqCst);
        match self.death {
            Death::Before(n) if nth >= n => None,
            Death::After(n) if nth > n => None,
            Death::After(n) if nth == n => {
                act();
                None
            }
            _ => Some(act()),
        }
    }

    fn vault_effect<T>(&self, act: impl FnOnce() -> T) -> Result<T, VaultError> {
        self.effect(act)
            .ok_or_else(|| VaultError::new("world", "died"))
    }

    fn create<T: Clone>(
        &self,
        place: &Mutex<Option<T>>,
        value: &T,
    ) -> Result<Creation<T>, VaultError> {
        self.vault_effect(|| {
            let mut place = place.lock().unwrap();
            match &*place {
                Some(there) => Creation::Exists(there.clone()),
                None => {
                    *place = Some(value.clone());
                    Creation::Created
                }
            }
        })
    }
}

struct Parts(Arc<Process>);

impl DataFolder for Parts {
    fn identity(&self) -> Result<Option<Identity>, VaultError> {
        Ok(self.0.world.identity.lock().unwrap().clone())
    }

    fn create_identity(&self, identity: &Identity) -> Result<Creation<Identity>, VaultError> {
        self.0.create(&self.0.world.identity, identity)
    }

    fn replace_identity(&self, identity: &Identity) -> Result<(), VaultError> {
        self.0.vault_effect(|| {
            *self.0.world.identity.lock().unwrap() = Some(identity.clone());
        })
    }

    fn open_store<'a>(
        &'a self,
        _identity: &'a Identity,
        if_absent: IfAbsent,
    ) -> BoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>> {
        let died = || OpenError::Start("died".to_owned());
        let opened = self.0.effect(|| {
            let mut log = self.0.world.log.lock().unwrap();
            if log.is_none() && if_absent == IfAbsent::Make {
                *log = Some(empty_log());
            }
            log.is_some()
        });
        after_a_moment(match opened {
            None => Err(died()),
            Some(false) => Err(OpenError::NotFounded {
                path: PathBuf::from("data"),
            }),
            Some(true) => Ok(Arc::new(Parts(self.0.clone())) as Arc<dyn TokenStore>),
        })
    }
}

impl Vault for Parts {
    fn load(&self, name: ItemName) -> BoxFuture<'_, Result<Option<Item>, VaultError>> {
        if *self.0.world.is_out_of_reach.lock().unwrap() {
            return after_a_moment(Err(VaultError::new("world", "timed out")));
        }
        let item = self.0.world.items.lock().unwrap().get(&name).cloned();
        after_a_moment(Ok(item))
    }

    fn create<'a>(
        &'a self,
        name: ItemName,
        item: &'a Item,
    ) -> BoxFuture<'a, Result<Creation<Item>, VaultError>> {
        let created = self.0.vault_effect(|| {
            let mut items = self.0.world.items.lock().unwrap();
            match items.get(&name) {
                Some(there) => Creation::Exists(there.clone()),
                None => {
                    items.insert(name, item.clone());
                    Creation::Created
                }
            }
        });
        after_a_moment(created)
    }

    fn place(&self, name: ItemName) -> String {
        format!("Secret jointoken/jointoken-{name}")
    }
}

impl FoundingObject for Parts {
    fn load(&self) -> BoxFuture<'_, Result<Option<Founding>, VaultError>> {
        after_a_moment(Ok(*self.0.world.object.lock().unwrap()))
    }

    fn create(&self, founding: Founding) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        after_a_moment(self.0.create(&self.0.world.object, &founding))
    }

    fn place(&self) -> String {
        "ConfigMap jointoken/jointoken-founding".to_owned()
    }
}

impl FormerEpochs for Parts {
    fn greatest(&self) -> BoxFuture<'_, Result<u64, VaultError>> {
        after_a_moment(Ok(*self.0.world.former.lock().unwrap()))
    }
}

impl Parts {
    fn store(&self) -> Arc<InMemoryStore> {
        self.0.world.log.lock().unwrap().clone().unwrap()
    }
}

/// The reference store, whose proposals are effects.
impl TokenStore for Parts {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let slow = &self.0.slow;
        if slow.load(Ordering::SeqCst) > 0 {
            slow.fetch_sub(1, Ordering::SeqCst);
            return after_a_moment(Err(StoreError::NoLeader));
        }
        let store = self.store();
        let committed = self.0.effect(|| store.propose(operation).now_or_never());
        after_a_moment(committed.flatten().unwrap_or(Err(StoreError::Stopped)))
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        after_a_moment(Ok(()))
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.store().record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.store().issuance(issuance)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.store().keys()
    }

    fn founded(&self) -> Option<Founded> {
        self.store().founded()
    }

    fn settings(&self) -> Settings {
        self.store().settings()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.store().changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.store().health()
    }
}

/// A store without a command.
fn empty_log() -> Arc<InMemoryStore> {
    Arc::new(InMemoryStore::new(Arc::new(ManualClock::new(NOW))))
}

/// An answer that comes later than the effect: whoever else is there gets its turn in between.
fn after_a_moment<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        answer
    })
}

fn domain() -> TrustDomain {
    TrustDomain::parse("prod.example.com").unwrap()
}

async fn run(process: &Arc<Process>) -> Result<Opened, FoundingError> {
    run_as(process, &domain()).await
}

async fn run_as(process: &Arc<Process>, domain: &TrustDomain) -> Result<Opened, FoundingError> {
    let parts = Parts(process.clone());
    let site = Site {
        data: &parts,
        vault: &parts,
        object: Some(&parts),
        former: Some(&parts),
        trust_domain: domain,
        clock: &ManualClock::new(NOW),
    };
    found_or_open(site).await
}

async fn start(world: &Arc<World>) -> Result<Opened, FoundingError> {
    run(&Process::new(world, Death::Never)).await
}

async fn founded_world() -> (Arc<World>, Opened) {
    let world = Arc::new(World::default());
    let opened = start(&world).await.unwrap();
    (world, opened)
}

/// What comes out of an opening, for comparing.
fn prints(opened: &Opened) -> (Identity, Vec<Fingerprint>) {
    let material = &opened.material;
    let mut all: Vec<_> = CaRole::ALL
        .map(|role| Fingerprint(material.authority(role).fingerprint()))
        .into();
    all.push(material.resource_key.fingerprint());
    all.push(material.offline_master.fingerprint());
    (opened.identity.clone(), all)
}

#[tokio::test]
async fn an_empty_folder_becomes_a_store_and_is_opened_again() {
    let (world, first) = founded_world().await;
    assert!(first.founded_now);
    assert_eq!(first.identity.stage, Stage::Founded);
    assert_eq!(first.identity.epoch, 1);
    let record = first.store.founded().unwrap();
    let roles: Vec<_> = record
        .fingerprints
        .iter()
        .map(|(r, _)| r.as_str())
        .collect();
    assert_eq!(
        roles,
        [
            "door-ca",
            "members-ca",
            "offline-master",
            "peers-ca",
            "resource-key"
        ]
    );
    assert_eq!(record.trust_domain, "prod.example.com");
    let keys = first.store.keys();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id, first.material.resource_key.id());
    assert_eq!(
        *world.object.lock().unwrap(),
        Some(first.identity.founding())
    );

    let process = Process::new(&world, Death::Never);
    let second = run(&process).await.unwrap();
    assert!(!second.founded_now);
    assert_eq!(prints(&second), prints(&first));
    // Opening the store is all that it does.
    assert_eq!(process.effects.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn stopped_at_any_effect_it_goes_on_with_what_it_made() {
    let effects = {
        let process = Process::new(&Arc::default(), Death::Never);
        run(&process).await.unwrap();
        process.effects.load(Ordering::SeqCst)
    };
    // Identity, object, five items, stage, store, Founded, AdoptKey, stage.
    assert_eq!(effects, 12);
    let deaths = (0..effects).flat_map(|n| [Death::Before(n), Death::After(n)]);
    for death in deaths {
        let world = Arc::new(World::default());
        assert!(run(&Process::new(&world, death)).await.is_err());
        let (identity, items) = (
            world.identity.lock().unwrap().clone(),
            world.items.lock().unwrap().clone(),
        );
        let resumed = start(&world)
            .await
            .unwrap_or_else(|e| panic!("{death:?}: {e}"));
        assert_eq!(resumed.founded_now, death != Death::After(effects - 1));
        if let Some(identity) = identity {
            assert_eq!(resumed.identity.store_id, identity.store_id, "{death:?}");
            assert_eq!(resumed.identity.node_id, identity.node_id, "{death:?}");
        }
        for (name, item) in items {
            assert_eq!(world.items.lock().unwrap()[&name], item, "{death:?}");
        }
        let again = start(&world).await.unwrap();
        assert_eq!(prints(&again), prints(&resumed), "{death:?}");
        assert_eq!(world.items.lock().unwrap().len(), 5);
    }
}

/// A founding that dies again and again, one effect further each time, ends all the same.
#[tokio::test]
async fn many_deaths_in_one_founding_make_one_store() {
    let world = Arc::new(World::default());
    let mut deaths = 0;
    let opened = loop {
        let death = Death::After(deaths / 2);
        match run(&Process::new(&world, death)).await {
            Ok(opened) => break opened,
            Err(_) => deaths += 1,
        }
    };
    assert!(deaths > 5, "{deaths}");
    assert_eq!(prints(&start(&world).await.unwrap()), prints(&opened));
}

#[tokio::test]
async fn two_processes_that_found_at_once_make_one_store() {
    let world = Arc::new(World::default());
    let (one, two) = tokio::join!(start(&world), start(&world));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(prints(&one).1, prints(&two).1);
    assert_eq!(one.identity.store_id, two.identity.store_id);
}

#[tokio::test]
async fn a_store_without_a_leader_yet_is_waited_for() {
    let process = Process::new(&Arc::default(), Death::Never);
    process.slow.store(2, Ordering::SeqCst);
    assert!(run(&process).await.unwrap().founded_now);
}

#[tokio::test]
async fn after_founding_a_missing_item_is_named_and_not_made_anew() {
    for name in ItemName::ALL {
        let (world, _) = founded_world().await;
        world.items.lock().unwrap().remove(&name);
        let error = start(&world).await.err().unwrap();
        let said = error.to_string();
        assert!(matches!(error, FoundingError::Missing { item, .. } if item == name));
        assert!(
            said.starts_with(&format!(
                "the {name} is missing (Secret jointoken/jointoken-{name})"
            )) && said.ends_with("Put it back from the backup of the keys"),
            "{said}"
        );
        assert!(!world.items.lock().unwrap().contains_key(&name));
    }
}

/// Also in the moment between the last item and the end of the founding.
#[tokio::test]
async fn an_item_that_vanishes_after_all_were_made_is_not_made_anew() {
    for last_effect in 7..11 {
        let world = Arc::new(World::default());
        assert!(
            run(&Process::new(&world, Death::After(last_effect)))
                .await
                .is_err()
        );
        assert_eq!(world.items.lock().unwrap().len(), 5);
        world.items.lock().unwrap().remove(&ItemName::MembersCa);
        let error = start(&world).await.err().unwrap();
        assert!(matches!(error, FoundingError::Missing { .. }), "{error}");
    }
}

#[tokio::test]
async fn after_founding_another_item_in_its_place_is_refused() {
    for name in ItemName::ALL {
        let (world, ours) = founded_world().await;
        let (other, _) = founded_world().await;
        let foreign = other.items.lock().unwrap()[&name].clone();

        world.items.lock().unwrap().insert(name, foreign.clone());
        let error = start(&world).await.err().unwrap();
        assert!(
            matches!(error, FoundingError::OfOtherStore { item, .. } if item == name),
            "{error}"
        );

        // Even with this store's id written on it.
        let mut relabelled = foreign;
        relabelled.store_id = ours.identity.store_id;
        world.items.lock().unwrap().insert(name, relabelled.clone());
        let error = start(&world).await.err().unwrap();
        assert!(
            matches!(error, FoundingError::Replaced { item, .. } if item == name),
            "{error}"
        );
        assert_eq!(world.items.lock().unwrap()[&name], relabelled);
    }
}

/// The founding was recorded, the process died, and then an item was exchanged.
#[tokio::test]
async fn an_item_exchanged_before_the_founding_ended_is_refused() {
    let world = Arc::new(World::default());
    let recorded = 9;
    assert!(
        run(&Process::new(&world, Death::After(recorded)))
            .await
            .is_err()
    );
    let (other, _) = founded_world().await;
    let mut foreign = other.items.lock().unwrap()[&ItemName::DoorCa].clone();
    foreign.store_id = world.identity.lock().unwrap().as_ref().unwrap().store_id;
    world
        .items
        .lock()
        .unwrap()
        .insert(ItemName::DoorCa, foreign);
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(
            error,
            FoundingError::Replaced {
                item: ItemName::DoorCa,
                ..
            }
        ),
        "{error}"
    );
    assert_ne!(
        world.identity.lock().unwrap().as_ref().unwrap().stage,
        Stage::Founded
    );
}

#[tokio::test]
async fn a_damaged_item_is_named() {
    let (world, _) = founded_world().await;
    if let Some(item) = world.items.lock().unwrap().get_mut(&ItemName::PeersCa) {
        let half = Zeroizing::new(b"-----BEGIN PRIVATE KEY-----\n".to_vec());
        item.parts.insert("tls.key".to_owned(), half);
    }
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(
            error,
            FoundingError::Damaged {
                item: ItemName::PeersCa,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_empty_folder_beside_anothers_founding_founds_nothing() {
    let (world, _) = founded_world().await;
    *world.identity.lock().unwrap() = None;
    *world.log.lock().unwrap() = None;
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::EmptyFolder { .. }),
        "{error}"
    );
    assert!(world.identity.lock().unwrap().is_none());

    // Without the object the keys alone say it too.
    *world.object.lock().unwrap() = None;
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(
            error,
            FoundingError::Taken {
                item: ItemName::DoorCa,
                ..
            }
        ),
        "{error}"
    );
    assert!(world.identity.lock().unwrap().is_none());
    assert!(world.object.lock().unwrap().is_none());
}

#[tokio::test]
async fn another_founding_that_came_first_is_left_alone() {
    let world = Arc::new(World::default());
    assert!(run(&Process::new(&world, Death::After(0))).await.is_err());
    let theirs = Founding {
        store_id: StoreId([9; 16]),
        epoch: 1,
    };
    *world.object.lock().unwrap() = Some(theirs);
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::OtherFounding { found, .. } if found == theirs),
        "{error}"
    );
    assert!(world.items.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_missing_or_other_founding_object_closes_the_store() {
    let (world, opened) = founded_world().await;
    let process = Process::new(&world, Death::Never);
    *world.object.lock().unwrap() = None;
    let error = run(&process).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::ObjectMissing { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&opened.identity.store_id.to_string())
    );
    let newer = Founding {
        epoch: 2,
        ..opened.identity.founding()
    };
    *world.object.lock().unwrap() = Some(newer);
    let error = run(&process).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::OtherFounding { .. }),
        "{error}"
    );
    assert_eq!(process.effects.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_lost_log_is_not_begun_anew() {
    let (world, _) = founded_world().await;
    *world.log.lock().unwrap() = None;
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::StoreMissing { .. }),
        "{error}"
    );
    *world.log.lock().unwrap() = Some(empty_log());
    let error = start(&world).await.err().unwrap();
    assert!(matches!(error, FoundingError::NoRecord(_)), "{error}");
}

#[tokio::test]
async fn the_trust_domain_is_fixed() {
    let (world, _) = founded_world().await;
    let process = Process::new(&world, Death::Never);
    let other = TrustDomain::parse("other.example.com").unwrap();
    let error = run_as(&process, &other).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::TrustDomain { .. }),
        "{error}"
    );
    assert_eq!(process.effects.load(Ordering::SeqCst), 0);
}

/// On a real disk, with the keys in a folder of the data folder and no founding object.
#[tokio::test]
async fn founded_on_disk_it_opens_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let world = Arc::new(World::default());
    let first = on_disk(&data, &world).await.unwrap();
    assert!(first.founded_now);
    let second = on_disk(&data, &world).await.unwrap();
    assert!(!second.founded_now);
    assert_eq!(prints(&second), prints(&first));
    let there = OnDisk::new(&data, never).unwrap();
    let said = on_disk(&data, &world).await.err().unwrap().to_string();
    assert!(
        said.contains("data: the data folder is in use by another process"),
        "{said}"
    );
    drop(there);
    std::fs::remove_dir_all(data.join("keys/members-ca")).unwrap();
    let said = on_disk(&data, &world).await.err().unwrap().to_string();
    assert!(said.contains("the members-ca is missing") && said.contains("keys/members-ca"));
}

fn never(_: &Identity, _: IfAbsent) -> BoxFuture<'_, Result<Arc<dyn TokenStore>, OpenError>> {
    unreachable!("the folder is not to be opened")
}

async fn on_disk(data: &std::path::Path, world: &Arc<World>) -> Result<Opened, FoundingError> {
    let parts = Parts(Process::new(world, Death::Never));
    let vault = FolderVault::new(data.join("keys"));
    let folder = OnDisk::new(data, move |identity: &Identity, if_absent| {
        let parts = Parts(parts.0.clone());
        let identity = identity.clone();
        Box::pin(async move { parts.open_store(&identity, if_absent).await })
            as BoxFuture<'_, Result<Arc<dyn TokenStore>, OpenError>>
    })?;
    let site = Site {
        data: &folder,
        vault: &vault,
        object: None,
        former: None,
        trust_domain: &domain(),
        clock: &ManualClock::new(NOW),
    };
    fn sent<T: Send>(future: T) -> T {
        future
    }
    sent(found_or_open(site)).await
}

/// Beside statuses of a lost store: what they tell of must not look as if this one had issued it.
#[tokio::test]
async fn a_store_is_founded_above_every_epoch_that_is_told_of() {
    let world = Arc::new(World::default());
    *world.former.lock().unwrap() = 7;
    let opened = start(&world).await.unwrap();
    assert_eq!(opened.identity.epoch, 8);
    assert_eq!(opened.store.founded().unwrap().epoch, 8);
    assert_eq!(world.object.lock().unwrap().unwrap().epoch, 8);
    // Its own statuses are no reason for another.
    *world.former.lock().unwrap() = 8;
    assert_eq!(start(&world).await.unwrap().identity.epoch, 8);

    let world = Arc::new(World::default());
    *world.former.lock().unwrap() = i64::MAX as u64;
    let error = start(&world).await.err().unwrap();
    assert!(matches!(error, FoundingError::NoEpochLeft(_)), "{error}");
    assert!(world.identity.lock().unwrap().is_none());
}

/// An older copy of the log has forgotten who was admitted since.
#[tokio::test]
async fn no_message_advises_an_older_copy_of_the_data_folder() {
    let (world, _) = founded_world().await;
    let log = world.log.lock().unwrap().take();
    let without_log = start(&world).await.err().unwrap();
    *world.log.lock().unwrap() = Some(empty_log());
    let with_another = start(&world).await.err().unwrap();
    *world.log.lock().unwrap() = log;
    let identity = world.identity.lock().unwrap().take();
    let without_folder = start(&world).await.err().unwrap();
    assert!(identity.is_some());
    for error in [without_log, with_another, without_folder] {
        let said = error.to_string();
        assert!(
            said.contains("as it was last, since an older copy would admit again"),
            "{said}"
        );
        assert!(!said.contains("backup"), "{said}");
    }
}

struct Watched {
    world: Arc<World>,
    guard: KeyGuard,
    store: GuardedStore,
}

async fn watched() -> Watched {
    let (world, opened) = founded_world().await;
    let process = Process::new(&world, Death::Never);
    let parts = || Arc::new(Parts(process.clone()));
    let guard = KeyGuard::new(
        opened.identity,
        parts(),
        Some(parts()),
        opened.store.clone(),
    );
    let store = GuardedStore::new(opened.store, guard.in_order());
    Watched {
        world,
        guard,
        store,
    }
}

async fn issues(store: &GuardedStore) -> Result<(), StoreError> {
    let key = crate::token::SigningKey::generate(crate::token::Purpose::NodeDb).unwrap();
    let adopted = adopt_nodedb(store, &key, 60_000).await;
    adopted.map_err(|error| match error {
        AdoptError::Store(error) => error,
        error => panic!("{error}"),
    })
}

#[tokio::test]
async fn a_key_that_vanishes_or_changes_while_serving_stops_everything_that_issues() {
    let mut watched = watched().await;
    let items = watched.world.items.lock().unwrap().clone();
    let object = *watched.world.object.lock().unwrap();
    let (other, _) = founded_world().await;
    for name in ItemName::ALL {
        let foreign = other.items.lock().unwrap()[&name].clone();
        let mut relabelled = foreign.clone();
        relabelled.store_id = items[&name].store_id;
        let mut damaged = items[&name].clone();
        damaged.parts.clear();
        for instead in [None, Some(foreign), Some(relabelled), Some(damaged)] {
            let mut there = items.clone();
            there.remove(&name);
            there.extend(instead.map(|item| (name, item)));
            *watched.world.items.lock().unwrap() = there.clone();
            watched.guard.look().await;
            assert_eq!(issues(&watched.store).await, Err(StoreError::KeysAmiss));
            assert_eq!(
                *watched.world.items.lock().unwrap(),
                there,
                "nothing is made"
            );
            *watched.world.items.lock().unwrap() = items.clone();
            watched.guard.look().await;
            assert_eq!(issues(&watched.store).await, Ok(()));
        }
    }
    let other_founding = Founding {
        store_id: StoreId([9; 16]),
        epoch: 1,
    };
    for instead in [None, Some(other_founding)] {
        *watched.world.object.lock().unwrap() = instead;
        watched.guard.look().await;
        assert_eq!(issues(&watched.store).await, Err(StoreError::KeysAmiss));
        // What ends tokens goes on.
        let sweep = crate::lifecycle::command::Sweep { limit: 1 };
        assert!(crate::store::submit(&watched.store, sweep).await.is_ok());
    }
    *watched.world.object.lock().unwrap() = object;
    watched.guard.look().await;
    assert_eq!(issues(&watched.store).await, Ok(()));
}

/// The API server is away for a while: that says nothing of the keys.
#[tokio::test]
async fn keys_that_cannot_be_looked_at_change_nothing() {
    let mut watched = watched().await;
    *watched.world.is_out_of_reach.lock().unwrap() = true;
    watched.guard.look().await;
    assert_eq!(issues(&watched.store).await, Ok(()));
    *watched.world.is_out_of_reach.lock().unwrap() = false;
    watched.world.items.lock().unwrap().clear();
    watched.guard.look().await;
    *watched.world.is_out_of_reach.lock().unwrap() = true;
    watched.guard.look().await;
    assert_eq!(issues(&watched.store).await, Err(StoreError::KeysAmiss));
}

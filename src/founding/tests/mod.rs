//! Founding stopped after every effect, and every item missing, replaced or foreign afterwards: the world
//! in which it happens.

mod afterwards;
mod founding;
mod guard;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::{BoxFuture, LocalBoxFuture};
use tokio::sync::{broadcast, watch};
use zeroize::Zeroizing;

use super::*;
use crate::clock::ManualClock;
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings};
use crate::pki::{CaRole, TrustDomain};
use crate::store::reference::InMemoryStore;
use crate::store::{Change, Committed, Health, OpenError, StoreError, TokenStore};
use crate::token::{Fingerprint, KeyId, StoreId, TokenId};

const NOW: u64 = 1_790_000_000_000;

/// What outlives a process: disk, keys, the cluster's object, the store's log.
#[derive(Default)]
struct World {
    identity: Mutex<Option<Identity>>,
    items: Mutex<BTreeMap<ItemName, Item>>,
    object: Mutex<Option<Founding>>,
    log: Mutex<Option<Arc<InMemoryStore>>>,
    /// The epochs in statuses.
    former: Mutex<Vec<u64>>,
    /// Stores that statuses tell of and that were not taken over.
    strangers: Mutex<Vec<Stranger>>,
    is_out_of_reach: Mutex<bool>,
    /// It answers nothing at all.
    is_silent: Mutex<bool>,
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
    ) -> LocalBoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>> {
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
        if *self.0.world.is_silent.lock().unwrap() {
            return std::future::pending().boxed();
        }
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
    fn greatest(&self, known: u64) -> BoxFuture<'_, Result<ToldEpochs, VaultError>> {
        let mut told = ToldEpochs::beside(known);
        for epoch in &*self.0.world.former.lock().unwrap() {
            told.add(*epoch, || "JoinToken edge/n1".to_owned());
        }
        after_a_moment(Ok(told))
    }

    fn strangers(&self) -> BoxFuture<'_, Result<Vec<Stranger>, VaultError>> {
        after_a_moment(Ok(self.0.world.strangers.lock().unwrap().clone()))
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
        group: None,
        data: &parts,
        vault: &parts,
        object: Some(&parts),
        former: Some(&parts),
        trust_domain: domain,
        clock: &ManualClock::new(NOW),
    };
    found_or_open(site).await
}

/// Outside Kubernetes: only the keys say that there was a founding.
async fn run_without_object(
    process: &Arc<Process>,
    group: Option<GroupPlace>,
) -> Result<Opened, FoundingError> {
    let parts = Parts(process.clone());
    let site = Site {
        group,
        data: &parts,
        vault: &parts,
        object: None,
        former: None,
        trust_domain: &domain(),
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

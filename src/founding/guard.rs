//! Looks after the keys while the store is served: what vanishes or changes then stops minting and
//! signing, as it would keep the store from being opened.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use super::checks::Checks;
use super::identity::Identity;
use super::vault::{FoundingObject, Vault};
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings};
use crate::store::{Change, Committed, Health, StoreError, TokenStore};
use crate::token::{KeyId, TokenId};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(10);

/// Looks at keys and founding object again and again.
///
/// What it cannot look at (an API server that does not answer) changes nothing: the keys in
/// memory were right when they were last seen.
pub struct KeyGuard {
    identity: Identity,
    vault: Arc<dyn Vault>,
    object: Option<Arc<dyn FoundingObject>>,
    store: Arc<dyn TokenStore>,
    in_order: watch::Sender<bool>,
    /// The last look failed.
    is_blind: bool,
}

impl KeyGuard {
    /// Looks after what this store was founded with. Everything is taken to be in order at first.
    pub fn new(
        identity: Identity,
        vault: Arc<dyn Vault>,
        object: Option<Arc<dyn FoundingObject>>,
        store: Arc<dyn TokenStore>,
    ) -> Self {
        Self {
            identity,
            vault,
            object,
            store,
            in_order: watch::Sender::new(true),
            is_blind: false,
        }
    }

    /// Whether everything is in order.
    pub fn in_order(&self) -> watch::Receiver<bool> {
        self.in_order.subscribe()
    }

    /// Looks, until it is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.look().await;
        }
    }

    /// Says whether everything is in order; `true`: that is new. Whoever listens looks at every resource each time it is
    /// told, so a value that is the same as before is not sent again.
    fn turn(&self, in_order: bool) -> bool {
        self.in_order
            .send_if_modified(|now| std::mem::replace(now, in_order) != in_order)
    }

    /// Looks once.
    pub(super) async fn look(&mut self) {
        let checks = Checks {
            vault: &*self.vault,
            object: self.object.as_deref(),
        };
        match checks.all(&*self.store, &self.identity).await {
            Ok(()) => {
                self.is_blind = false;
                if self.turn(true) {
                    tracing::info!("the keys are in order again: minting and signing go on");
                }
            }
            Err(error) if error.is_about_keys() => {
                self.is_blind = false;
                if self.turn(false) {
                    tracing::error!(%error, "minting and signing have stopped until this is put right");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::warn!(%error, "the keys cannot be looked at; what was last seen of them stands");
                }
            }
        }
    }
}

/// A store that issues nothing while the keys are not in order: no token, no claim, no key. What ends
/// tokens goes on.
pub struct GuardedStore {
    store: Arc<dyn TokenStore>,
    in_order: watch::Receiver<bool>,
}

impl GuardedStore {
    /// Guards this store.
    pub fn new(store: Arc<dyn TokenStore>, in_order: watch::Receiver<bool>) -> Self {
        Self { store, in_order }
    }
}

/// A signature or a token follows from it.
const fn issues(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Register(_) | Operation::Begin(_) | Operation::AdoptKey(_)
    )
}

impl TokenStore for GuardedStore {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        if issues(&operation) && !*self.in_order.borrow() {
            return async { Err(StoreError::KeysAmiss) }.boxed();
        }
        self.store.propose(operation)
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.barrier()
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.store.record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.store.issuance(issuance)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.store.keys()
    }

    fn key(&self, key_id: &KeyId) -> Option<AdoptKey> {
        self.store.key(key_id)
    }

    fn key_count(&self) -> usize {
        self.store.key_count()
    }

    fn founded(&self) -> Option<Founded> {
        self.store.founded()
    }

    fn restored_at(&self) -> Option<u64> {
        self.store.restored_at()
    }

    fn settings(&self) -> Settings {
        self.store.settings()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.store.changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.store.health()
    }
}

//! Looks after the keys while the store is served: what vanishes or changes then stops minting and
//! signing, as it would keep the store from being opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::checks::Checks;
use super::identity::Identity;
use super::vault::{FoundingObject, Vault};
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings};
use crate::store::{Change, Committed, Health, StoreError, TokenStore};
use crate::token::{KeyId, TokenId};

/// How often it looks, and how long a look at all of them may take: that it sees nothing is known within 20 s.
const EVERY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(10);

/// Looks at keys and founding object again and again.
///
/// What it cannot look at (an API server that does not answer) changes nothing: the keys in
/// memory were right when they were last seen. It is said, and for how long that has been so.
pub struct KeyGuard {
    identity: Identity,
    vault: Arc<dyn Vault>,
    object: Option<Arc<dyn FoundingObject>>,
    store: Arc<dyn TokenStore>,
    in_order: watch::Sender<bool>,
    /// What was said last of what is amiss.
    amiss: Option<String>,
    /// When they were last seen, as they should be or not; and for how long they have not been since, as of the last look.
    seen_at: Instant,
    unseen: watch::Sender<Duration>,
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
            amiss: None,
            seen_at: Instant::now(),
            unseen: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Whether everything is in order.
    pub fn in_order(&self) -> watch::Receiver<bool> {
        self.in_order.subscribe()
    }

    /// For how long the keys have not been seen: zero, if the last look saw them.
    pub fn unseen(&self) -> watch::Receiver<Duration> {
        self.unseen.subscribe()
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
        let looked = tokio::time::timeout(LOOK, checks.all(&*self.store, &self.identity)).await;
        match looked {
            Ok(Ok(())) => {
                self.see();
                self.amiss = None;
                if self.turn(true) {
                    tracing::info!("the keys are in order again: minting and signing go on");
                }
            }
            Ok(Err(error)) if error.is_about_keys() => {
                self.see();
                self.turn(false);
                // One trouble may follow another.
                let amiss = Some(error.to_string());
                if std::mem::replace(&mut self.amiss, amiss.clone()) != amiss {
                    tracing::error!(%error, "minting and signing have stopped until this is put right");
                }
            }
            Ok(Err(error)) => self.miss(&error),
            Err(_) => self.miss(&format_args!("no answer within {} s", LOOK.as_secs())),
        }
    }

    /// They were seen.
    fn see(&mut self) {
        self.seen_at = Instant::now();
        if !self.unseen.send_replace(Duration::ZERO).is_zero() {
            tracing::info!("the keys can be looked at again");
        }
    }

    /// They were not, which is said once.
    fn miss(&self, error: &dyn fmt::Display) {
        let unseen = self.seen_at.elapsed().max(Duration::from_secs(1));
        if self.unseen.send_replace(unseen).is_zero() {
            let as_seen = match *self.in_order.borrow() {
                true => "tokens are minted and machines admitted as before",
                false => "minting and signing stay stopped",
            };
            tracing::warn!(
                %error,
                "the keys cannot be looked at; what was last seen of them stands: {as_seen}, and a key that is deleted meanwhile is not missed. \
                 See to it that the replica reaches them; jointoken_keys_unseen_seconds says for how long it has not"
            );
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

    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        self.store.live_part(from)
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

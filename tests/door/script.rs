//! A store in front of a store, on which tests play faults.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jointoken::lifecycle::command::{AdoptKey, Founded};
use jointoken::lifecycle::{Issuance, IssuanceEntry, Operation, Record, Settings};
use jointoken::store::{Change, Committed, Health, StoreError, TokenStore};
use jointoken::token::{KeyId, TokenId};
use tokio::sync::{Notify, broadcast, watch};

/// What becomes of an operation.
pub enum Play {
    /// Nothing unusual.
    Pass,
    /// It is not proposed.
    Fail(StoreError),
    /// It is committed, and nobody is told.
    CommitThenFail(StoreError),
    /// It waits until it is let go, then passes.
    Hold(Arc<Gate>),
    /// The store's code panics.
    Panic,
}

/// Where an operation waits.
#[derive(Default)]
pub struct Gate {
    reached: Notify,
    open: Notify,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns once an operation stands at the gate.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    pub fn open(&self) {
        self.open.notify_one();
    }
}

type Script = Box<dyn FnMut(&Operation) -> Play + Send>;

pub struct ScriptedStore {
    inner: Arc<dyn TokenStore>,
    script: Mutex<Script>,
}

impl ScriptedStore {
    pub fn new(inner: Arc<dyn TokenStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            script: Mutex::new(Box::new(|_| Play::Pass)),
        })
    }

    /// From now on `script` decides.
    pub fn play(&self, script: impl FnMut(&Operation) -> Play + Send + 'static) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    /// The first operation that `chosen` says yes to gets `play`, all others pass.
    pub fn play_once(&self, chosen: fn(&Operation) -> bool, play: Play) {
        let mut play = Some(play);
        self.play(move |operation| match chosen(operation) {
            true => play.take().unwrap_or(Play::Pass),
            false => Play::Pass,
        });
    }
}

pub fn is_begin(operation: &Operation) -> bool {
    matches!(operation, Operation::Begin(_))
}

pub fn is_consume(operation: &Operation) -> bool {
    matches!(operation, Operation::Consume(_))
}

impl TokenStore for ScriptedStore {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        async move {
            let play = {
                let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
                script(&operation)
            };
            match play {
                Play::Pass => self.inner.propose(operation).await,
                Play::Fail(error) => Err(error),
                Play::CommitThenFail(error) => {
                    self.inner.propose(operation).await?;
                    Err(error)
                }
                Play::Hold(gate) => {
                    gate.reached.notify_one();
                    gate.open.notified().await;
                    self.inner.propose(operation).await
                }
                Play::Panic => panic!("as the test wants it"),
            }
        }
        .boxed()
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.barrier()
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.inner.record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.inner.issuance(issuance)
    }

    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        self.inner.live_part(from)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.inner.keys()
    }

    fn key(&self, key_id: &KeyId) -> Option<AdoptKey> {
        self.inner.key(key_id)
    }

    fn key_count(&self) -> usize {
        self.inner.key_count()
    }

    fn founded(&self) -> Option<Founded> {
        self.inner.founded()
    }

    fn restored_at(&self) -> Option<u64> {
        self.inner.restored_at()
    }

    fn settings(&self) -> Settings {
        self.inner.settings()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.inner.changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }
}

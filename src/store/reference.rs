//! What a store must do, without a disk or a group: the measure for the contract tests, and a
//! store for tests of other rooms. Nothing that is shipped can select it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{Command, Issuance, IssuanceEntry, Operation, Record, Settings, State};
use crate::token::{KeyId, TokenId};

use super::leader_clock::may_issue;
use super::live::Live;
use super::token_store::{Change, Committed, Health, StoreError, TokenStore};

/// A store in memory that always leads. It sweeps only when a `Sweep` is proposed.
pub struct InMemoryStore {
    live: Live,
    /// The index of the last command; held while the next is applied.
    index: Mutex<u64>,
    clock: Arc<dyn Clock>,
    health: watch::Sender<Health>,
}

impl InMemoryStore {
    /// An empty store; the clock stamps what is proposed.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_state(clock, State::new())
    }

    /// A store that goes on from this state.
    pub fn with_state(clock: Arc<dyn Clock>, state: State) -> Self {
        let health = Health {
            is_leader: true,
            leader_known: true,
            ..Health::default()
        };
        Self {
            index: Mutex::new(state.last_change()),
            live: Live::new(state),
            clock,
            health: watch::Sender::new(health),
        }
    }

    /// What a snapshot would hold.
    pub fn state(&self) -> State {
        self.live.read().clone()
    }

    /// Lets it lose its leader, or find one again.
    pub fn set_leader(&self, is_leader: bool) {
        self.health.send_modify(|health| {
            health.is_leader = is_leader;
            health.leader_known = is_leader;
        });
    }

    fn apply(&self, operation: Operation) -> Result<Committed, StoreError> {
        if !self.health.borrow().is_leader {
            return Err(StoreError::NoLeader);
        }
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = self.clock.now_ms();
        if !may_issue(&operation, self.live.read().now_ms(), at_ms) {
            return Err(StoreError::Clock);
        }
        *index += 1;
        let (committed, _) = self.live.apply(*index, &Command { at_ms, operation });
        self.health.send_modify(|health| {
            health.applied_index = *index;
            health.committed_index = *index;
        });
        Ok(committed)
    }
}

impl TokenStore for InMemoryStore {
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>> {
        async move { self.apply(operation) }.boxed()
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            match self.health.borrow().is_leader {
                true => Ok(()),
                false => Err(StoreError::NoLeader),
            }
        }
        .boxed()
    }

    fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.live.read().record(token_id)
    }

    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.live.read().issuance(issuance)
    }

    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        self.live.live_part(from)
    }

    fn keys(&self) -> Vec<AdoptKey> {
        self.live.read().keys()
    }

    fn key(&self, key_id: &KeyId) -> Option<AdoptKey> {
        self.live.read().key(key_id).cloned()
    }

    fn key_count(&self) -> usize {
        self.live.read().key_count()
    }

    fn founded(&self) -> Option<Founded> {
        self.live.read().founded().cloned()
    }

    fn restored_at(&self) -> Option<u64> {
        self.live.read().restored().map(|restored| restored.index)
    }

    fn settings(&self) -> Settings {
        self.live.read().settings().clone()
    }

    fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.live.changes()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

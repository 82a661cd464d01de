//! The one door of the store.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use crate::lifecycle::command::{AdoptKey, Founded};
use crate::lifecycle::{
    HouseChange, Issuance, IssuanceEntry, Operation, Outcome, Record, Settings, Transition, Typed,
};
use crate::token::{KeyId, TokenId};

/// Keeps tokens' records, each change committed by a majority and synced to disk before it is answered.
///
/// Local reads (`record`, `issuance`, `keys`, …) show what this replica has applied, which may be
/// old: they may let a request go on, a refusal needs an outcome from [`TokenStore::propose`] or a
/// [`TokenStore::barrier`] before the read.
pub trait TokenStore: Send + Sync + 'static {
    /// Has the leader stamp the operation with its time, commits and applies it.
    ///
    /// Every operation may be proposed again: the same one twice has the effect of one.
    fn propose(&self, operation: Operation) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// Returns once this replica has applied everything that was committed before the call.
    fn barrier(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The record of a token, as applied here.
    fn record(&self, token_id: &TokenId) -> Option<Record>;

    /// What is known of a resource's name, as applied here.
    fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry>;

    /// The resources whose tokens are live, of a part of all records, as applied here; and from which place on there are more.
    /// All are seen by whoever begins at 0.
    fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>);

    /// The adopted keys, in order of their ids, as applied here.
    fn keys(&self) -> Vec<AdoptKey>;

    /// The adopted key of this id, as applied here.
    fn key(&self, key_id: &KeyId) -> Option<AdoptKey>;

    /// How many keys were adopted, as applied here. None goes while the store lives.
    fn key_count(&self) -> usize;

    /// How the store was founded; `None` before it is.
    fn founded(&self) -> Option<Founded>;

    /// The place in the log at which the state was restored from a former store's snapshot; `None`: it never was.
    fn restored_at(&self) -> Option<u64>;

    /// The limits in force, as applied here.
    fn settings(&self) -> Settings;

    /// A feed of what is applied here from now on. A hint: on `Lagged`, and on a change of everything,
    /// look at everything again.
    fn changes(&self) -> broadcast::Receiver<Arc<Change>>;

    /// What this replica knows of itself and the group; changes are seen by `changed()`.
    fn health(&self) -> watch::Receiver<Health>;
}

/// Proposes an operation and takes its outcome by its type.
///
/// # Errors
/// As [`TokenStore::propose`].
pub async fn submit<O: Typed>(
    store: &dyn TokenStore,
    operation: O,
) -> Result<O::Outcome, StoreError> {
    let committed = store.propose(operation.into()).await?;
    O::outcome(committed.outcome).ok_or(StoreError::Stopped)
}

/// A committed operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub index: u64,
    /// The state's clock after it, milliseconds since the epoch.
    pub now_ms: u64,
    pub outcome: Outcome,
}

/// An entry of the log changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The log index: identifies the change for ever.
    pub index: u64,
    /// The state's clock after it, milliseconds since the epoch.
    pub now_ms: u64,
    /// Of records, in the order in which they happened.
    pub transitions: Vec<Transition>,
    /// Of the store as a whole.
    pub house: Option<HouseChange>,
}

impl Change {
    /// The state was replaced whole (a snapshot was installed): anything may have changed.
    pub const fn is_everything(&self) -> bool {
        self.transitions.is_empty() && self.house.is_none()
    }
}

/// Why an operation has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No leader is known or none was reached: nothing was proposed, try again.
    #[error("the store has no leader at the moment")]
    NoLeader,
    /// Whether it was committed is not known: propose the same operation again.
    #[error("the store did not answer in time; whether the operation was carried out is not known")]
    Unknown,
    /// The state's clock is far ahead of the leader's: nothing new may be issued until time has caught up.
    #[error("the store's clock is ahead of the group's by more than five minutes")]
    Clock,
    /// A key has vanished or was exchanged since the store was opened: nothing is issued until it is back.
    #[error(
        "a key of the store is missing or was exchanged: the log of its operator says which, and what to do"
    )]
    KeysAmiss,
    /// The store has stopped (a failed disk, an unusable log): the process is about to end.
    #[error("the store has stopped")]
    Stopped,
}

/// What a replica knows of itself and the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// This replica leads, and has applied everything of the terms before its own.
    pub is_leader: bool,
    pub leader_known: bool,
    /// The highest index applied here, and the highest known to be committed.
    pub applied_index: u64,
    pub committed_index: u64,
    /// The replicas' states differ, and this one's is not a majority's, or the group has two pasts: it serves nobody.
    pub suspended: bool,
    /// The leader, or a majority, was not heard of for some seconds; or this replica leads and no majority acknowledges what it
    /// sends, or follows and is sent nothing: nothing can be committed.
    pub cut_off: bool,
    /// What is in the log here is not committed, or what is committed not applied, and neither has advanced for some seconds.
    pub stalled: bool,
    /// The log here lacks entries that are known to be committed: this replica does not campaign until it has them.
    pub incomplete: bool,
    /// It lacks everything, since it is new in its group or its folder was emptied: that nobody need wonder about.
    pub newcomer: bool,
    /// The store has stopped for good, and why.
    pub fatal: Option<String>,
}

impl Health {
    /// Fit to serve: a known leader and nearly everything applied.
    pub const fn is_ready(&self) -> bool {
        self.leader_known
            && !self.cut_off
            && !self.stalled
            && !self.suspended
            && self.fatal.is_none()
            && self.committed_index.saturating_sub(self.applied_index) < 1_000
    }
}

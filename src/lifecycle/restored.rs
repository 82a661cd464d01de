//! What it is to restore a state: what is asked for, what stays known of it, and why it is refused.

use crate::token::StoreId;

use super::command::Founded;
use super::outcome::HouseChange;
use super::state::State;

/// Asks to make a former store's state that of a new store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The place in the log that the restore takes: behind all that changed the state.
    pub index: u64,
    /// What the new store is: its id is another than the former's and its epoch is higher.
    pub founded: Founded,
    /// The clock is set back to this, if it is ahead of it. Milliseconds since the epoch.
    pub clock_ms: Option<u64>,
}

/// That a state was restored, and from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The store that it was the state of.
    pub former_store_id: StoreId,
    /// The epoch that store had.
    pub former_epoch: u64,
    /// The place in the log that the restore took.
    pub index: u64,
    /// How many live tokens it ended.
    pub ended: u64,
}

/// Why a state is not restored like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreRefusal {
    /// It is nobody's.
    #[error("the state is of a store that was never founded")]
    NotFounded,
    /// Tokens that were used since would be accepted again.
    #[error("a restored store takes a new id, and this is the former one, {0}")]
    SameStore(StoreId),
    /// What tells of the former store would seem to tell of this one.
    #[error("a restored store takes an epoch above the former one, {0}")]
    Epoch(u64),
    /// All names end in it, and the machines that were admitted have theirs.
    #[error("the trust domain stays as it was: {0:?}")]
    TrustDomain(String),
    /// The log has been there.
    #[error("the restore has to come behind the last change, which has the index {0}")]
    Index(u64),
    /// A founding that no state would take.
    #[error("no store can be founded like this")]
    Unacceptable,
}

impl State {
    /// How the audit tells that this state was restored, and at which index; `None` if it never was.
    pub fn restoration(&self) -> Option<(u64, HouseChange)> {
        let (from, founded) = (self.restored()?, self.founded()?);
        let change = HouseChange::Restored {
            store_id: founded.store_id,
            epoch: founded.epoch,
            from: from.clone(),
        };
        Some((from.index, change))
    }
}

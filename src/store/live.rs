//! The state as applied here, for everybody to read, and the feed of its changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::broadcast;

use crate::lifecycle::{Command, Issuance, State};

use super::token_store::{Change, Committed};

/// So many changes may be unread before a receiver is told that it lags.
const FEED: usize = 4_096;

/// So many places are looked at before others may go on: some hundred microseconds.
pub(super) const PART: u32 = 4_096;

/// The state as applied here.
pub(crate) struct Live {
    state: RwLock<State>,
    /// Of the last command that the state has seen. Written while the state is locked.
    index: AtomicU64,
    changes: broadcast::Sender<Arc<Change>>,
}

impl Live {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: RwLock::new(state),
            index: AtomicU64::new(0),
            changes: broadcast::channel(FEED).0,
        }
    }

    /// For reading. Not to be held over an `await`: it holds up `apply`.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // Poisoned only if `apply` panicked, after which the store serves nobody any more.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resources whose tokens are live, of the part of all records that begins here; and where the next part begins. Nobody
    /// waits for the whole.
    pub(crate) fn live_part(&self, from: u32) -> (Vec<Issuance>, Option<u32>) {
        let state = self.read();
        let end = state.places();
        let to = end.min(from.saturating_add(PART));
        let live = state.live_in(from..to).collect();
        (live, (to < end).then_some(to))
    }

    /// A copy of the state, and the place in the log of the last command that it has seen.
    pub(crate) fn copy(&self) -> (u64, State) {
        let state = self.read();
        (self.index.load(Ordering::Relaxed), state.clone())
    }

    /// Applies a command and tells everybody what it changed, if it did.
    pub(crate) fn apply(&self, index: u64, command: &Command) -> (Committed, Option<Arc<Change>>) {
        let applied = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            self.index.store(index, Ordering::Relaxed);
            state.apply(index, command)
        };
        let change = Arc::new(Change {
            index,
            now_ms: applied.now_ms,
            transitions: applied.transitions,
            house: applied.house,
        });
        let change = (!change.is_everything()).then_some(change);
        if let Some(change) = &change {
            // Nobody may be listening.
            let _ = self.changes.send(change.clone());
        }
        let committed = Committed {
            index,
            now_ms: applied.now_ms,
            outcome: applied.outcome,
        };
        (committed, change)
    }

    /// Puts another state in its place, whole, as it was at this index. What changed is not known:
    /// a change of everything is told.
    pub(crate) fn replace(&self, index: u64, state: State) {
        let now_ms = state.now_ms();
        {
            let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
            self.index.store(index, Ordering::Relaxed);
            *current = state;
        }
        let _ = self.changes.send(Arc::new(Change {
            index,
            now_ms,
            transitions: Vec::new(),
            house: None,
        }));
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }
}

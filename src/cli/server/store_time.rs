//! The store's time of day.

use crate::clock::{Clock, SystemClock};
use crate::store::RaftStore;

/// The time of day as the store goes by it. By its machine's own, the door of a replica with a wrong clock would call tokens
/// expired that the store has not seen yet, and no joiner would trust its certificate or its `Date`.
pub(super) struct StoreTime(RaftStore);

impl StoreTime {
    pub(super) const fn of(store: RaftStore) -> Self {
        Self(store)
    }
}

impl Clock for StoreTime {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    fn boot_ms(&self) -> u64 {
        SystemClock.boot_ms()
    }

    fn is_synchronised(&self) -> bool {
        SystemClock.is_synchronised()
    }
}

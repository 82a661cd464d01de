//! Where each replica is reached at this moment.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::Clock;
use crate::store::types::NodeId;

use super::roster::{Heard, LATELY_MS, Roster};
use super::transport::PeerAddress;

/// What the members' table says of a replica.
type EntryOf = Box<dyn Fn(NodeId) -> Option<PeerAddress> + Send + Sync>;

/// Where replicas are reached. It is looked up for every request: openraft keeps its streams, and each the address that it began
/// with, while members move.
pub(crate) struct Whereabouts {
    roster: Mutex<Roster>,
    clock: Arc<dyn Clock>,
    entry_of: OnceLock<EntryOf>,
}

impl Whereabouts {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            roster: Mutex::default(),
            clock,
            entry_of: OnceLock::new(),
        }
    }

    /// From now on this is the members' table.
    pub(crate) fn follow(&self, entry_of: EntryOf) {
        let _ = self.entry_of.set(entry_of);
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this one is, as far as it is known here. Not to be asked while openraft's metrics are borrowed.
    pub(crate) fn of(&self, node: NodeId) -> Option<PeerAddress> {
        let entry = || self.entry_of.get().and_then(|entry_of| entry_of(node));
        where_is(self.roster().last(node), entry, self.clock.boot_ms())
    }
}

/// Where it was heard of lately, since that was proven, and a majority that has moved can change no entry before it has met; else
/// where its entry says.
fn where_is(
    heard: Option<&Heard>,
    entry: impl FnOnce() -> Option<PeerAddress>,
    boot_ms: u64,
) -> Option<PeerAddress> {
    let lately = heard.filter(|heard| heard.is_within(boot_ms, LATELY_MS));
    let address = match lately {
        Some(heard) => Some(heard.address.clone()),
        None => entry().or_else(|| heard.map(|heard| heard.address.clone())),
    };
    // A replica that was alone has no address in its entry.
    address.filter(|address| !address.as_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::peers::Pulse;

    fn heard(address: &str, at_boot_ms: u64) -> Heard {
        Heard {
            address: PeerAddress::new(address),
            at_boot_ms,
            pulse: Pulse {
                clock_ms: 0,
                is_new: false,
                list: [0; 32],
                applied: 0,
                hashes: Vec::new(),
                rules: 1,
            },
        }
    }

    #[test]
    fn what_is_heard_counts_before_the_entry_and_the_entry_before_what_is_old() {
        let entry = || Some(PeerAddress::new("entry:1"));
        let moved = heard("moved:1", 5_000);
        let is = |heard, boot_ms| where_is(heard, entry, boot_ms).unwrap().to_string();
        assert_eq!(is(None, 5_000), "entry:1");
        assert_eq!(is(Some(&moved), 15_000), "moved:1");
        assert_eq!(is(Some(&moved), 15_001), "entry:1");
        let unknown = |heard, boot_ms| where_is(heard, || None, boot_ms);
        assert_eq!(
            unknown(Some(&moved), 90_000),
            Some(PeerAddress::new("moved:1"))
        );
        assert_eq!(unknown(None, 0), None);
        assert_eq!(where_is(None, || Some(PeerAddress::new("")), 0), None);
    }
}

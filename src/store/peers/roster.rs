//! Who was heard of lately, and what it told of itself.

use std::collections::BTreeMap;

use crate::store::types::NodeId;

use super::message::Pulse;
use super::transport::PeerAddress;

/// Who was not heard of for so long is not counted on: neither its clock nor its wish to be let in.
pub(crate) const LATELY_MS: u64 = 10_000;

/// Who was heard of, when, and what it told.
#[derive(Debug, Default)]
pub(crate) struct Roster(BTreeMap<NodeId, Heard>);

/// What was last heard of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The address that its certificate proved.
    pub address: PeerAddress,
    /// When, by this replica's clock that nobody sets.
    pub at_boot_ms: u64,
    pub pulse: Pulse,
}

impl Heard {
    /// Its clock now, if it has gone on as ours has.
    pub(crate) const fn clock_ms(&self, boot_ms: u64) -> u64 {
        let since = boot_ms.saturating_sub(self.at_boot_ms);
        self.pulse.clock_ms.saturating_add(since)
    }

    pub(super) const fn is_within(&self, boot_ms: u64, within_ms: u64) -> bool {
        boot_ms.saturating_sub(self.at_boot_ms) <= within_ms
    }
}

impl Roster {
    pub(crate) fn hear(&mut self, node: NodeId, heard: Heard) {
        self.0.insert(node, heard);
        // Whoever was wiped again and again leaves names behind.
        let oldest = heard_before(&self.0);
        if self.0.len() > 64 {
            oldest.map(|node| self.0.remove(&node));
        }
    }

    /// It was heard of at another address within the last so many milliseconds. A replica that moved was silent in between;
    /// so this is another process with the same node id.
    pub(crate) fn is_elsewhere(
        &self,
        node: NodeId,
        address: &PeerAddress,
        boot_ms: u64,
        within_ms: u64,
    ) -> bool {
        let heard = self.0.get(&node);
        heard.is_some_and(|heard| heard.address != *address && heard.is_within(boot_ms, within_ms))
    }

    /// The last that was ever heard of it.
    pub(crate) fn last(&self, node: NodeId) -> Option<&Heard> {
        self.0.get(&node)
    }

    /// Those heard of within the last so many milliseconds.
    pub(crate) fn since(
        &self,
        boot_ms: u64,
        within_ms: u64,
    ) -> impl Iterator<Item = (NodeId, &Heard)> {
        let heard = self.0.iter().map(|(node, heard)| (*node, heard));
        heard.filter(move |(_, heard)| heard.is_within(boot_ms, within_ms))
    }
}

fn heard_before(heard: &BTreeMap<NodeId, Heard>) -> Option<NodeId> {
    let oldest = heard.iter().min_by_key(|(_, heard)| heard.at_boot_ms);
    oldest.map(|(node, _)| *node)
}

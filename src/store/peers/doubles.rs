//! Whether a node id that is heard of at two addresses is a replica that moves, or two processes.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::types::NodeId;

use super::roster::LATELY_MS;
use super::transport::PeerAddress;

/// Whoever is heard of so long after another was refused is not a message that was late.
const APART_MS: u64 = 1_000;

/// Node ids that were heard of at another address than the one at which they are listened to.
#[derive(Debug, Default)]
pub(crate) struct Doubles {
    refused: BTreeMap<NodeId, Refused>,
    said: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Refused {
    address: PeerAddress,
    first_ms: u64,
    last_ms: u64,
    /// Since then it was heard of where it is listened to.
    is_elsewhere_too: bool,
}

impl Doubles {
    /// It is not listened to at this address. `true`: both processes are there, and that is new.
    pub(crate) fn refuse(&mut self, node: NodeId, address: &PeerAddress, now_ms: u64) -> bool {
        let new = || Refused {
            address: address.clone(),
            first_ms: now_ms,
            last_ms: now_ms,
            is_elsewhere_too: false,
        };
        let refused = self.refused.entry(node).or_insert_with(new);
        let is_another = refused.address != *address;
        if is_another || now_ms.saturating_sub(refused.last_ms) > LATELY_MS {
            *refused = new();
        }
        refused.last_ms = now_ms;
        refused.is_elsewhere_too && self.said.insert(node)
    }

    /// It is heard of at this address, where it is listened to.
    pub(crate) fn hear(&mut self, node: NodeId, address: &PeerAddress, now_ms: u64) {
        let Some(refused) = self.refused.get_mut(&node) else {
            return;
        };
        if refused.address == *address {
            // It has moved there.
            self.refused.remove(&node);
        } else if now_ms.saturating_sub(refused.first_ms) >= APART_MS {
            refused.is_elsewhere_too = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_moves_is_not_two() {
        let (old, new) = (PeerAddress::new("old:1"), PeerAddress::new("new:1"));
        let mut doubles = Doubles::default();
        doubles.hear(1, &old, 0);
        assert!(!doubles.refuse(1, &new, 400));
        // What was on its way.
        doubles.hear(1, &old, 410);
        for now_ms in (900..3_000).step_by(500) {
            assert!(!doubles.refuse(1, &new, now_ms));
        }
        doubles.hear(1, &new, 3_400);
        assert!(!doubles.refuse(1, &old, 3_500));
        // It goes back.
        doubles.hear(1, &old, 7_000);
        assert!(!doubles.refuse(1, &new, 7_100));
    }

    #[test]
    fn two_are_told_once() {
        let (old, new) = (PeerAddress::new("old:1"), PeerAddress::new("new:1"));
        let mut doubles = Doubles::default();
        assert!(!doubles.refuse(1, &new, 0));
        doubles.hear(1, &old, 500);
        assert!(!doubles.refuse(1, &new, 510));
        doubles.hear(1, &old, 1_000);
        assert!(doubles.refuse(1, &new, 1_010));
        doubles.hear(1, &old, 1_500);
        assert!(!doubles.refuse(1, &new, 1_510));
    }
}

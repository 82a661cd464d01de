//! What members have acknowledged to the leader, so that one that has lost it again is noticed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::types::{LogId, NodeId, Vote};

/// Up to where each member has acknowledged what this leader sent.
#[derive(Default)]
pub(super) struct Acknowledged(Mutex<BTreeMap<NodeId, Acknowledgement>>);

#[derive(Clone, Copy)]
struct Acknowledgement {
    /// To the leader of this vote.
    to: Vote,
    upto: Option<LogId>,
}

impl Acknowledged {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Acknowledgement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn extend(&self, by: NodeId, to: Vote, upto: Option<LogId>) {
        let mut all = self.lock();
        let known = all.entry(by).or_insert(Acknowledgement { to, upto });
        match known.to == to {
            true => known.upto = known.upto.max(upto),
            false => *known = Acknowledgement { to, upto },
        }
    }

    /// Whether the member has told this leader that it has the entry.
    pub(super) fn has(&self, by: NodeId, to: Vote, entry: Option<LogId>) -> bool {
        let all = self.lock();
        (all.get(&by)).is_some_and(|known| known.to == to && entry <= known.upto)
    }

    /// The member lacks an entry that it had acknowledged. It is said once for each time that it has lost something.
    pub(super) fn take_back(&self, by: NodeId, to: Vote, entry: Option<LogId>) {
        let mut all = self.lock();
        let Some(known) = all.get_mut(&by).filter(|known| known.to == to) else {
            return;
        };
        if entry <= known.upto {
            known.upto = None;
            tracing::error!(
                node = %format_args!("{by:016x}"),
                "a replica lacks entries which it had acknowledged: its data folder was set back to an older copy, or its disk does not keep what was synced. \
                 It is sent them again, and does not count for them until it has them. If nobody has set it back, replace its disk"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::LeaderId;

    fn vote(term: u64) -> Vote {
        Vote {
            leader_id: LeaderId { term, node_id: 1 },
            committed: true,
        }
    }

    fn entry(index: u64) -> Option<LogId> {
        let leader_id = LeaderId {
            term: 1,
            node_id: 1,
        };
        Some(LogId::new(leader_id, index))
    }

    #[test]
    fn what_was_taken_back_is_not_acknowledged_until_it_is_again() {
        let all = Acknowledged::default();
        assert!(!all.has(2, vote(1), entry(3)));
        all.extend(2, vote(1), entry(7));
        all.extend(2, vote(1), entry(5));
        assert!(all.has(2, vote(1), entry(7)) && !all.has(2, vote(1), entry(8)));
        assert!(!all.has(2, vote(2), entry(3)) && !all.has(3, vote(1), entry(3)));
        // To a leader before this one.
        all.take_back(2, vote(0), entry(6));
        assert!(all.has(2, vote(1), entry(7)));
        all.take_back(2, vote(1), entry(6));
        assert!(!all.has(2, vote(1), entry(3)));
        all.extend(2, vote(1), entry(4));
        assert!(all.has(2, vote(1), entry(4)) && !all.has(2, vote(1), entry(5)));
        all.extend(2, vote(2), entry(1));
        assert!(!all.has(2, vote(2), entry(4)));
    }
}

//! The hashes of the state at round indices, by which replicas find out that they differ.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::lifecycle::StateHash;

use super::types::NodeId;

/// Coarse rounds are kept for those who lag, fine ones for groups in which little happens.
const FINE: u64 = 64;
const COARSE: u64 = 1_024;
const KEPT_OF_EACH: usize = 32;

/// The last hashes of this replica's state.
#[derive(Default)]
pub(crate) struct Rounds(Mutex<BTreeMap<u64, StateHash>>);

impl Rounds {
    /// Whether the hash at this index is to be noted.
    pub(crate) const fn is_round(index: u64) -> bool {
        index.is_multiple_of(FINE)
    }

    pub(crate) fn note(&self, index: u64, hash: StateHash) {
        let mut rounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.insert(index, hash);
        for coarse in [true, false] {
            let of_kind = |index: &u64| index.is_multiple_of(COARSE) == coarse;
            while rounds.keys().filter(|index| of_kind(index)).count() > KEPT_OF_EACH {
                let oldest = rounds.keys().copied().find(of_kind);
                oldest.map(|index| rounds.remove(&index));
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<(u64, StateHash)> {
        let rounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.iter().map(|(index, hash)| (*index, *hash)).collect()
    }
}

/// What the hashes of a group say of this replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As far as is known it is like the others.
    Alike,
    /// At this index a majority of the voters has another state.
    InTheMinority(u64),
    /// At this index all voters have told, and no majority is alike.
    NoMajority(u64),
}

/// Compares, at the highest index at which it can be decided. `hashes`: of each voter, this replica's own among them.
pub(crate) fn compare(
    me: NodeId,
    hashes: &BTreeMap<NodeId, BTreeMap<u64, StateHash>>,
    voters: usize,
) -> Verdict {
    let Some(mine) = hashes.get(&me) else {
        return Verdict::Alike;
    };
    let majority = voters / 2 + 1;
    for (index, own) in mine.iter().rev() {
        let told: Vec<_> = hashes.values().filter_map(|of| of.get(index)).collect();
        let with = |hash: &StateHash| told.iter().filter(|other| **other == hash).count();
        let most = told.iter().map(|hash| with(hash)).max().unwrap_or(0);
        if most >= majority {
            return match with(own) >= majority {
                true => Verdict::Alike,
                false => Verdict::InTheMinority(*index),
            };
        }
        if told.len() == voters {
            return Verdict::NoMajority(*index);
        }
    }
    Verdict::Alike
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StateHash = StateHash([1; 16]);
    const B: StateHash = StateHash([2; 16]);
    const C: StateHash = StateHash([3; 16]);

    fn group(of: &[&[(u64, StateHash)]]) -> BTreeMap<NodeId, BTreeMap<u64, StateHash>> {
        let each = of.iter().map(|of| of.iter().copied().collect());
        (1..).zip(each).collect()
    }

    #[test]
    fn who_differs_from_a_majority_is_in_the_minority() {
        let hashes = group(&[&[(64, A)], &[(64, B)], &[(64, B)]]);
        assert_eq!(compare(1, &hashes, 3), Verdict::InTheMinority(64));
        assert_eq!(compare(2, &hashes, 3), Verdict::Alike);
    }

    #[test]
    fn without_a_majority_nobody_is_right() {
        let hashes = group(&[&[(64, A)], &[(64, B)], &[(64, C)]]);
        for me in 1..=3 {
            assert_eq!(compare(me, &hashes, 3), Verdict::NoMajority(64));
        }
        let two = group(&[&[(64, A)], &[(64, B)]]);
        assert_eq!(compare(1, &two, 2), Verdict::NoMajority(64));
    }

    #[test]
    fn what_is_not_decided_yet_is_no_reason_to_stop() {
        let two_of_three = group(&[&[(64, A)], &[(64, B)]]);
        assert_eq!(compare(1, &two_of_three, 3), Verdict::Alike);
        // The highest that can be decided counts.
        let hashes = group(&[&[(64, A), (128, A)], &[(64, A), (128, B)], &[(64, A)]]);
        assert_eq!(compare(1, &hashes, 3), Verdict::Alike);
        assert_eq!(compare(1, &group(&[&[]]), 3), Verdict::Alike);
    }

    #[test]
    fn both_near_and_far_rounds_are_kept() {
        let rounds = Rounds::default();
        for index in (0..200 * COARSE).filter(|index| Rounds::is_round(*index)) {
            rounds.note(index, A);
        }
        let kept: Vec<_> = rounds.all().iter().map(|(index, _)| *index).collect();
        assert_eq!(kept.len(), 2 * KEPT_OF_EACH);
        assert_eq!(kept[0], 168 * COARSE);
        assert_eq!(kept.last(), Some(&(200 * COARSE - FINE)));
    }
}

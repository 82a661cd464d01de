//! Where the replicas of a StatefulSet are, how many of them are to be the group, and who is to be removed next. Decisions:
//! they are handed what is known, and somebody else carries them out.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::store::{MemberView, Members, PeerAddress, Role};

/// The addresses of all replicas that there may be, in order of their ordinals, and this replica's own among them.
#[derive(Debug, Clone)]
pub struct Places {
    all: Vec<PeerAddress>,
    own: PeerAddress,
}

/// Who is to be removed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Nobody,
    /// The node of this id.
    Remove(u64),
    /// Somebody, once a majority of those that would be left is there.
    Wait,
}

impl Places {
    pub const fn new(all: Vec<PeerAddress>, own: PeerAddress) -> Self {
        Self { all, own }
    }

    /// This replica alone: whom to let in while it is not known how many are wanted.
    pub(super) fn own(&self) -> BTreeSet<PeerAddress> {
        BTreeSet::from([self.own.clone()])
    }

    /// How many are let into the group when so many are wanted. One more than an odd number loses its majority sooner.
    pub(super) fn group_size(&self, wanted: usize) -> usize {
        let most = wanted.min(self.all.len());
        match most.is_multiple_of(2) {
            true => most.saturating_sub(1),
            false => most,
        }
    }

    /// Whom to let in when so many are wanted. `None`: when all are stopped, the group is to come back as it was.
    pub(super) fn list(&self, wanted: usize) -> Option<BTreeSet<PeerAddress>> {
        let size = self.group_size(wanted);
        (size > 0).then(|| self.all.iter().take(size).cloned().collect())
    }

    /// When so many are wanted, this replica is not one of them.
    pub(super) fn is_leaving(&self, wanted: usize) -> bool {
        let ordinal = self.ordinal(self.own.as_str());
        wanted > 0 && ordinal.is_some_and(|ordinal| ordinal >= wanted)
    }

    fn ordinal(&self, address: &str) -> Option<usize> {
        self.all.iter().position(|place| place.as_str() == address)
    }

    /// Who is to be removed next when so many are wanted, as the leader knows the members.
    ///
    /// Only who has no pod any more: one that Kubernetes still wants is not removed for the sake of an odd number, which would
    /// throw away a copy of the state. Whoever is silent goes first, since the others' votes may be needed for that; then
    /// the highest ordinal; the leader itself last.
    pub(super) fn next(&self, wanted: usize, members: &Members) -> Next {
        if wanted == 0 {
            return Next::Nobody;
        }
        let mut to_go: Vec<(usize, &MemberView)> = (members.members.iter())
            .filter_map(|member| Some((self.ordinal(&member.address)?, member)))
            .filter(|(ordinal, _)| *ordinal >= wanted)
            .collect();
        to_go.sort_by_key(|(ordinal, member)| {
            (member.is_asked, member.is_present(), Reverse(*ordinal))
        });
        let safe = (to_go.iter()).find(|(_, member)| stands_without(members, member.node_id));
        match (safe, to_go.is_empty()) {
            (Some((_, member)), _) => Next::Remove(member.node_id),
            (None, true) => Next::Nobody,
            (None, false) => Next::Wait,
        }
    }
}

/// Of the voters that would be left a majority is there.
fn stands_without(members: &Members, gone: u64) -> bool {
    let left = (members.members.iter())
        .filter(|member| member.role != Role::Learner && member.node_id != gone);
    let there = left.clone().filter(|member| member.counts()).count();
    there > left.count() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ordinal: usize) -> PeerAddress {
        PeerAddress::new(&format!(
            "jointoken-{ordinal}.jointoken-peers.home.svc:9443"
        ))
    }

    fn places(own: usize) -> Places {
        Places::new((0..5).map(address).collect(), address(own))
    }

    fn member(ordinal: usize, role: Role) -> MemberView {
        MemberView {
            node_id: 100 + ordinal as u64,
            address: address(ordinal).to_string(),
            role,
            is_asked: role == Role::Leader,
            matched: None,
            applied: None,
            lag: None,
            heard_ms_ago: Some(0),
            clock_ahead_ms: None,
            is_incomplete: false,
            is_stalled: false,
        }
    }

    /// Voters at the ordinals that are named, led by the first; those after `|` are silent.
    fn group(text: &str) -> Members {
        let (there, silent) = text.split_once('|').unwrap_or((text, ""));
        let ordinals = |text: &str| -> Vec<usize> {
            let digits = text.chars().filter_map(|digit| digit.to_digit(10));
            digits.map(|digit| digit as usize).collect()
        };
        let mut members: Vec<MemberView> = ordinals(there)
            .into_iter()
            .map(|ordinal| member(ordinal, Role::Voter))
            .collect();
        members[0].role = Role::Leader;
        members[0].is_asked = true;
        for ordinal in ordinals(silent) {
            let heard_ms_ago = Some(60_000);
            members.push(MemberView {
                heard_ms_ago,
                ..member(ordinal, Role::Voter)
            });
        }
        Members {
            is_changing: false,
            is_ready: true,
            term: 1,
            leader: Some(members[0].node_id),
            members,
        }
    }

    fn list(wanted: usize) -> Option<Vec<PeerAddress>> {
        places(0)
            .list(wanted)
            .map(|list| list.into_iter().collect())
    }

    #[test]
    fn the_group_is_as_large_as_the_odd_number_below_and_as_there_are_addresses() {
        let first = |n: usize| Some((0..n).map(address).collect::<Vec<_>>());
        assert_eq!(list(0), None);
        assert_eq!(list(1), first(1));
        assert_eq!(list(2), first(1));
        assert_eq!(list(3), first(3));
        assert_eq!(list(4), first(3));
        assert_eq!(list(5), first(5));
        assert_eq!(list(6), first(5));
        assert_eq!(list(7), first(5));
    }

    #[test]
    fn whoever_has_no_pod_any_more_is_removed_one_by_one_from_the_highest() {
        let next = |wanted, of| places(0).next(wanted, &group(of));
        assert_eq!(next(3, "012"), Next::Nobody);
        assert_eq!(next(3, "01234"), Next::Remove(104));
        assert_eq!(next(3, "0123"), Next::Remove(103));
        assert_eq!(next(1, "012"), Next::Remove(102));
        assert_eq!(next(1, "01"), Next::Remove(101));
        assert_eq!(next(1, "0"), Next::Nobody);
    }

    #[test]
    fn when_all_are_stopped_the_group_is_left_as_it_is() {
        assert_eq!(places(0).next(0, &group("012")), Next::Nobody);
        assert!(!places(2).is_leaving(0));
        assert!(places(2).is_leaving(2) && places(2).is_leaving(1) && !places(2).is_leaving(3));
    }

    #[test]
    fn an_even_number_removes_nobody_who_has_a_pod() {
        assert_eq!(places(0).next(4, &group("01234")), Next::Remove(104));
        assert_eq!(places(0).next(4, &group("0123")), Next::Nobody);
        assert_eq!(places(0).next(2, &group("012")), Next::Remove(102));
        assert_eq!(places(0).next(2, &group("01")), Next::Nobody);
    }

    #[test]
    fn a_leader_that_is_to_go_goes_last() {
        assert_eq!(places(4).next(3, &group("40123")), Next::Remove(103));
        assert_eq!(places(4).next(3, &group("4012")), Next::Remove(104));
    }

    #[test]
    fn nobody_is_removed_whose_vote_those_that_are_left_need() {
        let next = |wanted, of| places(0).next(wanted, &group(of));
        // Two silent: the silent one goes first, else two of four would be there.
        assert_eq!(next(3, "024|13"), Next::Remove(103));
        assert_eq!(next(3, "024|1"), Next::Remove(104));
        assert_eq!(next(1, "1|0"), Next::Wait);
        // Were 2 removed, 0 and 1 would be left, of which one answers.
        assert_eq!(places(1).next(1, &group("12|0")), Next::Wait);
        // Nobody at all would be left.
        assert_eq!(places(1).next(1, &group("1")), Next::Wait);
    }

    #[test]
    fn a_learner_goes_without_a_vote_and_who_is_somewhere_else_stays() {
        let mut members = group("012");
        members.members.push(member(3, Role::Learner));
        assert_eq!(places(0).next(3, &members), Next::Remove(103));
        members.members[3].address = "elsewhere:9443".to_owned();
        assert_eq!(places(0).next(1, &members), Next::Remove(102));
        members.members.remove(2);
        members.members.remove(1);
        assert_eq!(places(0).next(1, &members), Next::Nobody);
    }
}

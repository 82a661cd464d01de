//! Which change of the members is due. A decision: it is handed what the leader knows, and the leader carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::peers::PeerAddress;
use super::types::{Membership, NodeId};

/// A learner that lacks no more entries than this votes as well as the others.
const NEARLY: u64 = 256;

/// What the leader knows.
pub(crate) struct View<'a> {
    pub membership: &'a Membership,
    /// Where replicas should be.
    pub list: &'a BTreeSet<PeerAddress>,
    /// Replicas that were heard of in this moment and are in no group, with the address that each proves.
    pub newcomers: &'a BTreeMap<NodeId, PeerAddress>,
    /// The addresses that members proved lately.
    pub proven: &'a BTreeMap<NodeId, PeerAddress>,
    /// Members that nobody has heard of for long.
    pub vanished: &'a BTreeSet<NodeId>,
    /// Up to where each member's log is known to agree with the leader's.
    pub matched: &'a BTreeMap<NodeId, u64>,
    pub last_index: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The member is reached elsewhere now.
    SetAddress(NodeId, PeerAddress),
    /// Is sent the log, and does not vote yet.
    AddLearner(NodeId, PeerAddress),
    /// A learner that vanished before it voted.
    DropLearner(NodeId),
    /// Exactly these vote from now on; whoever else voted is removed.
    SetVoters(BTreeSet<NodeId>),
}

/// Ids as `store members` shows them.
pub(crate) struct Nodes<'a>(pub &'a BTreeSet<NodeId>);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, node) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{node:016x}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAddress(node, address) => write!(f, "{node:016x} is at {address} now"),
            Self::AddLearner(node, address) => write!(f, "{node:016x} at {address} learns"),
            Self::DropLearner(node) => write!(f, "the learner {node:016x} is dropped"),
            Self::SetVoters(voters) => write!(f, "{} vote", Nodes(voters)),
        }
    }
}

/// The next step, if one is due.
pub(crate) fn next(view: &View<'_>) -> Option<Change> {
    // A change that a former leader began is ended first.
    if let [_, then] = &view.membership.get_joint_config()[..] {
        return Some(Change::SetVoters(then.clone()));
    }
    set_address(view)
        .or_else(|| drop_learner(view))
        .or_else(|| add_learner(view))
        .or_else(|| set_voters(view))
}

fn set_address(view: &View<'_>) -> Option<Change> {
    let mut members = view.membership.nodes();
    members.find_map(|(node, member)| {
        let proven = view.proven.get(node)?;
        let moved = proven.as_str() != member.address && view.list.contains(proven);
        (moved && view.is_free(proven)).then(|| Change::SetAddress(*node, proven.clone()))
    })
}

fn drop_learner(view: &View<'_>) -> Option<Change> {
    let mut learners = view.membership.learner_ids();
    let lost = learners.find(|node| view.vanished.contains(node));
    lost.map(Change::DropLearner)
}

/// A newcomer at an address of the list that no member has, or whose member has vanished.
fn add_learner(view: &View<'_>) -> Option<Change> {
    let mut newcomers = view.newcomers.iter();
    newcomers.find_map(|(node, address)| {
        let is_welcome = view.list.contains(address)
            && view.is_free(address)
            && view.membership.get_node(node).is_none();
        is_welcome.then(|| Change::AddLearner(*node, address.clone()))
    })
}

/// Learners that have caught up vote: in the place of the vanished one at their address, or, when there is
/// one at every address that has no voter, all at once. So a group never goes by way of an even number
/// because one newcomer is faster than another.
fn set_voters(view: &View<'_>) -> Option<Change> {
    let mut voters: BTreeSet<NodeId> = view.membership.voter_ids().collect();
    let before = voters.clone();
    let mut further = BTreeMap::new();
    for learner in view.membership.learner_ids() {
        let Some(address) = view.address_of(learner) else {
            continue;
        };
        let matched = view.matched.get(&learner);
        let has_caught_up = matched.is_some_and(|at| at + NEARLY >= view.last_index);
        let is_present = !view.vanished.contains(&learner) && view.list.contains(&address);
        if !has_caught_up || !is_present {
            continue;
        }
        let former = view
            .members_at(&address)
            .find(|member| before.contains(member));
        match former {
            Some(former) => {
                voters.remove(&former);
                voters.insert(learner);
            }
            None => {
                further.insert(address, learner);
            }
        }
    }
    let has_voter = |address: &PeerAddress| {
        let mut there = view.members_at(address);
        there.any(|member| voters.contains(&member))
    };
    let missing = view.list.iter().filter(|address| !has_voter(address));
    if missing.clone().all(|address| further.contains_key(address)) {
        voters.extend(further.into_values());
    }
    (voters != before).then_some(Change::SetVoters(voters))
}

impl View<'_> {
    fn members_at(&self, address: &PeerAddress) -> impl Iterator<Item = NodeId> {
        let members = self.membership.nodes();
        members
            .filter(move |(_, member)| member.address == address.as_str())
            .map(|(node, _)| *node)
    }

    /// No member is there, or it has vanished or is elsewhere by now.
    fn is_free(&self, address: &PeerAddress) -> bool {
        let is_elsewhere = |member| self.proven.get(&member).is_some_and(|at| at != address);
        let mut there = self.members_at(address);
        there.all(|member| self.vanished.contains(&member) || is_elsewhere(member))
    }

    fn address_of(&self, node: NodeId) -> Option<PeerAddress> {
        let member = self.membership.get_node(&node)?;
        Some(PeerAddress::new(&member.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::Member;

    #[derive(Default)]
    struct Scene {
        voters: Vec<BTreeSet<NodeId>>,
        members: BTreeMap<NodeId, Member>,
        list: BTreeSet<PeerAddress>,
        newcomers: BTreeMap<NodeId, PeerAddress>,
        proven: BTreeMap<NodeId, PeerAddress>,
        vanished: BTreeSet<NodeId>,
        matched: BTreeMap<NodeId, u64>,
    }

    fn at(place: &str) -> PeerAddress {
        PeerAddress::new(place)
    }

    impl Scene {
        /// Voters 1, 2, … at the first letters, in a list of letters.
        fn new(voters: &str, list: &str) -> Self {
            let mut scene = Self {
                list: list.split("").filter(|c| !c.is_empty()).map(at).collect(),
                ..Self::default()
            };
            for (node, place) in (1..).zip(voters.chars()) {
                scene.member(node, &place.to_string());
            }
            scene.voters = vec![scene.members.keys().copied().collect()];
            scene
        }

        fn member(&mut self, node: NodeId, place: &str) {
            let address = place.to_owned();
            self.members.insert(node, Member { address });
        }

        fn learner(&mut self, node: NodeId, place: &str, matched: Option<u64>) {
            self.member(node, place);
            if let Some(matched) = matched {
                self.matched.insert(node, matched);
            }
        }

        fn next(&self) -> Option<Change> {
            let membership = Membership::new(self.voters.clone(), self.members.clone()).unwrap();
            next(&View {
                membership: &membership,
                list: &self.list,
                newcomers: &self.newcomers,
                proven: &self.proven,
                vanished: &self.vanished,
                matched: &self.matched,
                last_index: 10_000,
            })
        }
    }

    fn voters(of: &[NodeId]) -> Option<Change> {
        Some(Change::SetVoters(of.iter().copied().collect()))
    }

    #[test]
    fn a_lone_founder_grows_to_three_in_one_change() {
        let mut scene = Scene::new("a", "abc");
        assert_eq!(scene.next(), None);
        scene.newcomers.insert(2, at("b"));
        assert_eq!(scene.next(), Some(Change::AddLearner(2, at("b"))));
        scene.newcomers.clear();
        scene.learner(2, "b", Some(10_000));
        // Never by way of two voters.
        assert_eq!(scene.next(), None);
        scene.newcomers.insert(3, at("c"));
        assert_eq!(scene.next(), Some(Change::AddLearner(3, at("c"))));
        scene.newcomers.clear();
        scene.learner(3, "c", None);
        assert_eq!(scene.next(), None);
        scene.matched.insert(3, 9_000);
        assert_eq!(scene.next(), None);
        scene.matched.insert(3, 9_900);
        assert_eq!(scene.next(), voters(&[1, 2, 3]));
    }

    #[test]
    fn who_is_not_in_the_list_stays_outside() {
        let mut scene = Scene::new("a", "abc");
        scene.newcomers.insert(9, at("x"));
        assert_eq!(scene.next(), None);
    }

    #[test]
    fn a_wiped_replica_takes_the_place_of_what_it_was_once_that_has_vanished() {
        let mut scene = Scene::new("abc", "abc");
        scene.newcomers.insert(4, at("c"));
        assert_eq!(scene.next(), None);
        scene.vanished.insert(3);
        assert_eq!(scene.next(), Some(Change::AddLearner(4, at("c"))));
        scene.newcomers.clear();
        scene.learner(4, "c", Some(10_000));
        assert_eq!(scene.next(), voters(&[1, 2, 4]));
    }

    #[test]
    fn a_place_that_is_free_is_taken_by_a_newcomer_there() {
        let mut scene = Scene::new("ab", "abc");
        scene.learner(5, "c", Some(10_000));
        assert_eq!(scene.next(), voters(&[1, 2, 5]));
    }

    #[test]
    fn a_replacement_does_not_wait_for_the_growing_of_the_group() {
        let mut scene = Scene::new("abc", "abcde");
        scene.vanished.insert(3);
        scene.learner(4, "c", Some(10_000));
        scene.learner(5, "d", Some(10_000));
        assert_eq!(scene.next(), voters(&[1, 2, 4]));
    }

    #[test]
    fn a_moved_member_is_entered_before_anything_else() {
        let mut scene = Scene::new("abc", "abd");
        scene.proven.insert(3, at("d"));
        scene.newcomers.insert(4, at("d"));
        assert_eq!(scene.next(), Some(Change::SetAddress(3, at("d"))));
    }

    #[test]
    fn nobody_moves_to_where_another_is() {
        let mut scene = Scene::new("abc", "abc");
        scene.proven.insert(2, at("c"));
        assert_eq!(scene.next(), None);
        scene.vanished.insert(3);
        assert_eq!(scene.next(), Some(Change::SetAddress(2, at("c"))));
    }

    #[test]
    fn who_has_moved_leaves_the_address_to_others() {
        let mut scene = Scene::new("abc", "abc");
        scene.proven = BTreeMap::from([(1, at("b")), (2, at("a")), (3, at("c"))]);
        assert_eq!(scene.next(), Some(Change::SetAddress(1, at("b"))));
        scene.member(1, "b");
        assert_eq!(scene.next(), Some(Change::SetAddress(2, at("a"))));
        scene.member(2, "a");
        assert_eq!(scene.next(), None);
    }

    #[test]
    fn a_learner_that_vanished_makes_room() {
        let mut scene = Scene::new("a", "abc");
        scene.learner(2, "b", Some(10_000));
        scene.learner(3, "c", Some(10_000));
        scene.vanished.insert(3);
        assert_eq!(scene.next(), Some(Change::DropLearner(3)));
    }

    #[test]
    fn what_a_former_leader_began_is_ended() {
        let mut scene = Scene::new("abc", "abc");
        scene.voters = vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3])];
        scene.newcomers.insert(4, at("c"));
        assert_eq!(scene.next(), voters(&[1, 2, 3]));
    }
}

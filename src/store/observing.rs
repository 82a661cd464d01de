//! How a replica watches whether it and its group are well: what it observes goes to the rules of [`super::standing`].

use std::collections::BTreeMap;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{AsyncRuntime, Instant as _, ServerState};

use super::group::{Group, PRESENT_MS};
use super::inner::{Inner, lock_of};
use super::standing::{self, Other, Own};
use super::types::NodeId;

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// It has taken what its leader sent.
    pub(crate) fn follows(&self) {
        let boot_ms = self.clocks().readings().boot_ms;
        lock_of(self.advance()).followed_ms = Some(boot_ms);
    }

    /// Another one asked to be elected.
    pub(crate) fn is_sought(&self, by: NodeId) {
        let boot_ms = self.clocks().readings().boot_ms;
        lock_of(self.advance()).sought_ms.insert(by, boot_ms);
    }

    /// Looks how far everything has come, and says whether this replica is fit to serve.
    pub(crate) fn look_around(&self) {
        self.observe();
        let boot_ms = self.clocks().readings().boot_ms;
        let own = self.own();
        let is_alone =
            |group| self.hears_too_few(group) || (own.leader_known && !own.is_in_touch());
        let cut_off = self.group().is_some_and(is_alone);
        let stalled = standing::is_stalled(&lock_of(self.advance()), boot_ms);
        self.set_fitness(cut_off, stalled);
    }

    fn observe(&self) {
        let boot_ms = self.clocks().readings().boot_ms;
        let heard =
            (self.group()).map_or_else(BTreeMap::new, |group| group.heard(boot_ms, u64::MAX));
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        let committed = metrics.cluster_committed.map_or(0, |id| id.index);
        let committed = committed.max(applied);
        let members = metrics.membership_config.membership();
        let mut advance = lock_of(self.advance());
        advance.lead(metrics.current_leader, boot_ms);
        advance.committed.observe(committed, last, boot_ms);
        advance.applied.observe(applied, committed, boot_ms);
        advance
            .of
            .retain(|node, _| members.get_node(node).is_some());
        advance
            .sought_ms
            .retain(|node, _| members.get_node(node).is_some());
        let me = self.identity().node_id;
        for (node, _) in members.nodes().filter(|(node, _)| **node != me) {
            let (reached, goal) = match &metrics.replication {
                Some(of) => (of.get(node).copied().flatten().map(|id| id.index), last),
                None => (heard.get(node).map(|heard| heard.pulse.applied), committed),
            };
            let progress = advance.of.entry(*node).or_default();
            progress.observe(reached.unwrap_or(0), goal, boot_ms);
        }
    }

    /// What this replica knows of itself. Not to be asked while openraft's metrics are borrowed.
    pub(crate) fn own(&self) -> Own {
        let boot_ms = self.clocks().readings().boot_ms;
        let followed_ms = lock_of(self.advance()).followed_ms;
        let me = self.identity().node_id;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let mut voters = metrics.membership_config.membership().voter_ids();
        let contact_ms_ago = match metrics.state {
            ServerState::Leader if voters.all(|voter| voter == me) => Some(0),
            ServerState::Leader => (metrics.last_quorum_acked).map(|at| ms(at.elapsed())),
            _ => followed_ms.map(|at| boot_ms.saturating_sub(at)),
        };
        Own {
            leader_known: metrics.current_leader.is_some(),
            contact_ms_ago,
        }
    }

    /// The members that are heard of and yet not well.
    pub(crate) fn not_served(&self, own: Own) -> Vec<NodeId> {
        let boot_ms = self.clocks().readings().boot_ms;
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let advance = lock_of(self.advance());
        let other = |node: NodeId| Other {
            node,
            leads: metrics.current_leader == Some(node),
            acknowledged_ms_ago: (metrics.heartbeat.as_ref()).map(|of| {
                let at = of.get(&node).copied().flatten();
                at.map(|at| ms(at.elapsed()))
            }),
        };
        let me = self.identity().node_id;
        let members = metrics.membership_config.membership().nodes();
        let others = members.map(|(node, _)| *node).filter(|node| *node != me);
        others
            .filter(|node| standing::is_not_served(other(*node), own, &advance, boot_ms))
            .collect()
    }

    /// Neither openraft's leader steps down when it has lost its majority, nor do its followers forget it when it is gone.
    fn hears_too_few(&self, group: &Group) -> bool {
        let me = self.identity().node_id;
        let boot_ms = self.clocks().readings().boot_ms;
        let heard = group.heard(boot_ms, PRESENT_MS);
        let is_there = |node: &NodeId| *node == me || heard.contains_key(node);
        let voters: Vec<NodeId> = self.membership().voter_ids().collect();
        let leader = self.raft().metrics().borrow_watched().current_leader;
        let advance = lock_of(self.advance());
        let counts = |node: &&NodeId| is_there(node) && !advance.seeks(**node, boot_ms);
        let present = voters.iter().filter(counts).count();
        let has_a_vote = voters.contains(&me);
        !has_a_vote
            || present <= voters.len() / 2
            || leader.is_some_and(|leader| !is_there(&leader))
    }
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

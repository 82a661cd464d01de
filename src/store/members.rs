//! The leader's changes of who the members of the group are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{AsyncRuntime, ChangeMembers};

use super::group::{Group, PRESENT_MS, PULSE};
use super::inner::{Inner, LOOK};
use super::peers::{Ask, PeerAddress, Reply};
use super::steward::{self, Change, Nodes, View};
use super::token_store::StoreError;
use super::types::{LogId, Member, Membership, NodeId, TypeConfig};

/// A member that was not heard of for so long has vanished: whoever is new at its address may take its place.
pub(super) const VANISHED_MS: u64 = 30_000;
/// How long a change of the members is waited for; it goes on by itself after that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a leader that is about to stop waits for another to take over.
const HAND_OVER: Duration = Duration::from_secs(3);

/// Why members were not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error("there is no member of this id: `jointoken store members` shows those that there are")]
    NotAMember,
    #[error(
        "of those that would be left no majority is there, and without one the store stands still: bring them back first, or remove all the same with --force"
    )]
    WouldLoseQuorum,
    #[error(
        "this would leave no member at all, and a store needs one: to give it up, stop its last replica and delete the data folder"
    )]
    NobodyLeft,
    #[error(
        "no majority of the members is there, without which nothing can be decided, not even with --force: start those that are silent. Only if they are lost for good: `jointoken store recover`"
    )]
    NoMajority,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// While it leads: does whatever change of the members is due, one after the other, until told to stop.
    pub(crate) async fn steward(self: Arc<Self>) {
        let mut has_handed_over = false;
        while !self.is_stopping() {
            if !self.is_new()
                && let Err(error) = self.settle().await
            {
                tracing::warn!(%error, "it is not written down that this replica is a member");
            }
            if self.leads()
                && let Some(group) = self.group()
                && let Some((change, as_of)) = self.next_change(group)
            {
                self.carry_out(change, as_of).await;
            }
            // Once: where all clocks are far apart leadership would go round and round.
            let is_astray = self.leads() && self.clocks().is_astray();
            if is_astray && !has_handed_over {
                tracing::warn!(
                    "another replica is to lead, since this one's clock is far from the others'"
                );
                self.hand_over().await;
            }
            has_handed_over = is_astray || (has_handed_over && !self.leads());
            Rt::sleep(PULSE).await;
        }
    }

    fn next_change(&self, group: &Group) -> Option<(Change, Option<LogId>)> {
        let not_served = self.not_served(self.own());
        let (membership, as_of, matched, last_index) = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow_watched();
            let matched: BTreeMap<NodeId, u64> = (metrics.replication.iter().flatten())
                .filter(|(node, _)| !not_served.contains(node))
                .filter_map(|(node, id)| Some((*node, id.as_ref()?.index)))
                .collect();
            (
                metrics.membership_config.membership().clone(),
                *metrics.membership_config.log_id(),
                matched,
                metrics.last_log_index.unwrap_or(0),
            )
        };
        let boot_ms = self.clocks().readings().boot_ms;
        let mut newcomers = BTreeMap::new();
        // A replica that was alone has no address in its own entry.
        let mut proven = BTreeMap::from([(self.identity().node_id, group.address().clone())]);
        for (node, heard) in group.heard(boot_ms, PRESENT_MS) {
            if membership.get_node(&node).is_some() {
                proven.insert(node, heard.address);
            } else if heard.pulse.is_new && !self.was_removed(node) {
                newcomers.insert(node, heard.address);
            }
        }
        let vanished = self.vanished(group, &membership, boot_ms);
        let change = steward::next(&View {
            membership: &membership,
            list: &group.list(),
            newcomers: &newcomers,
            proven: &proven,
            vanished: &vanished,
            matched: &matched,
            last_index,
        })?;
        Some((change, as_of))
    }

    fn vanished(&self, group: &Group, membership: &Membership, boot_ms: u64) -> BTreeSet<NodeId> {
        let others = membership.nodes().map(|(node, _)| *node);
        others
            .filter(|node| *node != self.identity().node_id)
            .filter(|node| group.silent_ms(*node, boot_ms) >= VANISHED_MS)
            .collect()
    }

    async fn carry_out(&self, change: Change, as_of: Option<LogId>) {
        tracing::info!(%change, "changing the members of the group");
        let member = |address: PeerAddress| Member {
            address: address.as_str().to_owned(),
        };
        let changes = match change {
            Change::AddLearner(node, address) => {
                ChangeMembers::AddNodes(BTreeMap::from([(node, member(address))]))
            }
            Change::SetAddress(node, address) => {
                ChangeMembers::SetNodes(BTreeMap::from([(node, member(address))]))
            }
            Change::DropLearner(node) => ChangeMembers::RemoveNodes(BTreeSet::from([node])),
            Change::SetVoters(voters) => ChangeMembers::ReplaceAllVoters(voters),
        };
        if let Err(error) = self.change_members(changes, as_of).await {
            tracing::warn!(%error, "the members could not be changed; it is tried again");
        }
    }

    /// Changes the members, if they are still those as of this entry.
    async fn change_members(
        &self,
        changes: ChangeMembers<NodeId, Member>,
        as_of: Option<LogId>,
    ) -> Result<(), StoreError> {
        let unchanged = Precondition::<TypeConfig<Rt>>::LastMembershipLogId {
            last_membership_log_id: as_of,
        };
        let changed = (self.raft()).change_membership_if(changes, false, [unchanged]);
        match Rt::timeout(PATIENCE, changed).await {
            Ok(Ok(_)) => Ok(()),
            // Also of one that leads and has lost its majority.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(StoreError::NoLeader)
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "openraft refuses to change the members");
                Err(StoreError::Unknown)
            }
            Err(_) => Err(StoreError::Unknown),
        }
    }

    /// Removes members, or has the leader remove them.
    pub(crate) async fn remove_members(
        &self,
        nodes: BTreeSet<NodeId>,
        force: bool,
    ) -> Result<(), RemoveError> {
        let mut waited = Duration::ZERO;
        loop {
            let removed = match self.leads() {
                true => self.remove_here(nodes.clone(), force).await,
                false => self.have_removed(nodes.clone(), force).await,
            };
            match removed {
                // Another is about to lead: who led was among those to go, perhaps.
                Err(RemoveError::Store(StoreError::NoLeader)) if waited < PATIENCE => {
                    Rt::sleep(PULSE).await;
                    waited += PULSE;
                }
                Err(RemoveError::Store(StoreError::NoLeader)) if self.health().borrow().cut_off => {
                    return Err(RemoveError::NoMajority);
                }
                removed => return removed,
            }
        }
    }

    async fn have_removed(&self, nodes: BTreeSet<NodeId>, force: bool) -> Result<(), RemoveError> {
        match self.ask_leader(Ask::Remove { nodes, force }).await? {
            Reply::Removed(result) => result,
            _ => Err(StoreError::Unknown.into()),
        }
    }

    /// As the leader.
    pub(crate) async fn remove_here(
        &self,
        nodes: BTreeSet<NodeId>,
        force: bool,
    ) -> Result<(), RemoveError> {
        let (membership, as_of) = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow_watched();
            let config = &metrics.membership_config;
            (config.membership().clone(), *config.log_id())
        };
        if nodes.iter().any(|node| membership.get_node(node).is_none()) {
            return Err(RemoveError::NotAMember);
        }
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let left: BTreeSet<NodeId> = voters.difference(&nodes).copied().collect();
        if left.is_empty() {
            return Err(RemoveError::NobodyLeft);
        }
        // A replica that is of no group is its only member.
        let group = self.group().ok_or(StoreError::NoLeader)?;
        let boot_ms = self.clocks().readings().boot_ms;
        let heard = group.heard(boot_ms, PRESENT_MS);
        let not_served = self.not_served(self.own());
        let me = self.identity().node_id;
        let is_served = |node: &NodeId| heard.contains_key(node) && !not_served.contains(node);
        let is_there = |node: &&NodeId| **node == me || is_served(node);
        if !force && left.iter().filter(is_there).count() <= left.len() / 2 {
            return Err(RemoveError::WouldLoseQuorum);
        }
        // A leader that goes commits its own removal and steps down. To hand over first would spare the others an election, but
        // who takes over may be going, too, and under load a transfer fails more often than not.
        let learners: BTreeSet<NodeId> = (membership.learner_ids())
            .filter(|node| nodes.contains(node))
            .collect();
        let changes = ChangeMembers::Batch(vec![
            ChangeMembers::RemoveNodes(learners),
            ChangeMembers::ReplaceAllVoters(left),
        ]);
        tracing::info!(nodes = %Nodes(&nodes), force, "removing members of the group");
        Ok(self.change_members(changes, as_of).await?)
    }

    /// Has another replica lead, if this one does: who asks meanwhile is not kept waiting for an election.
    pub(crate) async fn hand_over(&self) {
        let Some(group) = self.group() else {
            return;
        };
        if !self.leads() {
            return;
        }
        let boot_ms = self.clocks().readings().boot_ms;
        let present = group.heard(boot_ms, PRESENT_MS);
        let not_served = self.not_served(self.own());
        let best = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let matched = |node: &NodeId| metrics.replication.as_ref()?.get(node).copied();
            let others = membership
                .voter_ids()
                .filter(|node| present.contains_key(node) && !not_served.contains(node));
            others.max_by_key(matched)
        };
        let Some(to) = best else {
            return;
        };
        if self.raft().trigger().transfer_leader(to).await.is_err() {
            return;
        }
        let mut waited = Duration::ZERO;
        while waited < HAND_OVER && self.leads() {
            Rt::sleep(LOOK).await;
            waited += LOOK;
        }
    }
}

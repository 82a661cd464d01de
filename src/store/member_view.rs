//! What a replica knows of the members of its group, as it is shown.

use std::collections::{BTreeMap, BTreeSet};

use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver as _;

use super::group::PRESENT_MS;
use super::inner::Inner;
use super::types::{LogId, Member, NodeId};

/// What a replica knows of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The number of the last election that is known here.
    pub term: u64,
    pub leader: Option<u64>,
    /// A change of the voters is under way: until it is done, it takes a majority of the former and one of the new ones.
    pub is_changing: bool,
    /// The replica that was asked is fit to serve: what is proposed to it can be committed.
    pub is_ready: bool,
    /// In order of their node ids.
    pub members: Vec<MemberView>,
}

/// What a replica knows of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    pub node_id: u64,
    pub address: String,
    pub role: Role,
    /// It is the replica that was asked.
    pub is_asked: bool,
    /// Up to where its log is known to agree with the leader's; only the leader knows of others.
    pub matched: Option<u64>,
    /// The last index that it said to have applied.
    pub applied: Option<u64>,
    /// How many entries it had not applied yet when it was last heard of.
    pub lag: Option<u64>,
    /// How long ago it was heard of, in milliseconds; `None`: never since this replica has started.
    pub heard_ms_ago: Option<u64>,
    /// How far its clock is ahead of this replica's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// Its log lacks entries that are known to be committed: it does not campaign until it has them. Only the replica that is
    /// asked says so of itself.
    pub is_incomplete: bool,
    /// It is not served its log, or does not come on with it, or nothing is committed; see `standing.rs`.
    pub is_stalled: bool,
}

impl MemberView {
    /// It was heard of a moment ago.
    pub fn is_present(&self) -> bool {
        self.is_asked || self.heard_ms_ago.is_some_and(|ago| ago <= PRESENT_MS)
    }

    /// And what is committed by its help can go on.
    pub fn counts(&self) -> bool {
        self.is_present() && !self.is_stalled
    }
}

/// What a member does in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Voter,
    /// It is sent the log and does not vote.
    Learner,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// What this replica knows of the group.
    pub(crate) fn members(&self) -> Members {
        let me = self.identity().node_id;
        let boot_ms = self.clocks().readings().boot_ms;
        let wall_ms = self.clocks().readings().wall_ms;
        let heard = (self.group()).map_or_else(BTreeMap::new, |g| g.heard(boot_ms, u64::MAX));
        let own = self.own();
        let not_served = self.not_served(own);
        let (is_ready, incomplete, stalled) = {
            let health = self.health();
            let health = health.borrow();
            (
                health.is_ready(),
                health.incomplete,
                health.stalled || health.suspended || health.fatal.is_some(),
            )
        };
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let index = |id: &Option<LogId>| id.as_ref().map(|id| id.index);
        let own_applied = index(&metrics.last_applied);
        // After a restart openraft takes whoever was the leader before for it, until there is one.
        let leader = metrics
            .current_leader
            .filter(|_| own.contact_ms_ago.is_some());
        let view = |(node, member): (&NodeId, &Member)| {
            let is_asked = *node == me;
            let heard = heard.get(node);
            let applied = match is_asked {
                true => own_applied,
                false => heard.map(|heard| heard.pulse.applied),
            };
            let replication = metrics.replication.as_ref();
            MemberView {
                node_id: *node,
                address: member.address.clone(),
                role: match (leader == Some(*node), voters.contains(node)) {
                    (true, _) => Role::Leader,
                    (false, true) => Role::Voter,
                    (false, false) => Role::Learner,
                },
                is_asked,
                is_incomplete: is_asked && incomplete,
                is_stalled: match is_asked {
                    true => stalled || !own.is_in_touch(),
                    false => not_served.contains(node),
                },
                matched: match is_asked {
                    true => metrics.last_log_index,
                    false => replication.and_then(|of| index(of.get(node)?)),
                },
                applied,
                lag: applied.map(|applied| last.saturating_sub(applied)),
                heard_ms_ago: match is_asked {
                    true => Some(0),
                    false => heard.map(|heard| boot_ms.saturating_sub(heard.at_boot_ms)),
                },
                clock_ahead_ms: match is_asked {
                    true => Some(0),
                    false => heard.map(|heard| {
                        heard
                            .clock_ms(boot_ms)
                            .cast_signed()
                            .wrapping_sub(wall_ms.cast_signed())
                    }),
                },
            }
        };
        let members = membership.nodes().map(view).collect();
        Members {
            term: metrics.current_term,
            leader,
            is_ready,
            is_changing: membership.get_joint_config().len() > 1,
            members,
        }
    }
}

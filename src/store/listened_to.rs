//! Whether a node id is listened to at the address from which it is heard: it has moved there, or is a copy.

use openraft::AsyncRuntime;

use super::group::{Group, PRESENT_MS};
use super::inner::{Inner, lock_of};
use super::members::VANISHED_MS;
use super::peers::{LATELY_MS, PeerAddress};
use super::types::{Member, NodeId};

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// Another process than the one at this address has the node id: it is this replica's, or was heard of elsewhere a moment ago.
    pub(crate) fn is_used_elsewhere(&self, node: NodeId, address: &PeerAddress) -> bool {
        let Some(group) = self.group() else {
            return false;
        };
        let boot_ms = self.clocks().readings().boot_ms;
        let is_mine = node == self.identity().node_id;
        let is_so = is_mine
            || (group.whereabouts.roster()).is_elsewhere(node, address, boot_ms, PRESENT_MS);
        let mut doubles = lock_of(&group.doubles);
        if is_mine {
            // It is here.
            doubles.hear(node, &group.address, boot_ms);
        }
        if is_so && doubles.refuse(node, address, boot_ms) {
            tracing::error!(
                node = %format_args!("{node:016x}"),
                peer = %address,
                "two processes have the same node id, since a data folder was copied: the one at this address is not listened to"
            );
        }
        is_so
    }

    /// Whoever has this node id may be found at this address: it is the member's, or one of the list that no other member has.
    pub(crate) fn is_at_home(&self, node: NodeId, address: &PeerAddress) -> bool {
        let (Some(group), Some(known)) = (self.group(), self.address_of(node)) else {
            return true;
        };
        let boot_ms = self.clocks().readings().boot_ms;
        // Whoever has moved away leaves its address to others.
        let has_left = |other: NodeId| match other == self.identity().node_id {
            true => group.address != *address,
            false => group.has_moved(other, address, boot_ms),
        };
        let is_anothers = |(other, member): (&NodeId, &Member)| {
            *other != node
                && member.address == address.as_str()
                && !has_left(*other)
                && group.silent_ms(*other, boot_ms) < VANISHED_MS
        };
        known == *address
            || group.list.borrow().contains(address) && !self.membership().nodes().any(is_anothers)
    }

    /// What is heard of a member at an address that is not of the group is said, since else nobody would know why it is silent.
    pub(super) fn say_not_listened_to(&self, group: &Group, node: NodeId, address: &PeerAddress) {
        let is_listed = group.list.borrow().contains(address);
        let stranger = (node, address.clone());
        if !is_listed && lock_of(&group.strangers).insert(stranger) {
            tracing::warn!(
                node = %format_args!("{node:016x}"),
                peer = %address,
                "a member of the group is heard of at an address that is not in this replica's list of members, and is not listened to there: \
                 if it has moved, put the address into the list"
            );
        }
    }

    /// A peer says that another process has this replica's node id.
    pub(super) fn id_in_use(&self, group: &Group, address: &PeerAddress, by: NodeId) {
        let me = self.identity().node_id;
        let boot_ms = self.clocks().readings().boot_ms;
        let since = {
            let mut in_use = lock_of(&group.in_use);
            let (since, last) = in_use.entry(address.clone()).or_insert((boot_ms, boot_ms));
            // What was said once, long ago, is over.
            if boot_ms.saturating_sub(*last) > LATELY_MS {
                *since = boot_ms;
            }
            *last = boot_ms;
            *since
        };
        let is_the_other = by == me;
        let must_stop = match is_the_other {
            // Each could admit by itself what the other has admitted.
            true => self.membership().voter_ids().eq([me]),
            // This replica may have moved a moment ago; then it is soon heard.
            false => boot_ms.saturating_sub(since) >= LATELY_MS,
        };
        if must_stop {
            tracing::error!(peer = %address, "another process has this replica's node id");
            self.fail(
                "another process has this replica's node id: its data folder is a copy of the other's, or the other's of it. \
                 A data folder belongs to one replica, and `jointoken store members` of another says at which address it is listened to: empty the copy, and it comes as a new member",
            );
        }
    }
}

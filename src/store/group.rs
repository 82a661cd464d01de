//! What a replica knows of the others of its group, by telling them how it is and hearing how they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::lifecycle::State;

use super::config::GroupConfig;
use super::inner::{Inner, lock_of};
use super::peers::{
    ANYBODY, Ask, AskError, Caller, Doubles, Heard, LATELY_MS, PeerAddress, Pulse, Refusal, Reply,
    Whereabouts,
};
use super::rounds::{Verdict, compare};
use super::types::{Membership, NodeId};

/// How often a replica tells the others how it is.
pub(crate) const PULSE: Duration = Duration::from_millis(500);
/// Whoever was heard of within this time is there.
pub(crate) const PRESENT_MS: u64 = 3_000;
/// How long an answer to that is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The group as one replica sees it.
pub(crate) struct Group {
    pub(super) address: PeerAddress,
    pub(super) list: watch::Receiver<BTreeSet<PeerAddress>>,
    caller: Caller,
    pub(super) whereabouts: Arc<Whereabouts>,
    /// Since when this replica has listened without a break, by the clock that nobody sets.
    since_boot_ms: AtomicU64,
    /// When it last did.
    listened_boot_ms: AtomicU64,
    /// A member of the group has said that this replica was removed from it.
    removed: AtomicBool,
    /// Who says that another replica has this one's node id: since when, and when last, on the clock that nobody sets.
    pub(super) in_use: Mutex<BTreeMap<PeerAddress, (u64, u64)>>,
    /// Node ids that were heard of at two addresses.
    pub(super) doubles: Mutex<Doubles>,
    /// Members that were heard of where they are not listened to: it is said once.
    pub(super) strangers: Mutex<BTreeSet<(NodeId, PeerAddress)>>,
    /// Since when, by the clock that nobody sets, a majority has had another state.
    outvoted_boot_ms: Mutex<Option<u64>>,
}

impl Group {
    pub(crate) fn new(
        config: &GroupConfig,
        caller: Caller,
        whereabouts: Arc<Whereabouts>,
        boot_ms: u64,
    ) -> Self {
        Self {
            address: config.address.clone(),
            list: config.list.clone(),
            caller,
            whereabouts,
            since_boot_ms: AtomicU64::new(boot_ms),
            listened_boot_ms: AtomicU64::new(boot_ms),
            removed: AtomicBool::new(false),
            in_use: Mutex::default(),
            doubles: Mutex::default(),
            strangers: Mutex::default(),
            outvoted_boot_ms: Mutex::default(),
        }
    }

    pub(crate) const fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// Where replicas should be, as of now.
    pub(crate) fn list(&self) -> BTreeSet<PeerAddress> {
        self.list.borrow().clone()
    }

    pub(crate) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// How long, by the clock that nobody sets, this node was not heard of while this replica listened.
    pub(crate) fn silent_ms(&self, node: NodeId, boot_ms: u64) -> u64 {
        if self.has_slept(boot_ms) {
            return 0;
        }
        let roster = self.whereabouts.roster();
        let last = roster.last(node).map_or(0, |heard| heard.at_boot_ms);
        boot_ms.saturating_sub(last.max(self.since_boot_ms.load(Ordering::Relaxed)))
    }

    /// It was heard of lately, and not here.
    pub(super) fn has_moved(&self, node: NodeId, from: &PeerAddress, boot_ms: u64) -> bool {
        let roster = self.whereabouts.roster();
        roster.is_elsewhere(node, from, boot_ms, LATELY_MS)
    }

    /// This process stood still, or its machine did, and has not listened since.
    fn has_slept(&self, boot_ms: u64) -> bool {
        let listened = self.listened_boot_ms.load(Ordering::Relaxed);
        boot_ms.saturating_sub(listened) > PRESENT_MS
    }

    fn listens(&self, boot_ms: u64) {
        if self.has_slept(boot_ms) {
            self.since_boot_ms.store(boot_ms, Ordering::Relaxed);
        }
        self.listened_boot_ms.store(boot_ms, Ordering::Relaxed);
    }

    /// What was heard of within the last so many milliseconds.
    pub(crate) fn heard(&self, boot_ms: u64, within_ms: u64) -> BTreeMap<NodeId, Heard> {
        let roster = self.whereabouts.roster();
        let heard = roster.since(boot_ms, within_ms);
        heard.map(|(node, heard)| (node, heard.clone())).collect()
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for address in &*self.list.borrow() {
            digest.update(address.as_str());
            digest.update([0]);
        }
        digest.finalize().into()
    }
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    pub(crate) fn membership(&self) -> Membership {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().clone()
    }

    /// This replica is of no group yet.
    pub(crate) fn is_new(&self) -> bool {
        self.membership().voter_ids().next().is_none()
    }

    /// A member of the group has said that this replica was removed from it.
    pub(crate) fn is_removed(&self) -> bool {
        (self.group()).is_some_and(|group| group.removed.load(Ordering::SeqCst))
    }

    /// The other members' clocks as they are now, of those heard of lately.
    pub(crate) fn clocks_heard(&self, group: &Group, boot_ms: u64) -> Vec<u64> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let roster = group.whereabouts.roster();
        let heard = roster.since(boot_ms, LATELY_MS);
        heard
            .filter(|(node, _)| membership.get_node(node).is_some())
            .map(|(_, heard)| heard.clock_ms(boot_ms))
            .collect()
    }

    /// How this replica is.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse {
            clock_ms: self.clocks().readings().wall_ms,
            is_new: self.is_new(),
            list: self.group().map_or([0; 32], Group::digest),
            applied: self.health().borrow().applied_index,
            hashes: self.shared().rounds.all(),
            rules: State::newest_rules(),
        }
    }

    /// Another replica has told how it is.
    pub(crate) fn hear(&self, node: NodeId, address: &PeerAddress, pulse: Pulse) {
        let Some(group) = self.group() else {
            return;
        };
        if self.is_used_elsewhere(node, address) {
            return;
        }
        if !self.is_at_home(node, address) {
            self.say_not_listened_to(group, node, address);
            return;
        }
        let boot_ms = self.clocks().readings().boot_ms;
        lock_of(&group.doubles).hear(node, address, boot_ms);
        let heard = Heard {
            address: address.clone(),
            at_boot_ms: boot_ms,
            pulse,
        };
        group.whereabouts.roster().hear(node, heard);
    }

    /// Whom to tell: whoever should be there, and whoever is.
    fn neighbours(&self, group: &Group) -> BTreeSet<PeerAddress> {
        let membership = self.membership();
        let members = membership.nodes();
        let mut all: BTreeSet<PeerAddress> = members
            .map(|(_, member)| PeerAddress::new(&member.address))
            .filter(|address| !address.as_str().is_empty())
            .collect();
        all.extend(group.list());
        all.remove(&group.address);
        all
    }

    /// Tells the others how this replica is, over and over, until told to stop.
    pub(crate) async fn pulses(self: Arc<Self>) {
        while !self.is_stopping() {
            if let Some(group) = self.group() {
                group.listens(self.clocks().readings().boot_ms);
                for address in self.neighbours(group) {
                    let asked = group.caller.ask::<Rt>(
                        &address,
                        ANYBODY,
                        Ask::Pulse(self.pulse()),
                        PATIENCE,
                    );
                    let inner = self.clone();
                    drop(Rt::spawn(async move {
                        let answer = asked.await;
                        if let Some(group) = inner.group() {
                            inner.take_pulse(group, &address, answer);
                        }
                    }));
                }
                self.judge(group);
                self.mind_contradiction(group).await;
            }
            self.look_around();
            Rt::sleep(PULSE).await;
        }
    }

    /// Whether every other replica of the list has said a moment ago that it is in no group and has the same list; else
    /// whom that is waited for, and why.
    ///
    /// # Errors
    /// One that is in a group: there is nothing to found.
    pub(crate) fn who_is_not_ready(&self, group: &Group) -> Result<Vec<String>, PeerAddress> {
        let boot_ms = self.clocks().readings().boot_ms;
        let heard = group.heard(boot_ms, PRESENT_MS);
        let mut waited_for = Vec::new();
        let others = group.list();
        for address in others.iter().filter(|address| **address != group.address) {
            match heard.values().find(|heard| heard.address == *address) {
                None => waited_for.push(address.to_string()),
                Some(heard) if !heard.pulse.is_new => return Err(address.clone()),
                Some(heard) if heard.pulse.list != group.digest() => {
                    waited_for.push(format!("{address} (it was given another list of members)"));
                }
                Some(_) => {}
            }
        }
        Ok(waited_for)
    }

    fn take_pulse(
        &self,
        group: &Group,
        address: &PeerAddress,
        answer: Result<(NodeId, Reply), AskError>,
    ) {
        match answer {
            Ok((node, Reply::Pulse(pulse))) => {
                lock_of(&group.in_use).remove(address);
                self.hear(node, address, pulse);
            }
            Err(AskError::Refused {
                why: Refusal::Removed,
                ..
            }) => {
                if !group.removed.swap(true, Ordering::SeqCst) {
                    tracing::error!(peer = %address, "this replica was removed from the group");
                    self.fail("this replica was removed from the group");
                }
            }
            Err(AskError::Refused {
                by,
                why: Refusal::IdInUse,
            }) => self.id_in_use(group, address, by),
            Ok(_) => {}
            Err(error) => tracing::trace!(peer = %address, %error, "a peer does not answer"),
        }
    }

    /// Compares this replica's state with the others'.
    fn judge(&self, group: &Group) {
        if self.contradiction().is_some() {
            return;
        }
        let voters: BTreeSet<NodeId> = self.membership().voter_ids().collect();
        let me = self.identity().node_id;
        let boot_ms = self.clocks().readings().boot_ms;
        let mut hashes: BTreeMap<NodeId, BTreeMap<_, _>> = (group.heard(boot_ms, LATELY_MS))
            .into_iter()
            .filter(|(node, _)| voters.contains(node))
            .map(|(node, heard)| (node, heard.pulse.hashes.into_iter().collect()))
            .collect();
        hashes.insert(me, self.shared().rounds.all().into_iter().collect());
        let verdict = compare(me, &hashes, voters.len());
        self.stop_if_outvoted(group, verdict, boot_ms);
        if self.suspend(verdict != Verdict::Alike) {
            match verdict {
                Verdict::InTheMinority(index) => tracing::error!(
                    index,
                    "this replica's state is not that of the others: it stops"
                ),
                Verdict::NoMajority(index) => tracing::error!(
                    index,
                    "the replicas' states differ and no majority is alike: nobody serves until this is put right"
                ),
                Verdict::Alike => tracing::info!("the replicas' states agree again"),
            }
        }
    }

    /// Not at once: if the others have another past, their leader is heard in that time, and is told.
    fn stop_if_outvoted(&self, group: &Group, verdict: Verdict, boot_ms: u64) {
        let mut since = lock_of(&group.outvoted_boot_ms);
        if !matches!(verdict, Verdict::InTheMinority(_)) {
            *since = None;
            return;
        }
        if boot_ms.saturating_sub(*since.get_or_insert(boot_ms)) >= PRESENT_MS {
            self.fail("the state is not that of the other replicas");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::inner::Nobody;
    use crate::token::StoreId;

    /// A laptop is closed, a process stopped for a while: afterwards nobody has vanished for that.
    #[test]
    fn whoever_did_not_listen_does_not_know_who_was_silent() {
        let transport = Arc::new(Nobody);
        let config = GroupConfig {
            address: PeerAddress::new("a:1"),
            list: watch::Sender::new(BTreeSet::new()).subscribe(),
            transport: transport.clone(),
        };
        let caller = Caller {
            store_id: StoreId([1; 16]),
            node_id: 1,
            transport,
            claim: Arc::default(),
        };
        let whereabouts = Arc::new(Whereabouts::new(Arc::new(SystemClock)));
        let group = Group::new(&config, caller, whereabouts, 0);
        let listen = |from: u64, to: u64| {
            for boot_ms in (from..=to).step_by(500) {
                group.listens(boot_ms);
            }
        };
        listen(500, 10_000);
        assert_eq!(group.silent_ms(2, 10_000), 10_000);
        assert_eq!(group.silent_ms(2, 60_000), 0);
        listen(60_000, 61_000);
        assert_eq!(group.silent_ms(2, 61_500), 1_500);
        listen(61_500, 100_000);
        assert_eq!(group.silent_ms(2, 100_000), 40_000);
    }
}

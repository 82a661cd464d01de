//! A replica whose log ends before an entry that was committed: it was set back to an older copy, or was away.
//!
//! Alone it is not opened. One of a group is sent what it lacks. Before it has that it does not campaign, votes for nobody who
//! lacks it too, and obeys no leader of before: so nobody who lacks what was committed is elected, whoever was set back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver as _;

use crate::faults::{self, Fault};

use super::group::PRESENT_MS;
use super::inner::{Inner, lock_of};
use super::log;
use super::open_error::{EDITED, INSTEAD};
use super::peers::{Ask, AskError, Refusal};
use super::types::{LogId, NodeId, Payload, SnapshotMeta, Vote};
use super::{OpenError, Reached, StoreConfig, Witness};

/// How often it is looked whether it has caught up.
const LOOK: Duration = Duration::from_millis(100);
/// At every how manieth look it is said that it has not: every 30 seconds.
const SAY: u32 = 300;
/// For so many looks on end, 10 seconds, a leader has served this replica: far longer than it takes to notice that none does.
const SERVED: u32 = 100;
/// How much longer than another looks for a majority its answer is waited for.
const ANSWERED: Duration = Duration::from_secs(2);

/// What tells of entries that are not in the log here.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    witnesses: Vec<Witness>,
    /// Who was refused a vote: it is said once.
    refused: BTreeSet<NodeId>,
}

impl Lacking {
    pub(super) const fn new(witnesses: Vec<Witness>) -> Self {
        Self {
            witnesses,
            refused: BTreeSet::new(),
        }
    }

    /// The one with this log lacks an entry that is known to be committed. What a status tells does not count: whoever may edit
    /// one must not be able to prevent elections.
    fn is_lacking(&self, last: Option<LogId>) -> Option<&Witness> {
        let mut marks = self.witnesses.iter().filter(|of| of.entry().is_some());
        marks.find(|mark| !mark.is_met(last))
    }
}

/// The vote that a replica has given and forgotten at least, if its log lacks what these tell of. It must not give another one
/// of that leader's time, nor take entries from a leader of before.
pub(super) fn promise(behind: &[Witness]) -> Option<Vote> {
    // Whoever has promised anything cannot found a group, either.
    if faults::is_on(Fault::SetBackObeysFormer) || faults::is_on(Fault::EmptyReplicaFounds) {
        return None;
    }
    let marks = behind.iter().filter_map(Witness::entry);
    marks.max().map(Reached::promise)
}

/// What tells that a log has been further than it was found.
///
/// # Errors
/// If it is known to be the log of a lone replica: nobody else can have the rest.
pub(super) fn check(
    config: &StoreConfig,
    log_dir: &Path,
    snapshot: Option<&SnapshotMeta>,
    log: &log::Found,
    node_id: NodeId,
) -> Result<Vec<Witness>, OpenError> {
    let last = log
        .last_entry()
        .max(snapshot.and_then(|meta| meta.last_log_id));
    let unmet = config.witnesses.iter().filter(|of| !of.is_met(last));
    let behind: Vec<Witness> = unmet.cloned().collect();
    let Some(witness) = behind.first() else {
        return Ok(behind);
    };
    if config.group.is_none() || is_only_voter(snapshot, log, node_id) {
        return Err(OpenError::SetBack {
            path: log_dir.to_path_buf(),
            end: last.map(Reached::from),
            witnesses: behind,
        });
    }
    // One that is new has everything to be sent, and nobody wonders.
    if last.is_none() {
        return Ok(behind);
    }
    tracing::warn!(
        log_ends_at = last.map(|last| Reached::from(last).to_string()),
        %witness,
        "the log of this replica ends before an entry that was committed: it was away, or its data folder was set back to an older copy. \
         Until the others have sent it what it lacks, it does not campaign, and votes for nobody who lacks that, too"
    );
    Ok(behind)
}

/// By the last membership in the log, or else in the snapshot.
fn is_only_voter(snapshot: Option<&SnapshotMeta>, log: &log::Found, node_id: NodeId) -> bool {
    let entries = log.entries();
    let in_log = entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some(membership),
        _ => None,
    });
    let in_snapshot = snapshot.map(|meta| meta.last_membership.membership());
    let membership = in_log.or(in_snapshot);
    membership.is_some_and(|membership| membership.voter_ids().eq([node_id]))
}

/// Whether what statuses tell of has been edited: whoever leads has what was committed, and this replica has been served for so
/// many looks and has what the others have. (While a snapshot is under way even that is not here.)
fn is_edited(served: u32, last: Option<u64>, others_have: impl FnOnce() -> u64) -> bool {
    let is_served = served >= SERVED && !faults::is_on(Fault::EditedStatusBelieved);
    is_served && last.unwrap_or(0) >= others_have()
}

/// Whether a replica that is sent nothing waits in vain. Not while another may lead: that one has what was committed, and a status
/// that tells of more is not believed as soon as it serves this replica.
fn is_in_vain(is_only_told: bool, led: Option<bool>) -> bool {
    is_only_told && led == Some(false)
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// Campaigns again as soon as the log has been as far as all of these tell. Until then it says so whenever it was sent
    /// nothing for a while, and ends if it waits in vain. (Whom openraft takes for the leader does not tell: after a restart that is whoever was it before.)
    pub(super) async fn catch_up(self: Arc<Self>) {
        let mut looks: u32 = 0;
        let mut served: u32 = 0;
        let mut before = None;
        while !self.is_stopping() {
            let last = self.log_gauge().last();
            let behind = {
                let mut lacking = lock_of(self.lacking());
                lacking.witnesses.retain(|witness| !witness.is_met(last));
                lacking.witnesses.clone()
            };
            let Some(witness) = behind.first() else {
                tracing::info!("the log of this replica has caught up with what was committed");
                self.is_complete();
                return;
            };
            served = match self.health().borrow().is_ready() {
                true => served.saturating_add(1),
                false => 0,
            };
            if before != Some(last) {
                (looks, before) = (0, Some(last));
            }
            looks = looks.wrapping_add(1);
            let is_only_told = behind.iter().all(|witness| witness.entry().is_none());
            if is_only_told && is_edited(served, last.map(|last| last.index), || self.others_have())
            {
                tracing::warn!(%witness, "what tells of more than was ever committed has been edited: it is not believed, since this replica has a leader and all that the leader has");
                lock_of(self.lacking()).witnesses.clear();
                self.is_complete();
                return;
            }
            // One with an empty log is new, and says by itself what it waits for.
            if looks.is_multiple_of(SAY) && last.is_some() {
                let led = self.is_led().await;
                if is_in_vain(is_only_told, led) {
                    self.fail(&format!(
                        "its log ends before an entry that was committed: {}, and a majority of the group is there and none of it leads. \
                         Either the data folders of the group were set back to an older copy: {INSTEAD}. Or somebody has edited what tells that: {EDITED}",
                        Witness::all(&behind)
                    ));
                    return;
                }
                tracing::error!(
                    a_replica_leads = led,
                    log_ends_at = last.map(|last| Reached::from(last).to_string()),
                    %witness,
                    "this replica still lacks what was committed, and is sent nothing. If a replica leads, it does not reach this one: see its log. If none leads, all that are there were set back or lack as much, \
                     and none comes to lead, since it would admit used tokens again: start the replica that is missing. If there is none: {INSTEAD}"
                );
            }
            Rt::sleep(LOOK).await;
        }
    }

    /// How much the others that are heard of have applied.
    fn others_have(&self) -> u64 {
        let boot_ms = self.clocks().readings().boot_ms;
        let heard = (self.group()).map_or_else(BTreeMap::new, |it| it.heard(boot_ms, PRESENT_MS));
        let applied = heard.values().map(|heard| heard.pulse.applied);
        applied.max().unwrap_or(0)
    }

    /// Whether one of the others leads, as they say when they are asked. `None`: that many do not answer says nothing.
    async fn is_led(&self) -> Option<bool> {
        let group = self.group()?;
        let heard = group.heard(self.clocks().readings().boot_ms, PRESENT_MS);
        let voters: Vec<NodeId> = self.membership().voter_ids().collect();
        let me = self.identity().node_id;
        let patience = self.config().answer_timeout + ANSWERED;
        let mut not_leading = usize::from(voters.contains(&me));
        for voter in voters.iter().filter(|voter| heard.contains_key(voter)) {
            let Some(address) = group.whereabouts().of(*voter) else {
                continue;
            };
            let caller = group.caller();
            let asked = caller.ask::<Rt>(&address, *voter, Ask::ReadIndex, patience);
            match asked.await {
                Ok(_) => return Some(true),
                Err(AskError::Refused {
                    why: Refusal::NotLeader,
                    ..
                }) => not_leading += 1,
                Err(_) => {}
            }
        }
        (not_leading > voters.len() / 2).then_some(false)
    }

    /// It has all that it was told of.
    fn is_complete(&self) {
        let may_campaign = self.contradiction().is_none();
        self.raft().runtime_config().elect(may_campaign);
        self.set_incomplete(false);
    }

    /// A candidate whose log ends here must not have this replica's vote, since it lacks what is known here to be committed: a
    /// log that has that may be gone from here, and cannot speak for itself.
    pub(crate) fn refuses_to_elect(&self, candidate: NodeId, last: Option<LogId>) -> bool {
        if faults::is_on(Fault::SetBackVotesForAnybody) {
            return false;
        }
        let mut lacking = lock_of(self.lacking());
        let Some(mark) = lacking.is_lacking(last).cloned() else {
            return false;
        };
        if lacking.refused.insert(candidate) {
            tracing::warn!(
                candidate = %format_args!("{candidate:016x}"),
                its_log_ends_at = last.map(|last| Reached::from(last).to_string()),
                %mark,
                "this replica does not vote for one whose log ends before an entry that was committed"
            );
        }
        true
    }

    /// Up to where everything is known here to be committed.
    pub(super) fn reached(&self) -> Option<Reached> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_applied.map(Reached::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Told;
    use crate::store::types::LeaderId;

    #[test]
    fn a_status_is_edited_if_nobody_has_what_it_tells_of() {
        let is_edited = |served, last, others_have| is_edited(served, last, || others_have);
        assert!(is_edited(SERVED, Some(50), 50));
        // It is still being sent a snapshot.
        assert!(!is_edited(SERVED, Some(50), 51) && !is_edited(SERVED, None, 51));
        assert!(!is_edited(SERVED - 1, Some(50), 50));
    }

    #[test]
    fn who_is_told_by_statuses_alone_waits_in_vain_once_it_is_known_that_nobody_leads() {
        assert!(is_in_vain(true, Some(false)));
        for (is_only_told, led) in [
            (true, Some(true)),
            (true, None),
            (false, Some(false)),
            (false, None),
        ] {
            assert!(!is_in_vain(is_only_told, led), "{is_only_told} {led:?}");
        }
    }

    #[test]
    fn who_lacks_what_a_mark_tells_of_is_not_elected_and_a_status_counts_for_nothing() {
        let last = |term, index| {
            let leader_id = LeaderId { term, node_id: 7 };
            Some(LogId::new(leader_id, index))
        };
        let witness = |told| Witness {
            told,
            place: String::new(),
        };
        let entry = |term, index| {
            let node = 7;
            witness(Told::Entry(Reached { term, node, index }))
        };
        let status = witness(Told::Index(1_000));
        let told = Lacking::new(vec![status.clone()]);
        assert_eq!(told.is_lacking(last(1, 5)), None);
        assert_eq!(promise(&told.witnesses), None);

        let marked = Lacking::new(vec![status, entry(2, 9)]);
        assert!(marked.is_lacking(None).is_some());
        assert!(marked.is_lacking(last(2, 8)).is_some());
        assert!(marked.is_lacking(last(1, 2_000)).is_some());
        assert_eq!(marked.is_lacking(last(2, 9)), None);
        let promised = promise(&marked.witnesses).unwrap();
        assert_eq!((promised.leader_id.term, promised.committed), (2, false));
    }
}

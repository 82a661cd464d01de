//! A replica whose log ends before an entry that was committed: it was set back to an older copy, or was away.
//!
//! Alone it is not opened. One of a group may vote for others and is sent what it lacks, but does not campaign before it has
//! that: so a group that was set back as a whole, or a majority of which was, elects nobody who lacks what was committed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver as _;

use super::inner::Inner;
use super::log;
use super::open_error::INSTEAD;
use super::types::{NodeId, Payload, SnapshotMeta};
use super::{OpenError, Reached, StoreConfig, Witness};

/// How often it is looked whether it has caught up.
const LOOK: Duration = Duration::from_millis(100);
/// At every how manieth look it is said that it has not: every 30 seconds.
const SAY: u32 = 300;
/// For so many looks on end, 10 seconds, a leader has served this replica: far longer than it takes to notice that none does.
const SERVED: u32 = 100;

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
            witness: witness.clone(),
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
         It does not campaign until the others have sent it what it lacks"
    );
    Ok(behind)
}

/// By the last membership in the log, or else in the snapshot.
fn is_only_voter(snapshot: Option<&SnapshotMeta>, log: &log::Found, node_id: NodeId) -> bool {
    let entries = log.entries_after(0);
    let in_log = entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some(membership),
        _ => None,
    });
    let in_snapshot = snapshot.map(|meta| meta.last_membership.membership());
    let membership = in_log.or(in_snapshot);
    membership.is_some_and(|membership| membership.voter_ids().eq([node_id]))
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// Campaigns again as soon as the log has been as far as all of these tell. Until then it says so whenever it was sent
    /// nothing for a while. (Whom openraft takes for the leader does not tell: after a restart that is whoever was it before.)
    pub(super) async fn catch_up(self: Arc<Self>, mut behind: Vec<Witness>) {
        let mut looks: u32 = 0;
        let mut served: u32 = 0;
        let mut before = None;
        while !self.is_stopping() {
            let last = self.log_gauge().last();
            behind.retain(|witness| !witness.is_met(last));
            let Some(witness) = behind.first() else {
                tracing::info!("the log of this replica has caught up with what was committed");
                self.raft().runtime_config().elect(true);
                return;
            };
            // Whoever leads has what was committed: a status that tells of more has been edited.
            served = match self.health().borrow().is_ready() {
                true => served.saturating_add(1),
                false => 0,
            };
            let is_only_told = behind.iter().all(|witness| witness.term.is_none());
            if is_only_told && served >= SERVED {
                tracing::warn!(%witness, "what tells of more than was ever committed has been edited: it is not believed, since this replica has a leader and all that the leader has");
                self.raft().runtime_config().elect(true);
                return;
            }
            if before != Some(last) {
                (looks, before) = (0, Some(last));
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(SAY) && is_only_told {
                self.fail(&format!("its log is not as far as {witness}, and no replica leads. Either the data folders of the group were set back to an older copy: {INSTEAD}. Or that status was edited: delete the JoinToken. Then start again, so that the statuses are read anew"));
                return;
            }
            if looks.is_multiple_of(SAY) && last.is_some() {
                tracing::error!(
                    log_ends_at = last.map(|last| Reached::from(last).to_string()),
                    %witness,
                    "this replica still lacks what was committed, and is sent nothing. If a replica leads and a majority serves, empty this one: it comes as a new member. If one leads and too few serve, restart the leader first: \
                     it then sends what is missing. If none leads, all that are there were set back, and none comes to lead, since it would admit used tokens again: {INSTEAD}"
                );
            }
            Rt::sleep(LOOK).await;
        }
    }

    /// Up to where everything is known here to be committed.
    pub(super) fn reached(&self) -> Option<Reached> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_applied.map(Reached::from)
    }
}

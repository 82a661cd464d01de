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
        let mut before = None;
        while !self.is_stopping() {
            let last = self.log_gauge().last();
            behind.retain(|witness| !witness.is_met(last));
            let Some(witness) = behind.first() else {
                tracing::info!("the log of this replica has caught up with what was committed");
                self.raft().runtime_config().elect(true);
                return;
            };
            if before != Some(last) {
                (looks, before) = (0, Some(last));
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(SAY) {
                tracing::error!(
                    log_ends_at = last.map(|last| Reached::from(last).to_string()),
                    %witness,
                    "this replica still lacks what was committed, and is sent nothing. If no replica leads, all that are there were set back, and none comes to lead, since it would admit used tokens again. \
                     Bring those back that were in use last. If they are lost for good: {INSTEAD}"
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

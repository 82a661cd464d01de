//! Two pasts of one store: a leader without an entry that was committed, as a replica knows that has applied it.
//!
//! It cannot be unless folders were set back to older copies with all that tells so: so many that they are a majority together with
//! those that were behind or away, of three one can be enough; and unless that majority has gone on while whoever has the entry
//! stood still or was cut off. Whoever finds that out, or is told so and has entries of that leader, serves no
//! more: which past counts nobody here can know. It tells the others as long as they go on, and keeps it in its folder, so that a
//! start does not forget it. A claim that is false stops, too, and admits nobody.
//!
//! What is not found out: what was admitted in one past before it heard of the other; and a snapshot of a later leader that goes
//! further than what is applied here looks like one of this past. Then the hashes of the states tell, if a round has passed in
//! both pasts ([`super::rounds`]).

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::AsyncRuntime;

use super::OpenError;
use super::disk::{Disk, write_whole};
use super::group::{Group, PRESENT_MS};
use super::inner::{Inner, blocking, lock_of};
use super::types::{Entry, LogId, NodeId, Payload, Vote};

/// For so long others are told at most, if they do not heed it.
const TELLING_MS: u64 = 30_000;

const NAME: &str = "contradiction";

/// What cannot both be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// It was committed: a replica has applied it.
    pub applied: LogId,
    /// Whose log is without it.
    pub leader: Vote,
}

/// What is known here of two pasts.
pub(crate) struct Found {
    it: Contradiction,
    what: String,
    since_boot_ms: u64,
    /// It is in the folder.
    is_kept: bool,
}

/// Refuses a folder in which it is kept that the store has two pasts.
///
/// # Errors
/// That, or the folder cannot be read.
pub(super) fn check(disk: &dyn Disk, data_dir: &Path) -> Result<(), OpenError> {
    let path = path(data_dir);
    match disk.read(&path) {
        Ok(bytes) => {
            let what = String::from_utf8_lossy(&bytes).trim().to_owned();
            Err(OpenError::TwoPasts { path, what })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(&path)(error)),
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Whether one log can have both.
fn go_together(one: LogId, other: LogId) -> bool {
    match one.index.cmp(&other.index) {
        Ordering::Less => one.leader_id <= other.leader_id,
        Ordering::Equal => one == other,
        Ordering::Greater => one.leader_id >= other.leader_id,
    }
}

/// Whether a log that has this entry cannot have all up to what is applied here. `own`: the entries that are present here.
fn denies(
    (name, payload): (LogId, Option<&Payload>),
    applied: LogId,
    own: impl Fn(u64) -> Option<Entry>,
) -> bool {
    if !go_together(name, applied) {
        return true;
    }
    // While a snapshot is installed there may be entries here that were never committed.
    let is_of_applied = |entry: &Entry| entry.log_id == applied;
    if name.index > applied.index || !own(applied.index).as_ref().is_some_and(is_of_applied) {
        return false;
    }
    // One leader of one term may have been set back itself, and have written something else of the same name.
    own(name.index).is_some_and(|own| {
        own.log_id != name || payload.is_some_and(|payload| own.payload != *payload)
    })
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// What is known here of two pasts.
    pub(crate) fn contradiction(&self) -> Option<Contradiction> {
        lock_of(self.pasts()).as_ref().map(|found| found.it)
    }

    /// Whether the leader of this vote, whose log has these entries, lacks what is applied here. From then on nothing is served.
    pub(crate) fn contradicts<'a>(
        &self,
        leader: Vote,
        mut named: impl Iterator<Item = (LogId, Option<&'a Payload>)>,
    ) -> Option<Contradiction> {
        // In this order: the vote is at least the one by which it was committed. Only earlier leaders may lack it; openraft
        // refuses those.
        let applied = self.shared().applied().last?;
        if Some(leader) < self.log_gauge().vote() {
            return None;
        }
        let own = |index| self.log_gauge().entry(index);
        if !named.any(|entry| denies(entry, applied, own)) {
            return None;
        }
        let it = Contradiction { applied, leader };
        self.contradict(it, told(it, "here", ""));
        Some(it)
    }

    fn contradict(&self, it: Contradiction, what: String) {
        let mut pasts = lock_of(self.pasts());
        if pasts.is_some() {
            return;
        }
        tracing::error!(
            "{what}. Nothing is served any more, and the others are told before this replica ends"
        );
        *pasts = Some(Found {
            it,
            what,
            since_boot_ms: self.clocks().readings().boot_ms,
            is_kept: false,
        });
        drop(pasts);
        self.raft().runtime_config().elect(false);
        self.suspend(true);
    }

    /// Another one has said so.
    fn believe(&self, by: NodeId, it: Contradiction) {
        let is_of_that_leader = self
            .log_gauge()
            .last()
            .is_some_and(|last| last.leader_id >= it.leader.leader_id);
        // Who has nothing of that leader goes on: it is told by what it is sent.
        if is_of_that_leader && self.membership().get_node(&by).is_some() {
            let by = format!("by replica {by:016x}");
            self.contradict(it, told(it, &by, ", and this one has followed it"));
        }
    }

    /// Hears what others say of two pasts; if there are two, keeps that, and ends once nobody goes on any more who could be told.
    pub(super) async fn mind_contradiction(self: &Arc<Self>, group: &Group) {
        if let Some((by, it)) = lock_of(&group.caller().claim).take() {
            self.believe(by, it);
        }
        let Some((what, since_ms, mut is_kept)) = (lock_of(self.pasts()).as_ref())
            .map(|found| (found.what.clone(), found.since_boot_ms, found.is_kept))
        else {
            return;
        };
        if !is_kept {
            is_kept = self.keep(what.clone()).await;
        }
        let me = self.identity().node_id;
        let boot_ms = self.clocks().readings().boot_ms;
        let since_ms = boot_ms.saturating_sub(since_ms);
        let members = self.membership();
        let is_other = |node: &NodeId| *node != me && members.get_node(node).is_some();
        let one_goes_on = group.heard(boot_ms, PRESENT_MS).keys().any(is_other);
        if since_ms >= TELLING_MS || is_kept && since_ms >= PRESENT_MS && !one_goes_on {
            let path = path(&self.config().data_dir);
            self.fail(&OpenError::TwoPasts { path, what }.to_string());
        }
    }

    /// Writes it into the folder. Whether that was done.
    async fn keep(self: &Arc<Self>, what: String) -> bool {
        let (disk, data_dir) = (self.disk().clone(), self.config().data_dir.clone());
        let written = blocking::<Rt, _>(&self.config().data_dir, move || {
            let path = path(&data_dir);
            let written = write_whole(&*disk, &path, &[what.as_bytes(), b"\n"]);
            written.map_err(OpenError::io(&path))
        });
        match written.await {
            Ok(()) => {
                if let Some(found) = lock_of(self.pasts()).as_mut() {
                    found.is_kept = true;
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "that the group has two pasts cannot be kept in the data folder: do not start this replica again");
                false
            }
        }
    }
}

fn told(Contradiction { applied, leader }: Contradiction, place: &str, followed: &str) -> String {
    let (term, leader) = (applied.leader_id.term, leader.leader_id);
    format!(
        "a majority of the group goes on without entry {} of term {term}, which was committed and is applied {place}: replica {:016x} leads in term {}{followed}. \
         The data folder of at least one replica was set back to an older copy",
        applied.index, leader.node_id, leader.term
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Command;
    use crate::lifecycle::command::Sweep;
    use crate::store::disk::RealDisk;
    use crate::store::types::{LeaderId, Proposal};

    fn name(term: u64, index: u64) -> LogId {
        let leader_id = LeaderId { term, node_id: 7 };
        LogId::new(leader_id, index)
    }

    fn says(at_ms: u64) -> Payload {
        let operation = Sweep { limit: 1 }.into();
        Payload::Normal(Proposal(Arc::new(Command { at_ms, operation })))
    }

    /// Entries 5 to 9 are there, from 8 on of term 3, and all are applied; 10 is not.
    fn own(index: u64) -> Option<Entry> {
        let term = if index < 8 { 2 } else { 3 };
        (5..=10).contains(&index).then(|| Entry {
            log_id: name(term, index),
            payload: says(index),
        })
    }

    fn is_denied(term: u64, index: u64, payload: Option<&Payload>) -> bool {
        denies((name(term, index), payload), name(3, 9), own)
    }

    #[test]
    fn what_comes_of_the_same_past_is_no_contradiction() {
        for (term, index) in [
            // Said again, with and without what was purged; what follows, by this leader and later ones.
            (1, 1),
            (2, 4),
            (2, 7),
            (3, 8),
            (3, 9),
            (3, 10),
            (3, 200),
            (4, 10),
            (9, 11),
        ] {
            assert!(!is_denied(term, index, None), "{term} {index}");
            assert!(
                !is_denied(term, index, Some(&says(index))),
                "{term} {index}"
            );
        }
        // It is not applied, so it may have been replaced.
        assert!(!is_denied(4, 10, Some(&says(0))));
    }

    #[test]
    fn a_log_that_cannot_have_what_is_applied_here_contradicts_it() {
        for (term, index) in [
            // A later leader that has begun before what is applied here ends.
            (4, 1),
            (4, 8),
            (4, 9),
            // Entries that were replaced here.
            (1, 5),
            (1, 7),
            (2, 8),
            (2, 9),
            // After what is applied here, by a leader of before.
            (2, 10),
        ] {
            assert!(is_denied(term, index, None), "{term} {index}");
        }
        // The leader of this term was set back, and has been elected in it once more.
        assert!(is_denied(3, 8, Some(&says(0))));
    }

    /// Behind a snapshot that is being installed there may be entries which were never committed.
    #[test]
    fn entries_that_are_not_of_what_is_applied_here_count_for_nothing() {
        let applied = name(5, 9);
        for entry in [(4, 6), (5, 8), (5, 9)] {
            let sent = (name(entry.0, entry.1), None);
            assert!(!denies(sent, applied, own), "{entry:?}");
        }
        assert!(!denies((name(5, 30), None), name(5, 20), own));
        assert!(denies((name(6, 6), None), applied, own));
    }

    #[test]
    fn a_folder_that_says_so_is_refused_until_the_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        check(&RealDisk, dir.path()).unwrap();
        let file = path(dir.path());
        write_whole(&RealDisk, &file, &[b"it is so\n"]).unwrap();
        let error = check(&RealDisk, dir.path()).unwrap_err().to_string();
        let says_file = format!("remove the file {}", file.display());
        assert!(
            error.starts_with("it is so. ") && error.contains(&says_file),
            "{error}"
        );
        std::fs::remove_file(file).unwrap();
        check(&RealDisk, dir.path()).unwrap();
    }
}

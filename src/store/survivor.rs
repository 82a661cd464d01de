//! What a replica's folder holds, read without opening the store: for when the rest of its group is lost.

use std::path::Path;
use std::sync::Arc;

use crate::lifecycle::State;

use super::disk::Disk;
use super::log::{self, Place};
use super::machine::unknown_rules;
use super::snapshot::Snapshots;
use super::types::{LogId, Payload};
use super::{OpenError, audit, folder, identity};

/// What a replica knew last.
#[derive(Debug)]
pub struct Survivor {
    /// The state after everything that is in its snapshot and its log.
    pub state: State,
    /// The place in the log of the last entry.
    pub index: u64,
    /// How many entries at the end are not known here to be committed. They are in the state nevertheless: to count a
    /// token as used that was not used costs a token, and the other way round it costs what the store is for.
    pub uncommitted: u64,
}

impl Survivor {
    /// Reads a folder that no process works on and leaves it as it is. Blocks.
    ///
    /// # Errors
    /// If the folder is in use, was never founded, is damaged or not complete, or was written by a later release.
    pub fn read(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, OpenError> {
        let not_founded = || OpenError::NotFounded {
            path: dir.to_path_buf(),
        };
        // Before it is locked: where there is no store none is begun.
        identity::read(&**disk, dir)?.ok_or_else(not_founded)?;
        let lock = Arc::new(folder::lock(&**disk, dir)?);
        let identity = identity::read(&**disk, dir)?.ok_or_else(not_founded)?;
        let store_id = identity.store_id;
        let snapshots = Snapshots::new(disk.clone(), dir.join("snapshots"), store_id, lock);
        let snapshot = snapshots.load()?;
        let log_dir = dir.join("log");
        let log = log::read(Place {
            disk: disk.clone(),
            dir: log_dir.clone(),
            store_id,
            // Nothing is written.
            segment_bytes: u64::MAX,
            salt: 0,
        })?;
        let meta = snapshot.as_ref().map(|snapshot| &snapshot.meta);
        let audited = audit::read_mark(&**disk, dir, store_id);
        folder::check_fit(&log_dir, meta, &log, audited, identity.node_id)?;

        let covered = meta.and_then(|meta| meta.last_log_id);
        let mut state = match &snapshot {
            None => State::new(),
            Some(snapshot) => State::decode(&snapshot.image.state)
                .map_err(|error| OpenError::damaged(dir, 0, error.to_string()))?,
        };
        for entry in log.entries_after(index_of(covered)) {
            if let Payload::Normal(proposal) = &entry.payload {
                // By other rules tokens would come to another end than they had.
                if let Some(rules) = unknown_rules(&proposal.0) {
                    return Err(OpenError::LaterRelease {
                        path: dir.to_path_buf(),
                        what: format!(
                            "from entry {} on it goes by rules {rules}",
                            entry.log_id.index
                        ),
                    });
                }
                state.apply(entry.log_id.index, &proposal.0);
            }
        }
        let index = index_of(log.last_entry().max(covered));
        let committed = index_of(log.committed().max(covered));
        Ok(Self {
            state,
            index,
            uncommitted: index.saturating_sub(committed),
        })
    }
}

/// Before the first entry: 0, which no command has.
fn index_of(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index)
}

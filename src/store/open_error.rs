//! Why a data folder could not be opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::lifecycle::SenselessSetting;
use crate::token::StoreId;

use super::{Reached, Told, Witness, file_trouble};

/// What to do when a folder's contents are lost. Never "restore a backup": what an older copy does
/// not know was used could be used again, and a new store refuses all tokens of the old one.
const LOST: &str = "nothing was changed. Do not put an older copy in its place, it would admit used tokens again: \
    if the contents are lost and this replica is one of a group, empty its data folder, keep the group's keys, and start it: it comes back as a new member. \
    A lone one: move the data folder away and found a new store, which refuses all tokens of this one";

/// What to do about an older copy.
pub const INSTEAD: &str = "mount the volume that was in use last. If that is lost for good, make a new store, in which every token that this copy takes for unused has ended: \
    `jointoken store recover` of this very folder, or `jointoken store snapshot restore` of a later snapshot";

/// What to do when another process has a copy.
const COPIED: &str = ". If a copy of it was started elsewhere: stop that, too, make the new store of whichever of the two has the admissions that count, and delete the other";

/// Why a data folder could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or a folder that the system does not let be used.
    #[error("{}: {}", path.display(), file_trouble(source, path))]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process works on the folder.
    #[error("the data folder {} is in use by another process{}", path.display(), holder_text(*.holder))]
    Locked {
        path: PathBuf,
        /// Its process id, if it could be read.
        holder: Option<u32>,
    },
    /// The folder holds no store yet.
    #[error("the data folder {} holds no store: it was never founded", path.display())]
    NotFounded { path: PathBuf },
    /// The replica has voted and acknowledged, and what it said is gone: without its log it could
    /// say the opposite.
    #[error(
        "the log in {} is missing, and it is not begun anew; {lost}",
        path.display(), lost = LOST
    )]
    LogMissing { path: PathBuf },
    /// The folder, or a file in it, belongs to another store.
    #[error(
        "{} belongs to the store {found}, not to {expected}: it is in the wrong place, bring the right one back",
        path.display()
    )]
    OtherStore {
        path: PathBuf,
        found: StoreId,
        expected: StoreId,
    },
    /// Bytes that once were synced are not what they were.
    #[error("{} is damaged at byte {offset}: {what}; {lost}", path.display(), lost = LOST)]
    Damaged {
        path: PathBuf,
        offset: u64,
        what: String,
    },
    /// Each file is whole, but some that once were synced are not there.
    #[error("{} is not complete: {what}; {lost}", path.display(), lost = LOST)]
    Incomplete { path: PathBuf, what: String },
    /// Its log ends before an entry that was committed, and nobody else has what is missing.
    #[error(
        "{} was set back to an older copy, or a copy of it was gone on with: its log ends at {}, and {}, which was committed. Nothing was changed. It is not gone on with, it would admit used tokens again: {}{}{}",
        path.display(), end_text(*.end), Witness::all(witnesses), INSTEAD, COPIED, edited_text(witnesses)
    )]
    SetBack {
        path: PathBuf,
        /// Where its log ends.
        end: Option<Reached>,
        witnesses: Vec<Witness>,
    },
    /// The store has two pasts, as it was found out before.
    #[error(
        "{what}. So tokens that were used in one past of the group are unused in the other, and nothing is served any more. Stop all replicas. \
         Mount the volumes that were in use last in the place of the older copies, and remove the file {} from whatever folder is kept. If they are lost, make a new store, \
         in which every unused token has ended: `jointoken store recover` of the folder of the replica that has applied this entry",
        path.display()
    )]
    TwoPasts { path: PathBuf, what: String },
    /// Something outside of the folder keeps it from being opened.
    #[error("{0}")]
    Outside(String),
    /// A later release wrote it.
    #[error(
        "{} has format {found}, this release reads formats up to {known}: use the release that wrote it or a later one",
        path.display()
    )]
    NewerFormat {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// It is whole, and says something that only a later release understands.
    #[error("{} was written by a later release ({what}): use the release that wrote it or a later one", path.display())]
    LaterRelease { path: PathBuf, what: String },
    /// A limit that no store can go by.
    #[error(transparent)]
    Settings(#[from] SenselessSetting),
    /// The replica could not start with what it read.
    #[error("the store could not start: {0}")]
    Start(String),
}

/// What to do about statuses that somebody has edited.
pub(super) const EDITED: &str = "delete the JoinTokens whose statuses these are, `kubectl delete jointoken NAME --namespace NAMESPACE --wait=false` \
    (they go once this has started: without --wait=false kubectl waits for that), and start again";

/// A status can be edited, the mark of the store cannot by whoever may only do that.
fn edited_text(witnesses: &[Witness]) -> String {
    match witnesses.iter().all(|of| matches!(of.told, Told::Index(_))) {
        true => format!(". If somebody has edited what tells that: {EDITED}"),
        false => String::new(),
    }
}

fn end_text(end: Option<Reached>) -> String {
    end.map_or_else(
        || "its very beginning".to_owned(),
        |Reached { term, index, .. }| format!("entry {index} of term {term}"),
    )
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

impl OpenError {
    /// For `map_err`: an error while working on `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            offset,
            what: what.into(),
        }
    }
}

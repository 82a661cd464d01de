//! Why a data folder could not be opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::token::StoreId;

/// Why a data folder could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: {source}", path.display())]
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
        "the log in {} is missing, and it is not begun anew: restore the folder from a backup",
        path.display()
    )]
    LogMissing { path: PathBuf },
    /// The folder, or a file in it, belongs to another store.
    #[error(
        "{} belongs to the store {found}, not to {expected}: bring the right one back, or restore it from a backup",
        path.display()
    )]
    OtherStore {
        path: PathBuf,
        found: StoreId,
        expected: StoreId,
    },
    /// Bytes that once were synced are not what they were: restore the folder from a backup.
    #[error(
        "{} is damaged at byte {offset}: {what}; the folder was left as it is, restore it from a backup",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        offset: u64,
        what: String,
    },
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
    /// The replica could not start with what it read.
    #[error("the store could not start: {0}")]
    Start(String),
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

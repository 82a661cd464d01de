//! Where a restored store lies until it is whole, and how it gets to its place.
//!
//! All of it is made in `restore.unfinished`, which then becomes `restore.ready` by one rename. From there keys and store
//! are moved to their places and, last, the identity, without which nothing opens the folder. An unfinished one is thrown
//! away by the next restore; a ready one is only ever finished, since the keys may be in their place already.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Between;
use super::error::RestoreError;
use super::home::Mark;
use super::report::Report;
use crate::founding::folder_vault::{at, make_folder, sync_folder, write_synced};
use crate::founding::set_aside::ASIDE;
use crate::founding::vault::VaultError;

pub(super) const KEYS: &str = "keys";
pub(super) const STORE: &str = "store";
const IDENTITY: &str = "identity";
const REPORT: &str = "report";
const MARK: &str = "cluster";
const UNFINISHED: &str = "restore.unfinished";
const READY: &str = "restore.ready";
/// The keys that lay where the new ones are.
const FORMER_KEYS: &str = "keys.before-restore";

/// What may lie in an empty folder: what locks it, what a killed process left, what file systems put there, and what an earlier restore left.
const NOTHING: [&str; 5] = [
    "founding.lock",
    "founding-object",
    "admin.sock",
    "lost+found",
    UNFINISHED,
];

/// A data folder that a store is restored into.
#[derive(Debug, Clone)]
pub(super) struct Staging {
    data: PathBuf,
}

/// A restore into this data folder has begun and not ended.
pub(in crate::founding) fn is_interrupted(data: &Path) -> bool {
    [UNFINISHED, READY]
        .iter()
        .any(|name| data.join(name).symlink_metadata().is_ok())
}

impl Staging {
    pub fn new(data: &Path) -> Self {
        let data = data.to_path_buf();
        Self { data }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the restore came to that only has to be finished.
    pub fn ready(&self) -> Result<Option<Report>, RestoreError> {
        let path = self.data.join(READY).join(REPORT);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(at(&path))?,
        };
        let damaged = || {
            let what = "is damaged or of a later release: use the release that wrote it, or empty the data folder";
            VaultError::unfit(path.display().to_string(), what)
        };
        Ok(Some(Report::parse(&text).ok_or_else(damaged)?))
    }

    /// What the cluster's mark said before; `None`: the store is not one of a cluster.
    pub fn mark(&self) -> Result<Option<Mark>, RestoreError> {
        let path = self.data.join(READY).join(MARK);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(at(&path))?,
        };
        let damaged = || {
            let what = "is damaged or of a later release: use the release that wrote it";
            VaultError::unfit(path.display().to_string(), what)
        };
        Ok(Some(Mark::parse(&text).ok_or_else(damaged)?))
    }

    /// Where the keys lie that are still to be put in their place.
    pub fn made_keys(&self) -> PathBuf {
        self.data.join(READY).join(KEYS)
    }

    /// They are in their place, which is not here.
    pub fn forget_keys(&self) -> Result<(), VaultError> {
        let keys = self.made_keys();
        if exists(&keys) {
            remove(&keys)?;
            sync_folder(&self.data.join(READY))?;
        }
        Ok(())
    }

    /// There must be nothing in the data folder, except the former keys if they are where `keys` says.
    pub fn check_empty(&self, keys: Option<&Path>) -> Result<(), RestoreError> {
        let entries = match fs::read_dir(&self.data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at(&self.data))?,
        };
        let are_here = keys.is_some_and(|keys| is_same(keys, &self.data.join(KEYS)));
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&self.data))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let may_be = NOTHING.contains(&&*name)
                || name.starts_with(ASIDE)
                || (name == KEYS && are_here)
                // Made for what was never put into it.
                || is_empty(&entry.path());
            if !may_be {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        names.sort();
        Err(RestoreError::NotEmpty {
            data: self.data.clone(),
            names,
        })
    }

    /// An empty folder to make everything in.
    pub fn begin(&self) -> Result<PathBuf, VaultError> {
        let beside = self.data.join(UNFINISHED);
        remove(&beside)?;
        make_folder(&beside)?;
        Ok(beside)
    }

    /// Everything is made: from here on the restore is only finished.
    pub fn complete(&self, report: &Report, mark: Option<&Mark>) -> Result<(), VaultError> {
        let (beside, ready) = (self.data.join(UNFINISHED), self.data.join(READY));
        if let Some(mark) = mark {
            write_synced(&beside.join(MARK), mark.to_string().as_bytes())?;
        }
        write_synced(&beside.join(REPORT), report.to_string().as_bytes())?;
        sync_folder(&beside)?;
        fs::rename(&beside, &ready).map_err(at(&ready))?;
        sync_folder(&self.data)
    }

    /// Moves everything to its place, the identity last. May be repeated after a crash.
    pub fn finish(&self, between: Between<'_>) -> Result<(), RestoreError> {
        let ready = self.data.join(READY);
        let keys = self.data.join(KEYS);
        if exists(&ready.join(KEYS)) && exists(&keys) && !is_empty(&keys) {
            self.put(&keys, FORMER_KEYS)?;
            between()?;
        }
        for name in [KEYS, STORE, IDENTITY] {
            let made = ready.join(name);
            if exists(&made) {
                self.put(&made, name)?;
                between()?;
            }
        }
        remove(&ready)?;
        sync_folder(&self.data)?;
        Ok(())
    }

    /// Renames something to a name in the data folder that nothing has, or an empty folder.
    fn put(&self, from: &Path, name: &str) -> Result<(), RestoreError> {
        let to = self.data.join(name);
        if exists(&to) && !is_empty(&to) {
            return Err(RestoreError::NotEmpty {
                data: self.data.clone(),
                names: vec![name.to_owned()],
            });
        }
        fs::rename(from, &to).map_err(at(&to))?;
        sync_folder(&self.data)?;
        if let Some(parent) = from.parent() {
            sync_folder(parent)?;
        }
        Ok(())
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A folder with nothing in it, and no link to one.
fn is_empty(path: &Path) -> bool {
    !path.is_symlink() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// The same folder, however it is written.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn remove(folder: &Path) -> Result<(), VaultError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

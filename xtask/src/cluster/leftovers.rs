//! The cluster's temporary folder, and what is left of clusters that had no chance to remove theirs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "jointoken-cluster-";
const LOCK: &str = "lock";

/// A private temporary folder. Its lock file is held as long as its owner lives, however that ends.
pub struct RunFolder {
    folder: TempDir,
    _lock: File,
}

impl RunFolder {
    /// Makes a folder, after removing those of owners that were killed (their servers ended with them).
    pub fn create() -> Result<Self> {
        let parent = std::env::temp_dir();
        for orphan in orphans(&parent) {
            // another user's, or gone by now: not our business
            let _ = fs::remove_dir_all(orphan);
        }
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .with_context(|| format!("making a folder in {}", parent.display()))?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().context("locking the cluster's folder")?;
        Ok(RunFolder {
            folder,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Folders of ours whose lock nobody holds. One without a lock file is being made this very moment: left alone.
fn orphans(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX));
    ours.map(|e| e.path())
        .filter(|folder| abandoned(folder))
        .collect()
}

fn abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_whose_owner_is_gone_are_orphans() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            (File::create(folder.join(LOCK)).unwrap(), folder)
        };
        let (held, _) = make("jointoken-cluster-held");
        held.try_lock().unwrap();
        let (_, gone) = make("jointoken-cluster-gone");
        make("somebody-elses");
        fs::create_dir(parent.path().join("jointoken-cluster-new")).unwrap();
        assert_eq!(orphans(parent.path()), [gone]);
    }
}

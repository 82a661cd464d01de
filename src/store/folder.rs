//! The data folder: `identity`, `lock`, `log/`, `snapshots/`. One process works on it at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::audit;
use super::disk::{Disk, DiskLock};
use super::identity::{self, Identity};
use super::log::{self, Place, Recovered};
use super::snapshot::Snapshots;
use super::types::{NodeId, SnapshotMeta};
use super::{OpenError, StoreConfig, Witness, behind, contradiction};

/// What is read from a data folder before anything runs.
pub(super) struct Opened {
    pub identity: Identity,
    pub lock: Arc<DiskLock>,
    pub snapshots: Snapshots,
    pub log: Recovered,
    /// Up to where an earlier process has written down every change.
    pub audited: u64,
    /// What tells that the log has been further than it was found.
    pub behind: Vec<Witness>,
}

/// Locks the folder and reads it all. Blocks.
pub(super) fn open(
    config: &StoreConfig,
    disk: Arc<dyn Disk>,
    salt: u64,
) -> Result<Opened, OpenError> {
    let dir = &config.data_dir;
    if identity::read(&*disk, dir)?.is_none() {
        return Err(OpenError::NotFounded { path: dir.clone() });
    }
    let lock = Arc::new(lock(&*disk, dir)?);
    // Again, now that nobody else can change it.
    let identity =
        identity::read(&*disk, dir)?.ok_or_else(|| OpenError::NotFounded { path: dir.clone() })?;
    if let Some(expected) = config.expected_store.filter(|id| *id != identity.store_id) {
        return Err(OpenError::OtherStore {
            path: dir.clone(),
            found: identity.store_id,
            expected,
        });
    }
    contradiction::check(&*disk, dir)?;
    let snapshots = Snapshots::new(
        disk.clone(),
        subfolder(&*disk, dir, "snapshots")?,
        identity.store_id,
        lock.clone(),
    );
    // Both are read before either is touched.
    let snapshot = snapshots.load()?.map(|snapshot| snapshot.meta);
    let log_dir = subfolder(&*disk, dir, "log")?;
    if !identity.founding && !log::has_begun(&*disk, &log_dir)? {
        return Err(OpenError::LogMissing { path: log_dir });
    }
    let log = log::read(Place {
        dir: log_dir.clone(),
        disk: disk.clone(),
        store_id: identity.store_id,
        segment_bytes: config.segment_bytes,
        salt,
    })?;
    let audited = audit::read_mark(&*disk, dir, identity.store_id);
    check_fit(&log_dir, snapshot.as_ref(), &log, audited, identity.node_id)?;
    let behind = behind::check(config, &log_dir, snapshot.as_ref(), &log, identity.node_id)?;
    let log = log.resume()?;
    snapshots.tidy()?;
    Ok(Opened {
        audited,
        behind,
        identity,
        lock,
        snapshots,
        log,
    })
}

/// Snapshot and log together must hold every entry that there ever was.
pub(super) fn check_fit(
    log_dir: &Path,
    snapshot: Option<&SnapshotMeta>,
    log: &log::Found,
    audited: u64,
    node_id: NodeId,
) -> Result<(), OpenError> {
    let incomplete = |what| {
        let path = log_dir.to_path_buf();
        Err(OpenError::Incomplete { path, what })
    };
    let covered = snapshot.and_then(|meta| meta.last_log_id);
    if let Some(purged) = log.purged().filter(|_| log.purged() > covered) {
        return incomplete(format!(
            "its entries up to {} are in a snapshot that is missing",
            purged.index
        ));
    }
    // A replica that was sent its snapshot has had no entries before it. Alone, it has taken it
    // of entries that were in its log.
    let is_alone = snapshot.is_some_and(|meta| {
        let mut voters = meta.last_membership.membership().voter_ids();
        voters.all(|voter| voter == node_id)
    });
    if let Some(last) = covered.filter(|_| is_alone && log.last_entry() < covered) {
        return incomplete(format!(
            "it ends before entry {}, up to which there is a snapshot",
            last.index
        ));
    }
    // A log cut at its end looks as if its last writes had never completed. What was audited had been committed.
    let last = log.last_entry().max(covered).map_or(0, |last| last.index);
    if last < audited {
        return incomplete(format!(
            "it ends at entry {last}, and there were entries up to {audited} at least"
        ));
    }
    Ok(())
}

/// Makes the folder, if need be, and locks it.
pub(super) fn lock(disk: &dyn Disk, data_dir: &Path) -> Result<DiskLock, OpenError> {
    disk.create_dir(data_dir).map_err(OpenError::io(data_dir))?;
    let path = data_dir.join("lock");
    match disk.lock(&path).map_err(OpenError::io(&path))? {
        Ok(lock) => Ok(lock),
        Err(holder) => Err(OpenError::Locked {
            path: data_dir.to_path_buf(),
            holder,
        }),
    }
}

/// A folder in the data folder, made if need be.
pub(super) fn subfolder(
    disk: &dyn Disk,
    data_dir: &Path,
    name: &str,
) -> Result<PathBuf, OpenError> {
    let path = data_dir.join(name);
    disk.create_dir(&path).map_err(OpenError::io(&path))?;
    disk.sync_dir(data_dir).map_err(OpenError::io(data_dir))?;
    Ok(path)
}

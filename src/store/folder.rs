//! The data folder: `identity`, `lock`, `log/`, `snapshots/`. One process works on it at a time.

use std::path::{Path, PathBuf};

use super::OpenError;
use super::disk::{Disk, DiskLock};

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

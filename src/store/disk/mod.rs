//! All that the store asks of a disk, so that tests can put one in its place that loses power.
//!
//! The rules for whoever calls: what was appended counts only after `sync`, what was created,
//! renamed or removed only after `sync_dir`. After an error of a write or a sync nothing is known
//! of what is on the disk; it must never be tried again, the process has to end and read anew.

mod real;

use std::any::Any;
use std::io;
use std::path::Path;

use crate::faults::{self, Fault};

pub use real::RealDisk;

/// A file system, as far as the store needs one. All calls block.
pub trait Disk: Send + Sync + 'static {
    /// Creates a folder that only its owner may enter (mode 0700), and its parents. What it had to
    /// create lasts through a loss of power.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates a file for appending that only its owner may read (mode 0600). It must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists for appending.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole contents of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names of the files in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Puts a file in the place of another, at once or not at all.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes what was created, renamed or removed in the folder last through a loss of power.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file (made if need be) until the guard is dropped or the process ends, and writes
    /// the process's id into it. `Ok(Err(holder))`: another process has it, and which, if known.
    fn lock(&self, path: &Path) -> io::Result<Result<DiskLock, Option<u32>>>;
}

/// Dropping it unlocks.
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// A file open for appending.
pub trait DiskFile: Send {
    /// Writes at the end. After an error it is not known how much of it was written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was appended last through a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes a file so that after a crash there is either all of it under its name or what was there before.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = Path::new(&temporary);
    match disk.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(temporary)?;
    for part in parts {
        file.append(part)?;
    }
    if !faults::is_on(Fault::NameBeforeContents) {
        file.sync()?;
    }
    drop(file);
    disk.rename(temporary, path)?;
    disk.sync_dir(dir)
}

/// How the names of files end that are being written; what a crash left of them may be removed.
pub(crate) const TEMPORARY: &str = ".tmp";

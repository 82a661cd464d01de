//! The machine's disk, but as slow to sync as another one; and it counts.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jointoken::store::disk::{Disk, DiskFile, DiskLock, RealDisk};

#[derive(Clone)]
pub struct SlowDisk {
    sync: Duration,
    pub syncs: Arc<AtomicU64>,
}

impl SlowDisk {
    /// Each sync of a file takes so long.
    pub fn new(sync: Duration) -> Self {
        Self {
            sync,
            syncs: Arc::default(),
        }
    }
}

struct SlowFile(Box<dyn DiskFile>, SlowDisk);

impl DiskFile for SlowFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        std::thread::sleep(self.1.sync);
        self.1.syncs.fetch_add(1, Ordering::SeqCst);
        self.0.sync()
    }
}

impl Disk for SlowDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(RealDisk.create(path)?, self.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(RealDisk.open(path)?, self.clone())))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Result<DiskLock, Option<u32>>> {
        RealDisk.lock(path)
    }
}

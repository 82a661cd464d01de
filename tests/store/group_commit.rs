//! Many proposals share a sync; a lone one has its own and waits for nobody.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jointoken::store::disk::{Disk, DiskFile, DiskLock, RealDisk};
use jointoken::store::{RaftStore, TokenStore as _, submit};

use crate::support::{T, begin, clock, config, found};

/// The machine's disk, but as slow to sync as one that turns; and it counts.
#[derive(Clone, Default)]
struct SlowDisk(Arc<AtomicU64>);

struct SlowFile(Box<dyn DiskFile>, Arc<AtomicU64>);

impl DiskFile for SlowFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(5));
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sync()
    }
}

impl Disk for SlowDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(RealDisk.create(path)?, self.0.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile(RealDisk.open(path)?, self.0.clone())))
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

#[tokio::test(flavor = "multi_thread")]
async fn many_proposals_share_a_sync_and_a_lone_one_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SlowDisk::default();
    let syncs = || disk.0.load(Ordering::SeqCst);
    let store: RaftStore = found(config(dir.path()), Arc::new(disk.clone()), clock()).await;
    // The first that names a node begins a segment.
    submit(&store, begin(1_000, 1, T)).await.unwrap();
    store.barrier().await.unwrap();

    let before = syncs();
    for n in 0..20 {
        submit(&store, begin(n, 1, T)).await.unwrap();
    }
    assert_eq!(syncs() - before, 20, "each alone is synced once, at once");

    let before = syncs();
    let all = (100..600).map(|n| submit(&store, begin(n, 1, T)));
    for outcome in join_all(all).await {
        outcome.unwrap();
    }
    let shared = syncs() - before;
    assert!(
        (1..=50).contains(&shared),
        "500 proposals took {shared} syncs"
    );
    store.shutdown().await;
}

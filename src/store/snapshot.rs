//! Snapshots on the disk: at most one counts, the one with the highest log index.
//!
//! ```text
//! magic 8 | format u32 (1, or 2 with who was removed) | store id 16 | length of meta u32 | length of image u64 | meta | image | crc32c u32
//! ```
//!
//! Integers are little endian. Meta says up to which entry and with which members; the image is
//! the state's own canonical one. The checksum is of everything before it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lifecycle::State;
use crate::token::StoreId;

use super::OpenError;
use super::codec::{Malformed, Reader, Writer};
use super::disk::{Disk, DiskLock, TEMPORARY, write_whole};
use super::types::{NodeId, SnapshotMeta};

const MAGIC: &[u8; 8] = b"jtsnap\r\n";
/// What is written while nobody was ever removed; a release before groups can read it.
const FORMAT: u32 = 1;
/// With the replicas that were removed.
const FORMAT_WITH_REMOVED: u32 = 2;
const HEADER: usize = 40;
const SUFFIX: &str = ".snapshot";

/// What a snapshot holds, beside up to where it goes; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// The state's canonical image.
    pub state: Arc<Vec<u8>>,
    /// Who was a member once and is none any more.
    pub removed: BTreeSet<NodeId>,
}

/// A snapshot and up to where it goes.
#[derive(Debug, Clone)]
pub(crate) struct StoredSnapshot {
    pub meta: SnapshotMeta,
    pub image: Image,
}

/// The folder of snapshots.
#[derive(Clone)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store_id: StoreId,
    /// The folder is nobody else's while a snapshot may still be written.
    _lock: Arc<DiskLock>,
    /// How long the image of the last one is.
    image_bytes: Arc<AtomicU64>,
}

impl Snapshots {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        store_id: StoreId,
        lock: Arc<DiskLock>,
    ) -> Self {
        Self {
            disk,
            dir,
            store_id,
            _lock: lock,
            image_bytes: Arc::default(),
        }
    }

    /// How long the image of the last one is, 0 if there is none.
    pub(crate) fn image_bytes(&self) -> Arc<AtomicU64> {
        self.image_bytes.clone()
    }

    /// Writes a snapshot; when it returns, it is on the disk, and those before it are gone.
    pub(crate) fn save(&self, snapshot: &StoredSnapshot) -> io::Result<()> {
        let index = snapshot.meta.last_log_id.map_or(0, |id| id.index);
        let head = head(self.store_id, snapshot)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &snapshot.image.state);
        let path = self.path(index);
        let parts: [&[u8]; 3] = [&head, &snapshot.image.state, &crc.to_le_bytes()];
        write_whole(&*self.disk, &path, &parts)?;
        self.note(snapshot);
        self.remove_before(index)
    }

    /// The snapshot that counts. One that is there but cannot be read is an error: the log before
    /// it may be gone.
    pub(crate) fn load(&self) -> Result<Option<StoredSnapshot>, OpenError> {
        let names = self
            .disk
            .list(&self.dir)
            .map_err(OpenError::io(&self.dir))?;
        let Some(index) = names.iter().filter_map(|name| index_of(name)).max() else {
            return Ok(None);
        };
        let path = self.path(index);
        let bytes = self.disk.read(&path).map_err(OpenError::io(&path))?;
        let snapshot = decode(&path, self.store_id, &bytes)?;
        State::decode(&snapshot.image.state).map_err(|error| match error {
            error if error.is_of_later_release() => OpenError::LaterRelease {
                path,
                what: error.to_string(),
            },
            error => OpenError::damaged(&path, HEADER as u64, error.to_string()),
        })?;
        self.note(&snapshot);
        Ok(Some(snapshot))
    }

    fn note(&self, snapshot: &StoredSnapshot) {
        let bytes = snapshot.image.state.len() as u64;
        self.image_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Removes what a crash left behind, and makes what is there last.
    pub(crate) fn tidy(&self) -> Result<(), OpenError> {
        let tidy = || {
            let names = self.disk.list(&self.dir)?;
            for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
                self.disk.remove(&self.dir.join(name))?;
            }
            let latest = names.iter().filter_map(|name| index_of(name)).max();
            // The latest was synced before it got its name, but the name may not have been.
            self.disk.sync_dir(&self.dir)?;
            latest.map_or(Ok(()), |index| self.remove_before(index))
        };
        tidy().map_err(OpenError::io(&self.dir))
    }

    fn remove_before(&self, index: u64) -> io::Result<()> {
        for name in self.disk.list(&self.dir)? {
            if index_of(&name).is_some_and(|older| older < index) {
                self.disk.remove(&self.dir.join(name))?;
            }
        }
        self.disk.sync_dir(&self.dir)
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:016x}{SUFFIX}"))
    }
}

fn index_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let index = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16).then_some(index)
}

/// All of it up to the image.
fn head(store_id: StoreId, snapshot: &StoredSnapshot) -> io::Result<Vec<u8>> {
    let mut w = Writer::new();
    let removed = &snapshot.image.removed;
    let format = match removed.is_empty() {
        true => FORMAT,
        false => FORMAT_WITH_REMOVED,
    };
    w.array(u64::from(format) + 1);
    w.option(snapshot.meta.last_log_id, Writer::log_id);
    w.stored_membership(&snapshot.meta.last_membership);
    if format == FORMAT_WITH_REMOVED {
        w.list(removed.iter(), |w, node| {
            w.number(*node);
        });
    }
    let meta = w.into_bytes();
    let meta_len = u32::try_from(meta.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut head = Vec::with_capacity(HEADER + meta.len());
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&format.to_le_bytes());
    head.extend_from_slice(&store_id.0);
    head.extend_from_slice(&meta_len.to_le_bytes());
    head.extend_from_slice(&(snapshot.image.state.len() as u64).to_le_bytes());
    head.extend_from_slice(&meta);
    Ok(head)
}

fn decode(path: &Path, expected: StoreId, bytes: &[u8]) -> Result<StoredSnapshot, OpenError> {
    let damaged = |what: &str| OpenError::damaged(path, 0, what);
    let fixed = |at: usize, len: usize| bytes.get(at..at + len);
    let number = |at, len| {
        fixed(at, len).map(|bytes| {
            bytes
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        })
    };
    if fixed(0, 8) != Some(MAGIC) {
        return Err(damaged("this is no snapshot"));
    }
    let format = number(8, 4).ok_or_else(|| damaged("it is cut short"))?;
    if format > u64::from(FORMAT_WITH_REMOVED) {
        return Err(OpenError::NewerFormat {
            path: path.to_path_buf(),
            found: u32::try_from(format).unwrap_or(u32::MAX),
            known: FORMAT_WITH_REMOVED,
        });
    }
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(damaged("it is cut short"));
    };
    if body.len() < HEADER || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damaged("it has the wrong checksum"));
    }
    let mut store_id = [0; 16];
    store_id.copy_from_slice(&body[12..28]);
    if store_id != expected.0 {
        return Err(OpenError::OtherStore {
            path: path.to_path_buf(),
            found: StoreId(store_id),
            expected,
        });
    }
    let lengths = number(28, 4).zip(number(32, 8));
    let parts = lengths.and_then(|(meta, image)| {
        let meta_end = HEADER.checked_add(usize::try_from(meta).ok()?)?;
        let image_end = meta_end.checked_add(usize::try_from(image).ok()?)?;
        (image_end == body.len()).then(|| (&body[HEADER..meta_end], &body[meta_end..]))
    });
    let (meta, image) = parts.ok_or_else(|| damaged("its lengths do not add up"))?;
    let (meta, removed) = decode_meta(meta, format).map_err(|error| damaged(&error.to_string()))?;
    Ok(StoredSnapshot {
        meta,
        image: Image {
            state: Arc::new(image.to_vec()),
            removed,
        },
    })
}

fn decode_meta(bytes: &[u8], format: u64) -> Result<(SnapshotMeta, BTreeSet<NodeId>), Malformed> {
    let mut r = Reader::new(bytes);
    r.array(format + 1)?;
    let meta = SnapshotMeta {
        last_log_id: r.option(Reader::log_id)?,
        last_membership: r.stored_membership()?,
    };
    let removed = match format {
        1 => BTreeSet::new(),
        _ => r.list(Reader::number)?.into_iter().collect(),
    };
    if !r.at_end() {
        return Err(Malformed::new("something follows the meta data"));
    }
    Ok((meta, removed))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::disk::RealDisk;
    use crate::store::types::{LeaderId, LogId, Member, Membership, StoredMembership};

    const STORE: StoreId = StoreId([7; 16]);

    fn snapshots(dir: &Path) -> Snapshots {
        let lock: DiskLock = Box::new(());
        Snapshots::new(Arc::new(RealDisk), dir.to_path_buf(), STORE, Arc::new(lock))
    }

    fn snapshot(index: u64) -> StoredSnapshot {
        let log_id = LogId::new(
            LeaderId {
                term: 2,
                node_id: 9,
            },
            index,
        );
        let member = Member {
            address: "a:1".into(),
        };
        let membership = Membership::new(
            vec![[9].into()],
            std::collections::BTreeMap::from([(9, member)]),
        );
        StoredSnapshot {
            meta: SnapshotMeta {
                last_log_id: Some(log_id),
                last_membership: StoredMembership::new(Some(log_id), membership.unwrap()),
            },
            image: Image {
                state: Arc::new(State::new().encode()),
                removed: BTreeSet::new(),
            },
        }
    }

    #[test]
    fn the_latest_counts_and_the_others_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = snapshots(dir.path());
        assert!(snapshots.load().unwrap().is_none());
        for index in [3, 255, 256] {
            snapshots.save(&snapshot(index)).unwrap();
            let loaded = snapshots.load().unwrap().unwrap();
            assert_eq!(loaded.meta, snapshot(index).meta);
            assert_eq!(loaded.image, snapshot(index).image);
        }
        fs::write(dir.path().join("0000000000000200.snapshot.tmp"), b"half").unwrap();
        fs::copy(
            dir.path().join("0000000000000100.snapshot"),
            dir.path().join("0000000000000001.snapshot"),
        )
        .unwrap();
        snapshots.tidy().unwrap();
        assert_eq!(
            RealDisk.list(dir.path()).unwrap(),
            ["0000000000000100.snapshot"]
        );
    }

    /// A snapshot of this format, written once and never again: later releases must read it, and
    /// write the same bytes as long as they write this format.
    #[test]
    fn both_formats_are_read_for_ever() {
        let golden = include_bytes!("../../tests/store/golden/snapshot-1.snapshot");
        check_golden(golden, &[]);
        let golden = include_bytes!("../../tests/store/golden/snapshot-2.snapshot");
        check_golden(golden, &[5, 1 << 60]);
    }

    fn check_golden(golden: &[u8], removed: &[NodeId]) {
        let image = include_bytes!("../../tests/lifecycle/golden/state-1.image");
        let written = StoredSnapshot {
            image: Image {
                state: Arc::new(image.to_vec()),
                removed: removed.iter().copied().collect(),
            },
            ..snapshot(3)
        };
        let dir = tempfile::tempdir().unwrap();
        let snapshots = snapshots(dir.path());
        snapshots.save(&written).unwrap();
        let path = dir.path().join("0000000000000003.snapshot");
        assert!(
            fs::read(&path).unwrap() == golden,
            "other bytes are written"
        );
        fs::write(&path, golden).unwrap();
        let read = snapshots.load().unwrap().unwrap();
        assert_eq!((read.meta, read.image), (written.meta, written.image));
    }

    #[test]
    fn an_image_of_a_later_release_is_not_called_damaged() {
        // The version of the image, and that of its rules.
        for at in [8, 10] {
            let dir = tempfile::tempdir().unwrap();
            let snapshots = snapshots(dir.path());
            let mut later = snapshot(3);
            Arc::make_mut(&mut later.image.state)[at] += 8;
            snapshots.save(&later).unwrap();
            let error = snapshots.load().unwrap_err();
            assert!(matches!(error, OpenError::LaterRelease { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_not_as_it_was_written_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = snapshots(dir.path());
        snapshots.save(&snapshot(3)).unwrap();
        let path = dir.path().join("0000000000000003.snapshot");
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(
                matches!(snapshots.load(), Err(OpenError::Damaged { .. })),
                "{len}"
            );
        }
        for at in (0..whole.len()).filter(|at| !(8..12).contains(at)) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(&path, flipped).unwrap();
            assert!(
                matches!(snapshots.load(), Err(OpenError::Damaged { .. })),
                "{at}"
            );
        }
        let mut newer = whole.clone();
        newer[8] = 3;
        fs::write(&path, newer).unwrap();
        assert!(matches!(
            snapshots.load(),
            Err(OpenError::NewerFormat { found: 3, .. })
        ));
        fs::write(&path, whole).unwrap();
        let other = Snapshots {
            store_id: StoreId([8; 16]),
            ..snapshots
        };
        assert!(matches!(
            other.load(),
            Err(OpenError::OtherStore { found: STORE, .. })
        ));
    }
}

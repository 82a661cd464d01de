//! Every change written down at least once, whatever crashes.
//!
//! The feed of changes is a hint and may lose some; an audit may not. So the state machine hands
//! each change to a queue and waits when that is full; whoever writes it down marks how far it has
//! come. The mark is kept in the data folder: after a crash everything past it is told again, from
//! the log. A snapshot, which makes entries of the log unnecessary, waits for the mark to pass it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use crate::lifecycle::State;
use crate::token::StoreId;

use super::disk::{Disk, write_whole};
use super::token_store::Change;

/// So many changes may wait to be written before `apply` does.
const QUEUE: usize = 16_384;

/// A new audit: one end for [`super::StoreConfig::audit`], the other for whoever writes.
///
/// The trail must be read from before the store is opened: what the log has past the mark is told
/// while it opens.
pub fn audit_trail() -> (AuditSink, AuditTrail) {
    let (changes, trail) = mpsc::channel(QUEUE);
    let (mark, marked) = watch::channel(0);
    let sink = AuditSink { changes, marked };
    let mark = AuditMark(mark);
    (
        sink,
        AuditTrail {
            changes: trail,
            mark,
        },
    )
}

/// Where the store puts what it applies.
#[derive(Debug, Clone)]
pub struct AuditSink {
    changes: mpsc::Sender<Arc<Change>>,
    marked: watch::Receiver<u64>,
}

impl AuditSink {
    /// Waits while too many changes wait already. When the audit has ended the change is lost to
    /// it, but the process is about to end: the next one tells it.
    pub(crate) async fn tell(&self, change: Arc<Change>) {
        let _ = self.changes.send(change).await;
    }

    /// Up to where everything is written down.
    pub(crate) fn marked(&self) -> u64 {
        *self.marked.borrow()
    }
}

/// What is to be written down, in order.
#[derive(Debug)]
pub struct AuditTrail {
    changes: mpsc::Receiver<Arc<Change>>,
    mark: AuditMark,
}

/// Says how far the writing has come.
#[derive(Debug, Clone)]
pub struct AuditMark(watch::Sender<u64>);

impl AuditTrail {
    /// The next change; `None` once the store is gone.
    pub async fn next(&mut self) -> Option<Arc<Change>> {
        self.changes.recv().await
    }

    /// The next change that is there already.
    pub fn try_next(&mut self) -> Option<Arc<Change>> {
        self.changes.try_recv().ok()
    }

    /// For whoever writes.
    pub fn mark(&self) -> AuditMark {
        self.mark.clone()
    }
}

impl AuditMark {
    /// The change of this index, and all before it, are written down.
    pub fn written(&self, index: u64) {
        self.0.send_replace(index);
    }
}

/// The store's side of an audit, or of none.
#[derive(Clone)]
pub(crate) struct Auditor {
    sink: Option<AuditSink>,
    /// Up to here it was written down by an earlier process.
    from: u64,
    /// The last change that there was.
    told: Arc<AtomicU64>,
}

impl Auditor {
    pub(crate) fn new(sink: Option<AuditSink>, from: u64) -> Self {
        let told = Arc::new(AtomicU64::new(from));
        Self { sink, from, told }
    }

    /// Hands a change to whoever writes; waits while too many wait already.
    pub(crate) async fn tell(&self, change: Arc<Change>) {
        let Some(sink) = self.sink.as_ref().filter(|_| change.index > self.from) else {
            return;
        };
        self.told.store(change.index, Ordering::SeqCst);
        sink.tell(change).await;
    }

    /// Tells that a state was restored, unless it was told before. No entry of the log does: the state comes so from
    /// a snapshot.
    pub(crate) async fn tell_restoration(&self, state: &State) {
        let Some((index, change)) = state.restoration() else {
            return;
        };
        if self.marked().is_some_and(|marked| marked < index) {
            self.tell(Arc::new(Change {
                index,
                now_ms: state.now_ms(),
                transitions: Vec::new(),
                house: Some(change),
            }))
            .await;
        }
    }

    /// The last change that there was.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Up to where everything is written down; `None` without an audit.
    pub(crate) fn marked(&self) -> Option<u64> {
        let sink = self.sink.as_ref()?;
        Some(self.from.max(sink.marked()))
    }

    /// Returns once the change of this index is written down.
    ///
    /// # Errors
    /// If it never will be, as the audit has ended.
    pub(crate) async fn wait_for(&self, index: u64) -> io::Result<()> {
        let Some(sink) = self.sink.as_ref().filter(|_| index > self.from) else {
            return Ok(());
        };
        let mut marked = sink.marked.clone();
        let waited = marked.wait_for(|marked| *marked >= index).await;
        waited
            .map(|_| ())
            .map_err(|_| io::Error::other("the audit has ended before all was written down"))
    }
}

const NAME: &str = "audited";

/// The mark that an earlier process left; 0 if there is none, or none that can be trusted: then
/// more is told than need be.
pub(crate) fn read_mark(disk: &dyn Disk, data_dir: &Path, store_id: StoreId) -> u64 {
    let Ok(bytes) = disk.read(&data_dir.join(NAME)) else {
        return 0;
    };
    let text = String::from_utf8_lossy(&bytes);
    let index = text
        .lines()
        .nth(2)
        .and_then(|line| line.strip_prefix("index "));
    let index = index.and_then(|index| index.parse().ok()).unwrap_or(0);
    if render(store_id, index) == *text {
        index
    } else {
        0
    }
}

/// Keeps the mark for the next process.
pub(crate) fn write_mark(
    disk: &dyn Disk,
    data_dir: &Path,
    store_id: StoreId,
    index: u64,
) -> io::Result<()> {
    let text = render(store_id, index);
    write_whole(disk, &data_dir.join(NAME), &[text.as_bytes()])
}

fn render(store_id: StoreId, index: u64) -> String {
    let text = format!("jointoken audited 1\nstore {store_id}\nindex {index}\n");
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::disk::RealDisk;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_a_doubtful_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store_id = StoreId([7; 16]);
        let read = || read_mark(&RealDisk, dir.path(), store_id);
        assert_eq!(read(), 0);
        write_mark(&RealDisk, dir.path(), store_id, 41).unwrap();
        write_mark(&RealDisk, dir.path(), store_id, 42).unwrap();
        assert_eq!(read(), 42);
        assert_eq!(read_mark(&RealDisk, dir.path(), StoreId([8; 16])), 0);
        let file = dir.path().join(NAME);
        let text = fs::read_to_string(&file).unwrap();
        for doubtful in [
            text.replace("index 42", "index 43"),
            text.replace("audited 1", "audited 2"),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ] {
            fs::write(&file, doubtful).unwrap();
            assert_eq!(read(), 0);
        }
    }
}

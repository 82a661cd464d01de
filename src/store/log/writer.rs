//! The task that alone writes the log.

use std::io;
use std::sync::Arc;

use openraft::AsyncRuntime;
use openraft::alias::MpscReceiverOf;
use openraft::async_runtime::MpscReceiver;
use openraft::storage::IOFlushed;

use crate::store::codec::Record;
use crate::store::types::TypeConfig;

use super::Shared;
use super::segments::Segments;

/// Records to be made durable together.
pub(super) struct Request<Rt: AsyncRuntime> {
    pub records: Vec<Record>,
    /// Told once they are durable, or cannot be.
    pub written: IOFlushed<TypeConfig<Rt>>,
}

/// At most so many records in one write.
const BATCH: usize = 8_192;

/// Writes what is asked for, in order, until nobody is left to ask.
pub(super) async fn run<Rt: AsyncRuntime>(
    mut queue: MpscReceiverOf<TypeConfig<Rt>, Request<Rt>>,
    segments: Segments,
    shared: Arc<Shared>,
) {
    let mut segments = Ok(segments);
    while let Some(first) = queue.recv().await {
        let mut records = first.records;
        let mut written = vec![first.written];
        while records.len() < BATCH
            && let Ok(more) = queue.try_recv()
        {
            records.extend(more.records);
            written.push(more.written);
        }
        segments = write::<Rt>(segments, records, &shared).await;
        for written in written {
            written.io_completed(match &segments {
                Ok(_) => Ok(()),
                Err(error) => Err(copy(error)),
            });
        }
    }
    // So that the next start knows what was committed without asking.
    let _ = write::<Rt>(segments, Vec::new(), &shared).await;
}

/// One write and one sync. After an error nothing is ever written again: neither a failed sync nor
/// half a write may be tried a second time.
async fn write<Rt: AsyncRuntime>(
    segments: io::Result<Segments>,
    mut records: Vec<Record>,
    shared: &Shared,
) -> io::Result<Segments> {
    let mut segments = segments?;
    {
        let mut known = shared.lock();
        if std::mem::take(&mut known.committed_is_new) {
            records.push(Record::Committed(known.committed));
        }
    }
    if records.is_empty() {
        return Ok(segments);
    }
    let (segments, bytes) = Rt::spawn_blocking(move || {
        let bytes = segments.write(&records)?;
        Ok::<_, io::Error>((segments, bytes))
    })
    .await??;
    shared.lock().bytes += bytes;
    Ok(segments)
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the log cannot be written: {error}"))
}

/// The writer has ended.
pub(super) fn gone() -> io::Error {
    io::Error::other("the log is closed")
}

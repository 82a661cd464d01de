//! The log of votes, entries, truncations, purges and commits: one ordered sequence of records.
//!
//! [`LogStore`] is what openraft sees. All writing is done by one task ([`writer`]) that takes
//! whatever has gathered while the last sync ran and makes it durable with one write and one sync:
//! many proposals share a sync, a lone one never waits for company.

#[cfg(debug_assertions)]
mod durable;
mod entries;
mod frame;
mod recovery;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::alias::{JoinHandleOf, MpscSenderOf};
use openraft::async_runtime::{Mpsc, MpscSender, Oneshot};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{AsyncRuntime, LogState, OptionalSend, RaftLogReader};

use self::entries::Entries;
use self::writer::Request;

use crate::faults::{self, Fault};

use super::codec::Record;
use super::types::{Entry, LogId, TypeConfig, Vote};

#[cfg(debug_assertions)]
pub use self::durable::DurableLog;
pub(crate) use self::recovery::{Found, Recovered, has_begun, read};
pub(crate) use self::segments::{Place, begin_after};

/// How many writes may wait for the disk before whoever writes has to wait too.
const QUEUE: usize = 4_096;

/// The log, open for writing. There is one.
pub(crate) struct LogStore<Rt: AsyncRuntime> {
    shared: Arc<Shared>,
    requests: MpscSenderOf<TypeConfig<Rt>, Request<Rt>>,
}

/// Reads what the log holds.
#[derive(Clone)]
pub(crate) struct LogReader(Arc<Shared>);

/// What is known of the log without reading it.
#[derive(Default)]
struct Shared(Mutex<Known>);

#[derive(Default)]
struct Known {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Entries,
    committed: Option<LogId>,
    /// `committed` is to be written with whatever is written next.
    committed_is_new: bool,
    /// How many bytes were ever written, as far as the segments are still there.
    bytes: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds the lock can panic between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view of the log for others than openraft.
#[derive(Clone)]
pub(crate) struct LogGauge(Arc<Shared>);

impl LogGauge {
    /// Grows with each write; at the start it is the size of what was found.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.0.lock().bytes
    }

    /// The last entry, present or purged.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.0.lock().entries.last()
    }

    /// The entry of this index, if it is present.
    pub(crate) fn entry(&self, index: u64) -> Option<Entry> {
        self.0.lock().entries.range(index..=index).pop()
    }

    /// The last vote that is on the disk.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.0.lock().vote
    }
}

/// Ends when the log is dropped and everything is written.
pub(crate) type WriterTask<Rt> = JoinHandleOf<TypeConfig<Rt>, ()>;

/// Starts the task that writes a log that was read. To be called inside the runtime.
pub(crate) fn start<Rt: AsyncRuntime>(
    recovered: Recovered,
) -> (LogStore<Rt>, LogGauge, WriterTask<Rt>) {
    let shared = Arc::new(Shared(Mutex::new(Known {
        vote: recovered.base.vote,
        purged: recovered.base.purged,
        // What is committed may have been written before the entries themselves.
        committed: recovered.base.committed.min(recovered.entries.last()),
        entries: recovered.entries,
        committed_is_new: false,
        bytes: recovered.bytes,
    })));
    let (requests, queue) = <Rt::Mpsc as Mpsc>::channel::<Request<Rt>>(QUEUE);
    let task = Rt::spawn(writer::run::<Rt>(queue, recovered.segments, shared.clone()));
    let gauge = LogGauge(shared.clone());
    (LogStore { shared, requests }, gauge, task)
}

impl<Rt: AsyncRuntime> LogStore<Rt> {
    async fn send(&self, request: Request<Rt>) -> io::Result<()> {
        self.requests
            .send(request)
            .await
            .map_err(|_| writer::gone())
    }

    /// Writes a record and returns once it is durable.
    async fn write(&self, record: Record) -> io::Result<()> {
        let (sender, receiver) = <Rt::Oneshot as Oneshot>::channel();
        let request = Request {
            records: vec![record],
            written: IOFlushed::signal(sender),
        };
        self.send(request).await?;
        receiver.await.map_err(|_| writer::gone())?
    }
}

impl<Rt: AsyncRuntime> LogStore<Rt> {
    /// Saves a vote that was given and may have been forgotten, unless a later one was given.
    pub(crate) async fn promise(&mut self, vote: Vote) -> io::Result<()> {
        let known = self.shared.lock().vote;
        match known >= Some(vote) {
            true => Ok(()),
            false => self.save_vote(&vote).await,
        }
    }
}

impl<Rt: AsyncRuntime> RaftLogStorage<TypeConfig<Rt>> for LogStore<Rt> {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig<Rt>>, io::Error> {
        let known = self.shared.lock();
        Ok(LogState {
            last_purged_log_id: known.purged,
            last_log_id: known.entries.last(),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader(self.shared.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write(Record::Vote(*vote)).await?;
        self.shared.lock().vote = Some(*vote);
        Ok(())
    }

    /// Not synced by itself: it is written with the next entries. Lost, it is found again by the
    /// next election.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut known = self.shared.lock();
        known.committed = committed;
        known.committed_is_new = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig<Rt>>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut known = self.shared.lock();
            for entry in entries {
                known
                    .entries
                    .push(entry.clone())
                    .map_err(|gap| io::Error::new(io::ErrorKind::InvalidInput, gap))?;
                records.push(Record::Entry(entry));
            }
        }
        let request = Request {
            records,
            written: callback,
        };
        self.send(request).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.shared.lock().entries.truncate(last);
        if faults::is_on(Fault::TruncationNotWritten) {
            return Ok(());
        }
        self.write(Record::Truncate(last)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut known = self.shared.lock();
            known.purged = known.purged.max(Some(upto));
            known.entries.purge(upto);
        }
        self.write(Record::Purge(upto)).await
    }
}

impl<Rt: AsyncRuntime> RaftLogReader<TypeConfig<Rt>> for LogReader {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        Ok(self.0.lock().entries.range(range))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.lock().vote)
    }
}

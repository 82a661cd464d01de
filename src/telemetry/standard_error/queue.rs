//! Lines that wait for the thread that writes them. Whoever logs never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many bytes of lines may wait: thousands of lines.
const ROOM: usize = 1 << 20;
/// What a line takes beside its text.
const OVERHEAD: usize = 64;

/// A line to write.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub line: Vec<u8>,
    /// So many lines before it found no room.
    pub lost_before: u64,
    /// Who wants to know whether it was written.
    pub receipt: Option<Arc<Receipt>>,
}

/// Lines in the order in which they are written.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    lines: VecDeque<Entry>,
    bytes: usize,
    /// So many found no room since the last that did.
    lost: u64,
    /// Since when what was taken is being written.
    writing_since: Option<Instant>,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                lines: VecDeque::new(),
                bytes: 0,
                lost: 0,
                writing_since: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room for the line; else it is lost.
    pub(super) fn offer(&self, line: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.bytes.saturating_add(line.len()) > ROOM && !waiting.lines.is_empty() {
            waiting.lost += 1;
            return false;
        }
        self.put(waiting, line, None);
        true
    }

    /// Has the line written though there be no room: for the few that whoever puts them waits for, or that are the last.
    pub(super) fn insist(&self, line: &[u8], receipt: Option<Arc<Receipt>>) {
        self.put(self.lock(), line, receipt);
    }

    fn put(
        &self,
        mut waiting: MutexGuard<'_, Waiting>,
        line: &[u8],
        receipt: Option<Arc<Receipt>>,
    ) {
        let lost_before = std::mem::take(&mut waiting.lost);
        waiting.bytes = waiting.bytes.saturating_add(line.len() + OVERHEAD);
        waiting.lines.push_back(Entry {
            line: line.to_vec(),
            lost_before,
            receipt,
        });
        drop(waiting);
        self.changed.notify_all();
    }

    /// The next line, for the thread that writes; an empty one when there is nothing to tell of but lost ones.
    pub(super) fn take(&self) -> Entry {
        let mut waiting = self.lock();
        loop {
            if let Some(entry) = waiting.lines.pop_front() {
                waiting.bytes = (waiting.bytes).saturating_sub(entry.line.len() + OVERHEAD);
                waiting.writing_since = Some(Instant::now());
                return entry;
            }
            if waiting.lost > 0 {
                waiting.writing_since = Some(Instant::now());
                let lost_before = std::mem::take(&mut waiting.lost);
                return Entry {
                    lost_before,
                    ..Entry::default()
                };
            }
            waiting = (self.changed.wait(waiting)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was taken is written, or cannot be.
    pub(super) fn done(&self) {
        self.lock().writing_since = None;
        self.changed.notify_all();
    }

    /// How long one line has been being written.
    pub(super) fn stuck_for(&self) -> Duration {
        let since = self.lock().writing_since;
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Waits until nothing waits any more, but no longer than this; whether that came.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let is_left = |waiting: &mut Waiting| {
            !waiting.lines.is_empty() || waiting.lost > 0 || waiting.writing_since.is_some()
        };
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, is_left);
        let (waiting, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(waiting);
        !waited.timed_out()
    }
}

/// Tells whether a line was written.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    is_written: Mutex<Option<bool>>,
    changed: Condvar,
}

impl Receipt {
    pub(super) fn tell(&self, is_written: bool) {
        let mut told = self
            .is_written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *told = Some(is_written);
        self.changed.notify_all();
    }

    /// `None`: that is not known yet.
    pub(super) fn wait(&self, patience: Duration) -> Option<bool> {
        let told = self
            .is_written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(told, patience, |told| told.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_room_are_counted_and_those_before_and_after_are_in_order() {
        let queue = Queue::new();
        let line = [b'x'; 1000];
        let mut found_room = 0;
        while queue.offer(&line) {
            found_room += 1;
        }
        assert!((900..=ROOM / 1000).contains(&found_room), "{found_room}");
        assert!(!queue.offer(&line));
        assert!(!queue.flush(Duration::ZERO));
        queue.insist(b"audit\n", None);
        for _ in 0..found_room {
            assert_eq!((queue.take().lost_before, queue.lock().lost), (0, 0));
        }
        let entry = queue.take();
        assert_eq!(
            (entry.line.as_slice(), entry.lost_before),
            (&b"audit\n"[..], 2)
        );
        assert!(!queue.flush(Duration::ZERO), "it is being written");
        queue.done();
        assert!(queue.flush(Duration::ZERO));

        // Also when nobody logs any more it is told of.
        while queue.offer(&line) {}
        for _ in 0..found_room {
            queue.take();
        }
        let entry = queue.take();
        assert_eq!((entry.line.len(), entry.lost_before), (0, 1));
        // A line that is longer than all the room is written by itself.
        assert!(queue.offer(&vec![b'x'; 2 * ROOM]));
        assert!(!queue.offer(b"short\n"));
    }
}

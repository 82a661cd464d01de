//! What waits to be written on one connection.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::frame::{Frame, HEADER};
use super::limits::PeerLimits;

/// Frames that wait to be written on one connection, bounded in number and in bytes. One task writes, one waits for room.
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    /// For the writer.
    filled: Notify,
    /// For who waits for room.
    emptied: Notify,
    most_frames: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Inner {
    frames: Vec<Frame>,
    /// Of `frames`, and of what is being written.
    bytes: usize,
    closed: bool,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

impl Outbox {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            inner: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            most_frames: limits.waiting,
            most_bytes: limits.waiting_bytes,
        }
    }

    /// Puts a frame behind the others, if there is room.
    pub(super) fn try_push(&self, frame: Frame) -> Result<(), Refused> {
        self.put(frame).map_err(|(refused, _)| refused)
    }

    /// Puts a frame behind the others as soon as there is room. `false`: it is closed.
    pub(super) async fn push(&self, mut frame: Frame) -> bool {
        loop {
            match self.put(frame) {
                Ok(()) => return true,
                Err((Refused::Closed, _)) => return false,
                Err((Refused::Full, back)) => frame = back,
            }
            self.emptied.notified().await;
        }
    }

    fn put(&self, frame: Frame) -> Result<(), (Refused, Frame)> {
        let size = size(&frame);
        let mut inner = self.lock();
        if inner.closed {
            return Err((Refused::Closed, frame));
        }
        // One frame is taken however long it is: it could never be sent otherwise.
        let fits = inner.bytes == 0 || inner.bytes.saturating_add(size) <= self.most_bytes;
        if !fits || inner.frames.len() >= self.most_frames {
            return Err((Refused::Full, frame));
        }
        inner.bytes += size;
        inner.frames.push(frame);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// All that waits, once there is something; `None` when it is closed. Their bytes count until they are
    /// [`written`](Self::written). Dropping the future loses nothing.
    pub(super) async fn take(&self) -> Option<Vec<Frame>> {
        while self.is_empty()? {
            self.filled.notified().await;
        }
        // Whoever else is about to put something does so before it is all written at once. Without this a writer wakes at the first
        // frame and writes it alone, and under load the number of writes is what costs most.
        tokio::task::yield_now().await;
        let mut inner = self.lock();
        (!inner.closed).then(|| std::mem::take(&mut inner.frames))
    }

    /// So many bytes that were taken are written.
    pub(super) fn written(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        drop(inner);
        self.emptied.notify_one();
    }

    /// Nothing is put or taken any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.emptied.notify_one();
    }

    /// Closes it; the ids of what nobody took.
    pub(super) fn close_and_drain(&self) -> Vec<u64> {
        self.close();
        let frames = std::mem::take(&mut self.lock().frames);
        frames.iter().map(|frame| frame.id).collect()
    }

    /// `None`: it is closed.
    fn is_empty(&self) -> Option<bool> {
        let inner = self.lock();
        (!inner.closed).then(|| inner.frames.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a frame counts for.
pub(super) fn size(frame: &Frame) -> usize {
    HEADER + frame.payload.len()
}

//! The task that writes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::frame::{ALIVE, Frame};
use super::limits::PeerLimits;
use super::outbox::{Outbox, size};

/// Small frames are written together up to so many bytes.
const BUFFER: usize = 64 * 1024;

/// Writes what comes into the outbox, and a sign of life at once and then regularly, until the outbox is closed or writing fails;
/// then the outbox is closed.
pub(super) async fn write_frames(
    io: impl AsyncWrite + Unpin,
    outbox: &Outbox,
    limits: &PeerLimits,
) -> io::Result<()> {
    let written = write_until_closed(io, outbox, limits).await;
    outbox.close();
    written
}

async fn write_until_closed(
    io: impl AsyncWrite + Unpin,
    outbox: &Outbox,
    limits: &PeerLimits,
) -> io::Result<()> {
    let mut io = BufWriter::with_capacity(BUFFER, io);
    let mut heartbeat = interval(limits.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frames = tokio::select! {
            biased;
            // First, or a busy writer would never give a sign of life to who waits for one.
            _ = heartbeat.tick() => vec![Frame { id: ALIVE, payload: Vec::new() }],
            frames = outbox.take() => match frames {
                Some(frames) => frames,
                None => return Ok(()),
            },
        };
        let mut bytes = 0;
        for frame in frames {
            in_time(limits.write, async {
                io.write_all(&frame.header()).await?;
                io.write_all(&frame.payload).await
            })
            .await?;
            if frame.id != ALIVE {
                bytes += size(&frame);
            }
        }
        in_time(limits.write, io.flush()).await?;
        outbox.written(bytes);
    }
}

async fn in_time(limit: Duration, write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(limit, write).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other end takes nothing",
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use super::*;

    /// Notes how long each write was.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for Noted {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn frame(id: u64) -> Frame {
        Frame {
            id,
            payload: vec![0; 87],
        }
    }

    /// The tasks that answer a batch run one after the other; the writer wakes at the first of their frames.
    #[tokio::test(start_paused = true)]
    async fn frames_that_come_together_are_written_at_once() {
        let (noted, limits) = (Noted::default(), PeerLimits::default());
        let outbox = Arc::new(Outbox::new(&limits));
        let (io, written) = (noted.clone(), Arc::clone(&outbox));
        let writer = tokio::spawn(async move { write_frames(io, &written, &limits).await });
        tokio::task::yield_now().await;
        for id in 1..=50 {
            let outbox = Arc::clone(&outbox);
            tokio::spawn(async move { outbox.try_push(frame(id)).unwrap() });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        // One sign of life, and all frames.
        assert_eq!(*noted.0.lock().unwrap(), [13, 50 * 100]);
        outbox.close();
        writer.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_is_given_up_and_the_outbox_closed() {
        let (io, _kept) = tokio::io::duplex(50);
        let limits = PeerLimits::default();
        let outbox = Outbox::new(&limits);
        outbox.try_push(frame(1)).unwrap();
        let error = write_frames(io, &outbox, &limits).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(outbox.try_push(frame(2)).is_err());
    }
}

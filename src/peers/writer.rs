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

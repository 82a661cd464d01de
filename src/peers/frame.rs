//! Frames: what is on the wire between replicas, inside TLS.
//!
//! Length of the payload (u32, little-endian), version (u8), id (u64, little-endian), payload. The client numbers its requests from 1, and an
//! answer has its request's number. Number 0 is a sign of life, of either side; the server begins with one, by which the client
//! knows that it was let in.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::time::timeout;

use crate::store::MAX_MESSAGE;

/// The only version there is.
const VERSION: u8 = 1;
pub(super) const HEADER: usize = 13;
/// The id of a sign of life.
pub(super) const ALIVE: u64 = 0;

pub(super) struct Frame {
    pub(super) id: u64,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// What comes before the payload, which must not be longer than [`MAX_MESSAGE`].
    pub(super) fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4] = VERSION;
        header[5..].copy_from_slice(&self.id.to_le_bytes());
        header
    }
}

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the connection is closed")]
    Closed,
    #[error("nothing was heard for {0:?}")]
    Silence(Duration),
    #[error("a frame of {0} bytes is longer than {MAX_MESSAGE}")]
    TooLong(u32),
    #[error("a frame of version {0} is not understood (this is version {VERSION})")]
    Version(u8),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl FrameError {
    /// The other side does not keep to the protocol.
    pub(super) fn is_a_breach(&self) -> bool {
        matches!(self, Self::TooLong(_) | Self::Version(_))
    }
}

/// Reads frames.
pub(super) struct FrameReader<R> {
    io: BufReader<R>,
    silence: Duration,
    header: [u8; HEADER],
    header_read: usize,
    /// Of the frame whose header is read.
    payload: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// `silence`: what is quiet for so long is dead.
    pub(super) fn new(io: R, silence: Duration) -> Self {
        Self {
            io: BufReader::with_capacity(64 * 1024, io),
            silence,
            header: [0; HEADER],
            header_read: 0,
            payload: Vec::new(),
        }
    }

    /// The next frame. Dropping the future loses nothing: the next call goes on where it was.
    pub(super) async fn next(&mut self) -> Result<Frame, FrameError> {
        while self.header_read < HEADER {
            let rest = &mut self.header[self.header_read..];
            self.header_read += heard(self.silence, self.io.read(rest)).await?;
        }
        let [l0, l1, l2, l3, version, id @ ..] = self.header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if wanted > MAX_MESSAGE {
            return Err(FrameError::TooLong(length));
        }
        self.payload.reserve_exact(wanted - self.payload.len());
        while self.payload.len() < wanted {
            let missing = (wanted - self.payload.len()) as u64;
            let mut rest = (&mut self.io).take(missing);
            heard(self.silence, rest.read_buf(&mut self.payload)).await?;
        }
        self.header_read = 0;
        Ok(Frame {
            id: u64::from_le_bytes(id),
            payload: std::mem::take(&mut self.payload),
        })
    }
}

async fn heard(
    silence: Duration,
    read: impl Future<Output = io::Result<usize>>,
) -> Result<usize, FrameError> {
    match timeout(silence, read).await {
        Ok(Ok(0)) => Err(FrameError::Closed),
        // TLS that was not ended in good order. A frame that was cut off is never taken for a whole one.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(FrameError::Closed),
        Ok(read) => Ok(read?),
        Err(_) => Err(FrameError::Silence(silence)),
    }
}

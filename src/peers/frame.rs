//! Frames: what is on the wire between replicas, inside TLS.
//!
//! Length of the payload (u32, little-endian), version (u8), id (u64, little-endian), payload. The client numbers its requests from 1, and an
//! answer has its request's number. Number 0 is a sign of life, of either side; the server begins with one, by which the client
//! knows that it was let in.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::time::timeout;

use crate::net::io_words;
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
    #[error("nothing was heard for {} s", .0.as_secs_f64())]
    Silence(Duration),
    #[error("a frame of {0} bytes is longer than {MAX_MESSAGE}")]
    TooLong(u32),
    #[error("a frame of version {0} is not understood (this is version {VERSION})")]
    Version(u8),
    #[error("{}", io_words(.0))]
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn bytes(id: u64, payload: &[u8]) -> Vec<u8> {
        let payload = payload.to_vec();
        let frame = Frame { id, payload };
        [&frame.header(), frame.payload.as_slice()].concat()
    }

    async fn error_of(sent: &[u8]) -> FrameError {
        let mut reader = FrameReader::new(sent, Duration::from_secs(1));
        loop {
            match reader.next().await {
                Ok(_) => (),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn a_frame_has_always_looked_like_this() {
        let expected = [3, 0, 0, 0, 1, 8, 7, 6, 5, 4, 3, 2, 1, b'a', b'b', b'c'];
        assert_eq!(bytes(0x0102_0304_0506_0708, b"abc"), expected);
    }

    /// Bytes come as they like, and whoever waits for a frame goes and comes again.
    #[tokio::test]
    async fn a_frame_in_pieces_is_one_frame() {
        let (mut sender, receiver) = tokio::io::duplex(4);
        let mut reader = FrameReader::new(receiver, Duration::from_secs(1));
        let mut read = Vec::new();
        let sent = [
            bytes(1, b"hello"),
            bytes(2, b""),
            bytes(ALIVE, b""),
            bytes(3, b"x"),
        ]
        .concat();
        for byte in sent {
            assert!(reader.next().now_or_never().is_none());
            sender.write_all(&[byte]).await.unwrap();
            if let Some(frame) = reader.next().now_or_never() {
                let frame = frame.unwrap();
                read.push((frame.id, frame.payload));
            }
        }
        assert_eq!(
            read,
            [
                (1, b"hello".to_vec()),
                (2, vec![]),
                (ALIVE, vec![]),
                (3, b"x".to_vec())
            ]
        );
    }

    #[tokio::test]
    async fn what_is_no_frame_is_told_by_its_header_alone() {
        let mut header = bytes(1, b"");
        header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            error_of(&header).await,
            FrameError::TooLong(u32::MAX)
        ));
        let mut header = bytes(1, b"");
        header[4] = 2;
        assert!(matches!(error_of(&header).await, FrameError::Version(2)));
        let whole = [bytes(1, b"abc"), bytes(2, b"abc")].concat();
        for cut in 0..=whole.len() {
            assert!(matches!(error_of(&whole[..cut]).await, FrameError::Closed));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error_and_slow_bytes_are_not() {
        let (mut sender, receiver) = tokio::io::duplex(4);
        let mut reader = FrameReader::new(receiver, Duration::from_secs(5));
        let sending = async {
            for byte in bytes(1, b"slow") {
                tokio::time::sleep(Duration::from_secs(4)).await;
                sender.write_all(&[byte]).await.unwrap();
            }
        };
        let (frame, ()) = tokio::join!(reader.next(), sending);
        assert_eq!(frame.unwrap().payload, b"slow");
        assert!(matches!(reader.next().await, Err(FrameError::Silence(_))));
    }
}

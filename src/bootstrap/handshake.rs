//! The handshake: what may come before it is done, and how far a connection has come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::Limit;
use super::places::{Place, Stage};

/// More bytes than this come before no handshake's end: the client's first message takes 2 KiB at
/// most, its certificate 4 KiB. rustls alone would keep a certificate of 64 KiB for each connection.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// A connection, watched until its handshake is done: every step that it makes counts for its place.
pub(super) struct Watched<S> {
    inner: S,
    place: Arc<Place>,
    stage: Stage,
    read: usize,
}

impl<S> Watched<S> {
    pub(super) const fn new(inner: S, place: Arc<Place>) -> Self {
        Self {
            inner,
            place,
            stage: Stage::Silent,
            read: 0,
        }
    }

    /// The handshake is done.
    pub(super) fn connected(&mut self) {
        self.reached(Stage::Connected);
    }

    fn reached(&mut self, stage: Stage) {
        if self.stage < stage {
            self.stage = stage;
            self.place.reached(stage);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if self.stage < Stage::Connected {
            self.read += buffer.filled().len() - before;
            if self.read > MAX_BYTES {
                self.place.limit_reached(Limit::HandshakeBytes);
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "more than any handshake takes",
                )));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Nothing is written before the client's first message is whole, but for an alert.
        self.reached(Stage::Handshaking);
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.reached(Stage::Handshaking);
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

//! A connection, watched until its handshake is done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::places::{Place, Stage};

/// More bytes than this come before no handshake's end: a replica's first message and its certificate take a few KiB.
const MAX_BYTES: usize = 16 * 1024;

/// A connection that tells its place how far its handshake has come.
pub(super) struct Watched<S> {
    inner: S,
    place: Arc<Place>,
    /// `None`: the handshake is done.
    read: Option<usize>,
}

impl<S> Watched<S> {
    pub(super) const fn new(inner: S, place: Arc<Place>) -> Self {
        Self {
            inner,
            place,
            read: Some(0),
        }
    }

    /// The handshake is done.
    pub(super) const fn is_over(&mut self) {
        self.read = None;
    }

    /// Nothing is written before the client's first message is whole, but for an alert.
    fn writes(&self) {
        if self.read.is_some() {
            self.place.reached(Stage::Answered);
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
        if let Some(read) = &mut self.read {
            *read += buffer.filled().len() - before;
            if *read > MAX_BYTES {
                let error = "more than any handshake takes";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
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
        self.writes();
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
        self.writes();
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

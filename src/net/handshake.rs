//! A connection, watched until its handshake is done: how far that has come, and how many bytes it takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More bytes than this come before no handshake's end: the client's first message takes 2 KiB at
/// most, its certificate 4 KiB (a replica's as well). rustls alone would keep a certificate of 64 KiB for each connection.
const MAX_BYTES: usize = 16 * 1024;

/// Is told how far a handshake has come.
pub(crate) trait Progress {
    /// The client's first message is answered.
    fn answered(&self);
    /// It takes more bytes than any handshake, and ends.
    fn takes_too_much(&self) {}
}

/// A connection that tells how far its handshake has come, and lets it have only so many bytes.
pub(crate) struct Watched<S, P> {
    inner: S,
    progress: Arc<P>,
    /// `None`: the handshake is done.
    read: Option<usize>,
    is_answered: bool,
}

impl<S, P: Progress> Watched<S, P> {
    pub(crate) const fn new(inner: S, progress: Arc<P>) -> Self {
        Self {
            inner,
            progress,
            read: Some(0),
            is_answered: false,
        }
    }

    /// The handshake is done.
    pub(crate) const fn is_over(&mut self) {
        self.read = None;
    }

    /// Nothing is written before the client's first message is whole, but for an alert.
    fn writes(&mut self) {
        if self.read.is_some() && !self.is_answered {
            self.is_answered = true;
            self.progress.answered();
        }
    }
}

impl<S: AsyncRead + Unpin, P: Progress> AsyncRead for Watched<S, P> {
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
                self.progress.takes_too_much();
                let error = "more than any handshake takes";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, P: Progress> AsyncWrite for Watched<S, P> {
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

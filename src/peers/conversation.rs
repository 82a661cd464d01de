//! One connection, from the server's side.

use std::io;
use std::sync::Arc;
use std::task::Poll;

use futures::poll;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio_util::task::AbortOnDropHandle;

use crate::store::{MAX_MESSAGE, PeerAddress, PeerService};

use super::frame::{ALIVE, Frame, FrameError, FrameReader};
use super::limits::PeerLimits;
use super::outbox::{Outbox, size};
use super::writer::write_frames;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("{0}")]
    Read(#[from] FrameError),
    #[error("{0}")]
    Write(io::Error),
    #[error("an answer of {0} bytes is longer than {MAX_MESSAGE}")]
    AnswerTooLong(usize),
}

impl Ended {
    /// Somebody has to be told: one of the two does not keep to the protocol.
    pub(super) fn is_a_breach(&self) -> bool {
        match self {
            Self::Read(error) => error.is_a_breach(),
            Self::Write(_) => false,
            Self::AnswerTooLong(_) => true,
        }
    }
}

/// Reads requests, has them answered and writes the answers, until the connection ends.
///
/// Requests are begun in the order in which they came: each was polled once before the next is looked at. When many are under way,
/// or many bytes of them, no more is read; when many bytes of answers wait to be written, no more is answered either.
pub(super) async fn converse<S>(
    stream: S,
    from: &PeerAddress,
    service: &dyn PeerService,
    limits: &PeerLimits,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = split(stream);
    let mut reader = FrameReader::new(reader, limits.silence);
    let outbox = Arc::new(Outbox::new(limits));
    let written = {
        let (outbox, limits) = (Arc::clone(&outbox), limits.clone());
        async move { write_frames(writer, &outbox, &limits).await }
    };
    let mut written = AbortOnDropHandle::new(tokio::spawn(written));
    let mut answers = FuturesUnordered::new();
    let mut bytes = 0;
    loop {
        let is_full = answers.len() >= limits.answers || bytes >= limits.waiting_bytes;
        let (id, answer) = tokio::select! {
            biased;
            Some((id, counted, answer)) = answers.next() => {
                bytes -= counted;
                (id, answer)
            }
            frame = reader.next(), if !is_full => {
                let frame = match frame {
                    Ok(frame) if frame.id == ALIVE => continue,
                    Ok(frame) => frame,
                    Err(error) => return error.into(),
                };
                let (id, counted) = (frame.id, size(&frame));
                let mut answer = service.answer(from, frame.payload);
                match poll!(&mut answer) {
                    Poll::Ready(answer) => (id, answer),
                    Poll::Pending => {
                        bytes += counted;
                        answers.push(async move { (id, counted, answer.await) });
                        continue;
                    }
                }
            }
            ended = &mut written => return why_written(ended),
        };
        if answer.len() > MAX_MESSAGE {
            return Ended::AnswerTooLong(answer.len());
        }
        let frame = Frame {
            id,
            payload: answer,
        };
        if !outbox.push(frame).await {
            return why_written(written.await);
        }
    }
}

fn why_written(ended: Result<io::Result<()>, tokio::task::JoinError>) -> Ended {
    Ended::Write(match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => io::Error::other("the connection was given up"),
        Err(error) => io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::future::BoxFuture;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Notes when it is asked and when a request is begun, and answers none.
    #[derive(Default)]
    struct Noting(Arc<Mutex<Vec<String>>>);

    impl PeerService for Noting {
        fn answer(&self, _: &PeerAddress, request: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
            let noted = Arc::clone(&self.0);
            noted.lock().unwrap().push(format!("asked {}", request[0]));
            Box::pin(async move {
                let begun = format!("begun {}", request[0]);
                noted.lock().unwrap().push(begun);
                std::future::pending().await
            })
        }
    }

    #[tokio::test]
    async fn a_request_is_begun_before_the_next_is_looked_at() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let mut sent = Vec::new();
        for id in 1..=100u8 {
            let frame = Frame {
                id: id.into(),
                payload: vec![id],
            };
            sent.extend(frame.header());
            sent.extend(frame.payload);
        }
        // All is there before the first is read, and then the end.
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let service = Noting::default();
        let from = PeerAddress::new("a:1");
        let ended = converse(server, &from, &service, &PeerLimits::default()).await;
        assert!(matches!(ended, Ended::Read(FrameError::Closed)), "{ended}");
        let expected: Vec<String> = (1..=100)
            .flat_map(|id| [format!("asked {id}"), format!("begun {id}")])
            .collect();
        assert_eq!(*service.0.lock().unwrap(), expected);
    }
}

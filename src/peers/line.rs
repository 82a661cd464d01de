//! One connection to a peer, from the dial to its end.

use std::fmt::Display;
use std::sync::Arc;

use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use crate::net::{dial, io_words};
use crate::pki::peer_host;
use crate::store::PeerAddress;

use super::calls::Calls;
use super::frame::{ALIVE, FrameReader};
use super::limits::PeerLimits;
use super::tls::PeerTls;
use super::writer::write_frames;

type Reader = FrameReader<ReadHalf<TlsStream<TcpStream>>>;
type Writer = WriteHalf<TlsStream<TcpStream>>;

/// Reaches the peer at `to` and proves that it is that peer, within the limits. The host name is looked up anew each time.
///
/// # Errors
/// Why it was not reached. Not a byte of any request has been sent.
pub(super) async fn connect(
    tls: &PeerTls,
    limits: &PeerLimits,
    to: &PeerAddress,
) -> Result<(Reader, Writer), String> {
    let tcp = dial(to.as_str(), limits.dial).await.map_err(text)?;
    // Frames are put together before they are written: Nagle's algorithm would only make them wait.
    tcp.set_nodelay(true).map_err(|error| io_words(&error))?;
    let handshake = timeout(limits.handshake, handshake(tls, limits, to, tcp)).await;
    handshake.map_err(|_| format!("no handshake within {} s", limits.handshake.as_secs_f64()))?
}

async fn handshake(
    tls: &PeerTls,
    limits: &PeerLimits,
    to: &PeerAddress,
    tcp: TcpStream,
) -> Result<(Reader, Writer), String> {
    let (host, _) = peer_host(to.as_str()).map_err(text)?;
    let connector = tls.connector().map_err(text)?;
    let stream = connector.connect(host, tcp).await;
    let stream = stream.map_err(|error| io_words(&error))?;
    let proven = tls.proven(stream.get_ref().1.peer_certificates())?;
    if proven != *to {
        return Err(format!("the peer there is {proven}"));
    }
    let (reader, writer) = split(stream);
    let mut reader = FrameReader::new(reader, limits.silence);
    // For the client a handshake is over before the server has looked at the client's certificate. A server that lets it in
    // says so first; so a request is never sent to one that does not.
    match reader.next().await {
        Ok(frame) if frame.id == ALIVE => Ok((reader, writer)),
        Ok(_) => Err("it does not begin as a peer does".to_owned()),
        Err(error) => Err(text(error)),
    }
}

/// Sends requests and receives answers until the connection ends, and says why it did.
pub(super) async fn exchange(
    limits: &PeerLimits,
    calls: &Arc<Calls>,
    (mut reader, writer): (Reader, Writer),
) -> String {
    let written = {
        let (calls, limits) = (Arc::clone(calls), limits.clone());
        async move { write_frames(writer, calls.outbox(), &limits).await }
    };
    let mut written = AbortOnDropHandle::new(tokio::spawn(written));
    loop {
        tokio::select! {
            frame = reader.next() => match frame {
                Ok(frame) if frame.id == ALIVE => (),
                Ok(frame) => calls.answered(frame.id, frame.payload),
                Err(error) => return text(error),
            },
            ended = &mut written => return match ended {
                Ok(Err(error)) => text(error),
                Ok(Ok(())) | Err(_) => "the connection was given up".to_owned(),
            },
        }
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

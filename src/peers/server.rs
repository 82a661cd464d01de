//! Answering peers.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{Turns, Watched};
use crate::store::{PeerAddress, PeerService};

use super::conversation::converse;
use super::limits::PeerLimits;
use super::places::{Place, Places};
use super::tls::PeerTls;

/// How long nothing is accepted after the process or the machine ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers peers over mutual TLS.
pub struct PeerServer {
    tls: PeerTls,
    service: Arc<dyn PeerService>,
    limits: PeerLimits,
    turns: Arc<Turns>,
}

impl PeerServer {
    /// `service` answers whoever proves an address by one of the CAs of `tls`. Whether that peer belongs to the group is for the
    /// service to decide.
    pub fn new(tls: PeerTls, service: Arc<dyn PeerService>, limits: PeerLimits) -> Self {
        let turns = Turns::new(limits.computing);
        Self {
            tls,
            service,
            limits,
            turns,
        }
    }

    /// Serves until `stop`, and then closes all connections: answers that were under way are dropped, and their callers do not
    /// learn whether they were carried out. Nothing that a client does ends it.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let places = Places::new(&self.limits);
        let server = Arc::new(self);
        let closing = CancellationToken::new();
        let connections = TaskTracker::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, remote)) => {
                    let Some(place) = places.take(remote.ip()) else {
                        tracing::debug!(%remote, "too many handshakes with peers; a newcomer is hung up on");
                        continue;
                    };
                    let (server, closing) = (Arc::clone(&server), closing.clone());
                    connections.spawn(async move {
                        let crowded_out = place.crowded_out();
                        tokio::select! {
                            () = server.receive(tcp, remote, place) => (),
                            () = closing.cancelled() => (),
                            () = crowded_out.cancelled() => {
                                tracing::debug!(%remote, "a handshake made room for another");
                            }
                        }
                    });
                }
                Err(error) if is_the_callers(&error) => (),
                Err(error) => {
                    tracing::warn!(%error, "a peer's connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        closing.cancel();
        connections.close();
        connections.wait().await;
    }

    /// One connection.
    async fn receive(&self, tcp: TcpStream, remote: SocketAddr, place: Place) {
        let place = Arc::new(place);
        let handshake = self.handshake(tcp, Arc::clone(&place));
        let handshake = timeout(self.limits.handshake, handshake).await;
        let (stream, from) = match handshake {
            Ok(Ok(proven)) => proven,
            Ok(Err(error)) => return tracing::debug!(%remote, %error, "no handshake with a peer"),
            Err(_) => return tracing::debug!(%remote, "no handshake with a peer in time"),
        };
        if !place.keep() {
            return tracing::warn!(%remote, peer = %from, "too many connections of peers");
        }
        let conversation = converse(stream, &from, &*self.service, &self.limits);
        match AssertUnwindSafe(conversation).catch_unwind().await {
            Ok(why) if why.is_a_breach() => {
                tracing::warn!(%remote, peer = %from, %why, "a peer's connection is closed");
            }
            Ok(why) => tracing::debug!(%remote, peer = %from, %why, "a peer's connection ended"),
            Err(_) => {
                tracing::error!(%remote, peer = %from, "answering a peer panicked; its connection is closed");
            }
        }
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        place: Arc<Place>,
    ) -> io::Result<(TlsStream<Watched<TcpStream, Place>>, PeerAddress)> {
        // Frames are put together before they are written: Nagle's algorithm would only make them wait.
        tcp.set_nodelay(true)?;
        // Who has said nothing takes no turn.
        tcp.readable().await?;
        let acceptor = self.tls.acceptor().map_err(io::Error::other)?;
        let accepted = acceptor.accept(Watched::new(tcp, Arc::clone(&place)));
        let mut stream = self.turns.run(place.source(), &*place, accepted).await?;
        stream.get_mut().0.is_over();
        let proven = self.tls.proven(stream.get_ref().1.peer_certificates());
        Ok((stream, proven.map_err(io::Error::other)?))
    }
}

/// Whether accepting failed because of that one caller, who is gone. Nobody else waits for that.
fn is_the_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

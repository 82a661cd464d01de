//! Connections: accepting, the handshake, who the peer is, and stopping.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{Turns, Watched};

use super::limits::LimitReports;
use super::peer::{Connection, Peer};
use super::places::{Place, Places, Stage};
use super::proxy_protocol::client_address;
use super::rate::Limiters;
use super::{Door, OpenDoor, routes, tls};

/// Headers are longer than this in no request that is meant here. hyper's least is 8 KiB.
const MAX_HEADERS_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long claims that were cut off may take to be given back.
const LAST_REVERTS: Duration = Duration::from_secs(3);

/// A door that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificate or key does not serve for TLS.
    #[error("the door's certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// Serves the door until `stop`, then lets what runs finish, for a bounded time.
///
/// # Errors
/// When the door's certificate cannot be used. Nothing that a client does ends it.
pub async fn serve(
    door: Door,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let mut identity = door.identity.clone();
    let mut acceptor = tls::acceptor(&identity.borrow_and_update())?;
    // An identity that is no longer renewed goes on being shown.
    let mut renewed = true;
    let limits = Arc::new(LimitReports::new(Arc::clone(&door.observer)));
    let places = Places::of_door(&door.limits, Arc::clone(&limits));
    let open = Arc::new(OpenDoor {
        limits,
        ca_json: routes::ca_json(&door),
        limiters: Limiters::new(&door.limits.rates),
        tasks: TaskTracker::new(),
        door,
    });
    let server = Server {
        router: routes::router(Arc::clone(&open)),
        turns: Turns::new(open.door.limits.handshakes),
        open,
        connections: TaskTracker::new(),
        closing: CancellationToken::new(),
        cut: CancellationToken::new(),
    };
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            changed = identity.changed(), if renewed => match changed {
                Ok(()) => match tls::acceptor(&identity.borrow_and_update()) {
                    Ok(new) => acceptor = new,
                    Err(error) => tracing::error!(%error, "the door's new certificate cannot be used; the old one is kept"),
                },
                Err(_) => renewed = false,
            },
            // A renewed certificate may cost one caller who waits for a place his connection.
            (tcp, remote, place) = places.accept(&listener, |address| server.turn_away(address)) => {
                server.spawn(acceptor.clone(), tcp, remote, place);
            }
        }
    }
    drop(listener);
    server.stop().await;
    Ok(())
}

struct Server {
    open: Arc<OpenDoor>,
    router: Router,
    turns: Arc<Turns>,
    connections: TaskTracker,
    /// Finish what runs.
    closing: CancellationToken,
    /// Finish nothing.
    cut: CancellationToken,
}

impl Server {
    fn spawn(&self, acceptor: TlsAcceptor, tcp: TcpStream, remote: SocketAddr, place: Place) {
        let open = Arc::clone(&self.open);
        let (router, turns) = (self.router.clone(), Arc::clone(&self.turns));
        let (closing, cut) = (self.closing.clone(), self.cut.clone());
        let crowded_out = place.crowded_out();
        self.connections.spawn(async move {
            let served = async {
                let met = meet(&open, tcp, remote, place).await;
                let shaken = match met {
                    Ok(Some((tcp, remote, place))) => {
                        let tcp = (tcp, Arc::clone(&place));
                        let shaken = handshake(&open, &turns, &acceptor, tcp, &closing).await;
                        shaken.map(|tls| (tls, remote, place))
                    }
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                match shaken {
                    Ok((tls, remote, place)) => {
                        let connection = Connection {
                            peer: Peer::of(tls.get_ref().1.peer_certificates()),
                            remote,
                            place,
                            requests: Arc::default(),
                        };
                        converse(&open, router, tls, connection, &closing).await;
                    }
                    Err(error) => {
                        let address = remote.ip().to_canonical();
                        tracing::debug!(%address, %error, "no TLS handshake");
                        open.door.observer.handshake_failed(address);
                    }
                }
            };
            tokio::select! {
                () = served => (),
                () = cut.cancelled() => (),
                () = crowded_out.cancelled() => {
                    open.door.observer.turned_away(remote.ip().to_canonical());
                }
            }
        });
    }

    fn turn_away(&self, address: IpAddr) {
        turn_away(&self.open, address);
    }

    async fn stop(self) {
        self.closing.cancel();
        self.connections.close();
        let limit = self.open.door.limits.stop;
        if timeout(limit, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "connections are cut off"
            );
            self.cut.cancel();
            self.connections.wait().await;
        }
        self.open.tasks.close();
        if timeout(LAST_REVERTS, self.open.tasks.wait()).await.is_err() {
            tracing::warn!("claims could not be given back; they lapse by themselves");
        }
    }
}

fn turn_away(open: &OpenDoor, address: IpAddr) {
    tracing::debug!(%address, "too many connections of one address");
    open.door.observer.turned_away(address);
}

/// Where the connection comes from, which a load balancer says before anything else. `None`: there
/// are too many from there.
async fn meet(
    open: &OpenDoor,
    mut tcp: TcpStream,
    mut remote: SocketAddr,
    mut place: Place,
) -> io::Result<Option<(TcpStream, SocketAddr, Arc<Place>)>> {
    let limits = &open.door.limits;
    if limits.is_load_balancer(remote.ip().to_canonical()) {
        remote = client_address(&mut tcp).await?.unwrap_or(remote);
        let address = remote.ip().to_canonical();
        if !place.comes_from(address) {
            turn_away(open, address);
            return Ok(None);
        }
    }
    Ok(Some((tcp, remote, Arc::new(place))))
}

async fn handshake(
    open: &OpenDoor,
    turns: &Arc<Turns>,
    acceptor: &TlsAcceptor,
    (tcp, place): (TcpStream, Arc<Place>),
    closing: &CancellationToken,
) -> io::Result<TlsStream<Watched<TcpStream, Place>>> {
    // Each side waits for the other's answer: Nagle's algorithm would only add to that.
    tcp.set_nodelay(true)?;
    let accepted = async {
        // Who has said nothing takes no turn.
        tcp.readable().await?;
        let accepted = acceptor.accept(Watched::new(tcp, Arc::clone(&place)));
        turns.run(place.site(), &*place, accepted).await
    };
    let mut tls = tokio::select! {
        done = timeout(open.door.limits.handshake, accepted) => done??,
        () = closing.cancelled() => return Err(io::Error::other("the door is closing")),
    };
    tls.get_mut().0.is_over();
    place.reached(Stage::Connected);
    Ok(tls)
}

/// Answers the requests of one connection, for as long as one may last.
async fn converse(
    open: &OpenDoor,
    router: Router,
    tls: TlsStream<Watched<TcpStream, Place>>,
    connection: Connection,
    closing: &CancellationToken,
) {
    let limits = &open.door.limits;
    let service = router.layer(Extension(connection));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.headers)
            .max_buf_size(MAX_HEADERS_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(tls), TowerToHyperService::new(service))
    );
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = sleep(limits.connection) => (),
        () = closing.cancelled() => (),
    }
    connection.as_mut().graceful_shutdown();
    // The request that runs, if one does; whoever does not read its answer is not waited for.
    let last = limits.headers + limits.body + limits.request;
    let _cut_off = timeout(last, connection).await;
}

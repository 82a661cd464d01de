//! `/livez` and `/readyz`, on a listener and a thread of their own: a probe that comes too late stops the replica.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep, timeout};

use crate::store::Health;

use super::health::Readiness;

/// Connections at one time, and those of one address. A kubelet has two or three; and each is a file descriptor, which the
/// store may need.
const CONNECTIONS: usize = 96;
const CONNECTIONS_PER_ADDRESS: usize = 4;
/// From the first byte to the last. A request and its answer are one packet each.
const EXCHANGE: Duration = Duration::from_secs(2);
/// How long nothing is accepted after the process or the machine ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the program shows that its other threads run, and from when on they do not.
const BEAT: Duration = Duration::from_secs(1);
const STUCK: Duration = Duration::from_secs(30);

/// Answers probes until `shutdown` is over.
///
/// Who comes is served at once, and who asks slowly makes room: so whoever only holds connections open keeps no probe
/// out, however many addresses he has. The thread does nothing else, so a busy door or store does not delay it either.
///
/// # Errors
/// When there is no thread for it.
pub async fn serve_probes(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let pulse = Pulse::default();
    let probed = Probed {
        health,
        pulse: pulse.clone(),
    };
    // Dropped with this future, it ends the thread.
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let (ended, mut end) = oneshot::channel();
    thread::Builder::new()
        .name("probes".to_owned())
        .spawn(move || {
            let served = runtime.block_on(accept(listener, probed, stopped));
            // Whoever is answered now is cut off; the port is free when this is told.
            drop(runtime);
            let _ = ended.send(served);
        })?;
    let mut beats = interval(BEAT);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // The thread ends by itself only when it fails.
            served = &mut end => return served.unwrap_or(Ok(())),
            _ = beats.tick() => pulse.beat(),
        }
    }
    drop(stop);
    end.await.unwrap_or(Ok(()))
}

/// Whether the program's other threads run: they have it beat.
#[derive(Clone)]
struct Pulse {
    begun: Instant,
    /// The last beat, in milliseconds from the begin.
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            last: Arc::default(),
        }
    }
}

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn beat(&self) {
        self.last.store(self.now(), Ordering::SeqCst);
    }

    fn has_stopped(&self) -> bool {
        let since = (self.now()).saturating_sub(self.last.load(Ordering::SeqCst));
        u128::from(since) >= STUCK.as_millis()
    }
}

/// What a probe is told of.
#[derive(Clone)]
struct Probed {
    health: watch::Receiver<Health>,
    pulse: Pulse,
}

impl Probed {
    /// The process runs. Only what a restart would mend may fail here: a store that has stopped, threads that do nothing
    /// any more.
    fn livez(&self) -> (StatusCode, String) {
        let readiness = Readiness::of(&self.health.borrow());
        if matches!(readiness, Readiness::Stopped(_)) {
            (StatusCode::SERVICE_UNAVAILABLE, readiness.to_string())
        } else if self.pulse.has_stopped() {
            let stuck = "the program's threads have done nothing for some time";
            (StatusCode::SERVICE_UNAVAILABLE, stuck.to_owned())
        } else {
            (StatusCode::OK, "alive".to_owned())
        }
    }

    fn readyz(&self) -> (StatusCode, String) {
        let readiness = Readiness::of(&self.health.borrow());
        let code = match readiness {
            Readiness::Ready => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, readiness.to_string())
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        let (code, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => self.livez(),
            (&Method::GET | &Method::HEAD, "/readyz") => self.readyz(),
            _ => (StatusCode::NOT_FOUND, "not found".to_owned()),
        };
        let mut response = Response::new(format!("{text}\n"));
        *response.status_mut() = code;
        response
    }
}

/// Answers until nobody holds the other end of `stopped`.
async fn accept(
    listener: std::net::TcpListener,
    probed: Probed,
    mut stopped: oneshot::Receiver<Infallible>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut seats = Seats::default();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((tcp, remote)) => {
                    let address = remote.ip().to_canonical();
                    seats.make_room(address);
                    let task = tokio::spawn(timeout(EXCHANGE, converse(tcp, probed.clone())));
                    seats.taken.push(Seat { address, task: task.abort_handle() });
                }
                // Also when that one caller has gone: it is rare, and others wait for a moment only.
                Err(error) => {
                    tracing::debug!(%error, "a probe could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Answers one request.
async fn converse(tcp: TcpStream, probed: Probed) {
    // Most of a crowd never ask: nothing is made ready for them.
    if tcp.readable().await.is_err() {
        return;
    }
    let service = service_fn(|request| {
        let answer = probed.answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    // Of its errors there is nobody to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(EXCHANGE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service)
        .await;
}

/// Who is connected, in the order in which they came.
#[derive(Default)]
struct Seats {
    taken: Vec<Seat>,
}

struct Seat {
    address: IpAddr,
    task: AbortHandle,
}

impl Seats {
    /// Whoever came first of the same address makes room when that has its part. When all seats are taken, it is whoever
    /// came first of those whose address has several: a crowd drives out itself.
    ///
    /// By whole addresses also in IPv6: the kubelet's may be in the same /64 as the pods of its node.
    fn make_room(&mut self, address: IpAddr) {
        self.taken.retain(|seat| !seat.task.is_finished());
        let first = if self.of(address) >= CONNECTIONS_PER_ADDRESS {
            self.taken.iter().position(|seat| seat.address == address)
        } else if self.taken.len() >= CONNECTIONS {
            let of_many = (self.taken.iter()).position(|seat| self.of(seat.address) > 1);
            of_many.or(Some(0))
        } else {
            None
        };
        if let Some(first) = first {
            self.taken.remove(first).task.abort();
        }
    }

    fn of(&self, address: IpAddr) -> usize {
        let same = self.taken.iter().filter(|seat| seat.address == address);
        same.count()
    }
}

#[cfg(test)]
mod tests;

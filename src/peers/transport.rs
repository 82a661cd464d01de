//! Asking peers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::store::{CallError, MAX_MESSAGE, PeerAddress, Transport};

use super::calls::Calls;
use super::limits::PeerLimits;
use super::line;
use super::tls::PeerTls;

/// Asks peers over mutual TLS, one connection to each address. It is made when it is first needed and again when it broke, though
/// not at once: a peer that is down does not cost a dial for every call.
///
/// Connections end when this is dropped; calls that wait then fail.
pub struct PeerTransport {
    lines: Arc<Lines>,
    _stop: DropGuard,
}

struct Lines {
    tls: PeerTls,
    limits: PeerLimits,
    stop: CancellationToken,
    by_address: Mutex<HashMap<PeerAddress, Line>>,
}

enum Line {
    /// There is a connection, or one is being made.
    Up(Arc<Calls>),
    /// There is none, and none is made before a moment has passed.
    Resting {
        until: Instant,
        backoff: Duration,
        why: String,
    },
}

impl PeerTransport {
    /// Connects to nobody yet. Calls are made from within a tokio runtime.
    pub fn new(tls: PeerTls, limits: PeerLimits) -> Self {
        let stop = CancellationToken::new();
        let lines = Lines {
            tls,
            limits,
            stop: stop.clone(),
            by_address: Mutex::default(),
        };
        Self {
            lines: Arc::new(lines),
            _stop: stop.drop_guard(),
        }
    }
}

impl Transport for PeerTransport {
    fn call(
        &self,
        to: &PeerAddress,
        request: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        if request.len() > MAX_MESSAGE {
            let error = format!("a request of {} bytes is too long", request.len());
            return ready(Err(CallError::NotSent(error))).boxed();
        }
        match self.lines.to(to).and_then(|calls| calls.begin(request)) {
            Ok(answer) => answer.boxed(),
            Err(error) => ready(Err(error)).boxed(),
        }
    }
}

impl Lines {
    /// The connection to this address, perhaps one that is only being made.
    fn to(self: &Arc<Self>, to: &PeerAddress) -> Result<Arc<Calls>, CallError> {
        let mut lines = self.lock();
        let last_backoff = match lines.get(to) {
            Some(Line::Up(calls)) => return Ok(Arc::clone(calls)),
            Some(Line::Resting { until, why, .. }) if Instant::now() < *until => {
                return Err(CallError::NotSent(why.clone()));
            }
            Some(Line::Resting { backoff, .. }) => Some(*backoff),
            None => None,
        };
        let calls = Arc::new(Calls::new(&self.limits));
        lines.insert(to.clone(), Line::Up(Arc::clone(&calls)));
        let line = Arc::clone(self).run(to.clone(), Arc::clone(&calls), last_backoff);
        tokio::spawn(line);
        Ok(calls)
    }

    /// One connection, until it ends.
    async fn run(self: Arc<Self>, to: PeerAddress, calls: Arc<Calls>, last: Option<Duration>) {
        let mut connected = false;
        let conversation = async {
            let connection = line::connect(&self.tls, &self.limits, &to).await?;
            connected = true;
            tracing::info!(peer = %to, "connected to a peer");
            Ok(line::exchange(&self.limits, &calls, connection).await)
        };
        let ended: Result<String, String> = tokio::select! {
            ended = conversation => ended,
            () = self.stop.cancelled() => Err("this replica stops".to_owned()),
        };
        let (Ok(why) | Err(why)) = ended;
        let backoff = match last {
            Some(last) if !connected => (last * 2).min(self.limits.longest_backoff),
            _ => self.limits.backoff,
        };
        if self.stop.is_cancelled() {
            tracing::debug!(peer = %to, "the connection to a peer is closed");
        } else if connected || last.is_none() {
            tracing::warn!(peer = %to, %why, "no connection to a peer");
        } else {
            // One line when it begins; whoever is down for long is not worth one a second.
            tracing::debug!(peer = %to, %why, "still no connection to a peer");
        }
        // First, so that who is told now does not meet this connection again.
        self.lock().insert(
            to,
            Line::Resting {
                until: Instant::now() + backoff,
                backoff,
                why: why.clone(),
            },
        );
        calls.end(&why);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerAddress, Line>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

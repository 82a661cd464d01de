//! A peers' CA, servers with a service of the test's making, and transports: what every test begins with.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jointoken::clock::ManualClock;
use jointoken::peers::{PeerLimits, PeerServer, PeerTls, PeerTransport, peer_address};
use jointoken::pki::{Authority, CaRole, PeerIdentity, TrustDomain};
use jointoken::store::{CallError, PeerAddress, PeerService, Transport};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{log, marks};

/// When every world begins, milliseconds since the epoch.
pub const START: u64 = 1_790_000_000_000;
pub const DAY: u64 = 24 * 60 * 60 * 1_000;
/// Where the client says it is. Nobody dials it.
pub const CLIENT: &str = "client.test:7443";
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn domain() -> TrustDomain {
    "peers.example".parse().unwrap()
}

pub fn ca(role: CaRole) -> Arc<Authority> {
    Arc::new(Authority::generate(role, &domain(), START).unwrap())
}

pub fn identity(ca: &Authority, address: &str) -> Arc<PeerIdentity> {
    Arc::new(PeerIdentity::issue(ca, ca.trust_domain(), address, START, DAY).unwrap())
}

/// One group's CA and limits.
pub struct World {
    pub ca: Arc<Authority>,
    pub clock: ManualClock,
    pub limits: PeerLimits,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut PeerLimits)) -> Self {
        log::listen();
        // Tests make peers fail, and would have to wait for them.
        let mut limits = PeerLimits {
            backoff: Duration::from_millis(5),
            longest_backoff: Duration::from_millis(20),
            ..PeerLimits::default()
        };
        change(&mut limits);
        Self {
            ca: ca(CaRole::Peers),
            clock: ManualClock::new(START),
            limits,
        }
    }

    /// TLS that shows what the sender says and trusts this world's CA.
    pub fn tls(&self, shown: Arc<PeerIdentity>) -> (watch::Sender<Arc<PeerIdentity>>, PeerTls) {
        let (publish, identity) = watch::channel(shown);
        let cas = [self.ca.cert_der()];
        let clock = Arc::new(self.clock.clone());
        let tls = PeerTls::new(identity, &cas, &domain(), clock).unwrap();
        (publish, tls)
    }

    pub fn transport(&self) -> PeerTransport {
        let (_, tls) = self.tls(identity(&self.ca, CLIENT));
        PeerTransport::new(tls, self.limits.clone())
    }

    /// A server on a port of its own that shows what its address is.
    pub async fn serve(&self, service: impl PeerService) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shown = identity(&self.ca, &address);
        self.serve_as(listener, shown, service)
    }

    pub fn serve_as(
        &self,
        listener: TcpListener,
        shown: Arc<PeerIdentity>,
        service: impl PeerService,
    ) -> Served {
        let address = peer_address(&listener.local_addr().unwrap().to_string()).unwrap();
        let (identity, tls) = self.tls(shown);
        let server = PeerServer::new(tls, Arc::new(service), self.limits.clone());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        Served {
            address,
            identity,
            stop,
            task,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        log::check();
    }
}

pub struct Served {
    pub address: PeerAddress,
    pub identity: watch::Sender<Arc<PeerIdentity>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Served {
    /// Ends it, and all its connections.
    pub async fn stop(self) {
        drop(self.stop);
        soon(self.task).await.unwrap();
    }
}

/// A service that is one function.
pub struct Answers<F>(pub F);

impl<F> PeerService for Answers<F>
where
    F: Fn(&PeerAddress, Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync + 'static,
{
    fn answer(&self, from: &PeerAddress, request: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
        (self.0)(from, request)
    }
}

/// Says who asked what.
pub fn echo() -> impl PeerService {
    Answers(|from: &PeerAddress, request: Vec<u8>| {
        let said = [from.as_str().as_bytes(), b" ", &request].concat();
        Box::pin(async move { said }) as BoxFuture<'static, Vec<u8>>
    })
}

/// Has its own way with nobody: whoever is answered by it has got too far.
pub fn nobody() -> impl PeerService {
    Answers(
        |_: &PeerAddress, _: Vec<u8>| -> BoxFuture<'static, Vec<u8>> {
            panic!("a stranger was heard")
        },
    )
}

pub async fn ask(
    transport: &PeerTransport,
    to: &PeerAddress,
    request: &[u8],
) -> Result<Vec<u8>, CallError> {
    soon(transport.call(to, request.to_vec())).await
}

/// Asks until there is an answer.
pub async fn ask_until_answered(transport: &PeerTransport, to: &PeerAddress) -> Vec<u8> {
    let asking = async {
        loop {
            match transport.call(to, b"again".to_vec()).await {
                Ok(answer) => return answer,
                Err(_) => sleep(Duration::from_millis(2)).await,
            }
        }
    };
    soon(asking).await
}

/// Why nothing was sent.
pub fn not_sent(result: Result<Vec<u8>, CallError>) -> String {
    match result {
        Err(CallError::NotSent(why)) => {
            marks::check(&why);
            why
        }
        other => panic!("{other:?}"),
    }
}

pub fn no_answer(result: Result<Vec<u8>, CallError>) -> String {
    match result {
        Err(CallError::NoAnswer(why)) => {
            marks::check(&why);
            why
        }
        other => panic!("{other:?}"),
    }
}

/// Looks again and again.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            match look() {
                Some(found) => return found,
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// No test hangs.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

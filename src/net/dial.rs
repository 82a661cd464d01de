//! One way to connect for everybody: the addresses of a name race, as RFC 8305 ("happy eyeballs") has it.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::{sleep, timeout};

use super::words::{io_words, lookup_words};

/// How long an address has to answer before the next one is tried beside it (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name could not be looked up.
    #[error("its address cannot be looked up ({})", lookup_words(.0))]
    Lookup(io::Error),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// Every address failed; the last one like this.
    #[error("{} ({address})", io_words(source))]
    Failed {
        /// The address that failed last.
        address: SocketAddr,
        source: io::Error,
    },
    /// The time was over. Addresses that answer nothing end like this.
    #[error("no connection within {} s", within.as_secs_f64())]
    TooSlow {
        /// How long it was tried, the look-up included.
        within: Duration,
    },
}

/// Connects to the first address of `to` that answers, within `within` for look-up and all addresses together. IPv6 and IPv4
/// take turns, beginning with the family that the system's resolver prefers; none takes the time of those behind it: where
/// IPv6 is half set up, or one of three replicas is gone, nothing comes back at all.
///
/// # Errors
/// [`DialError`] when no address answered.
pub async fn dial(to: impl ToSocketAddrs, within: Duration) -> Result<TcpStream, DialError> {
    let connected = timeout(within, async {
        let found = lookup_host(to).await.map_err(DialError::Lookup)?;
        race(in_turns(found)).await
    });
    connected
        .await
        .unwrap_or(Err(DialError::TooSlow { within }))
}

/// The addresses in the order to try: each once, the families in turns (RFC 8305 section 4).
fn in_turns(found: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut seen = BTreeSet::new();
    let found: Vec<_> = found
        .into_iter()
        .filter(|address| seen.insert(*address))
        .collect();
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut order = VecDeque::new();
    loop {
        let pair = (preferred.next(), other.next());
        if pair == (None, None) {
            return order;
        }
        order.extend(pair.0);
        order.extend(pair.1);
    }
}

/// Starts one attempt after another, the next as soon as one fails or [`STAGGER`] is over. The first that connects ends the
/// others.
async fn race(mut order: VecDeque<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut running = FuturesUnordered::new();
    let mut failed = DialError::NoAddress;
    while let Some(next) = order.pop_front() {
        running.push(async move { (next, TcpStream::connect(next).await) });
        tokio::select! {
            Some((address, ended)) = running.next() => match ended {
                Ok(tcp) => return Ok(tcp),
                Err(source) => failed = DialError::Failed { address, source },
            },
            () = sleep(STAGGER), if !order.is_empty() => (),
        }
    }
    while let Some((address, ended)) = running.next().await {
        match ended {
            Ok(tcp) => return Ok(tcp),
            Err(source) => failed = DialError::Failed { address, source },
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;

    /// No test waits longer.
    const PATIENCE: Duration = Duration::from_secs(20);
    const WITHIN: Duration = Duration::from_secs(5);

    /// An address that swallows everything: a queue that is full, so that who comes now is not answered.
    struct Silent {
        address: SocketAddr,
        _listener: TcpListener,
        _queued: Vec<TcpStream>,
    }

    impl Silent {
        async fn new() -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let mut queued = Vec::new();
            while let Ok(connected) =
                timeout(Duration::from_millis(200), TcpStream::connect(address)).await
            {
                queued.push(connected.unwrap());
            }
            Self {
                address,
                _listener: listener,
                _queued: queued,
            }
        }
    }

    fn refusing() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
    }

    async fn open() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn addresses_that_answer_nothing_take_no_time_of_those_behind() {
        let (one, two, three) = (
            Silent::new().await,
            Silent::new().await,
            Silent::new().await,
        );
        let (_listener, good) = open().await;
        // With an equal share for each it would not have had its turn before 3.75 s.
        let order = [one.address, refusing(), two.address, three.address, good];
        let began = Instant::now();
        let tcp = dial(&order[..], WITHIN).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }

    /// The listener was slow for once; it was first in the list and would have been given up for good.
    #[tokio::test]
    async fn an_address_that_answers_late_is_still_waited_for() {
        let mut slow = Silent::new().await;
        let address = slow.address;
        let order = [address, refusing()];
        let dialled = tokio::spawn(async move { dial(&order[..], PATIENCE).await });
        // Past the turn of both; then there is room in the queue again.
        sleep(STAGGER * 2).await;
        slow._queued.clear();
        let listener = slow._listener;
        let accepting = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        let tcp = timeout(PATIENCE, dialled).await.unwrap().unwrap().unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), address);
        accepting.abort();
    }

    #[tokio::test]
    async fn all_addresses_together_have_the_time_that_is_given() {
        let (one, two) = (Silent::new().await, Silent::new().await);
        let within = Duration::from_secs(1);
        let began = Instant::now();
        let error = dial(&[one.address, two.address][..], within)
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::TooSlow { .. }), "{error}");
        assert_eq!(error.to_string(), "no connection within 1 s");
        assert!((within..within * 3).contains(&began.elapsed()));
    }

    #[tokio::test]
    async fn refusals_end_at_once_and_name_the_address() {
        let began = Instant::now();
        let also = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
        let error = dial(&[refusing(), also][..], WITHIN).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "connection refused: nothing listens at this port (127.0.0.1:2)"
        );
        let error = dial(&[][..], WITHIN).await.unwrap_err();
        assert_eq!(error.to_string(), "the name has no address");
        let error = dial("no-such-host.invalid:1", WITHIN).await.unwrap_err();
        assert!(
            matches!(error, DialError::Lookup(_) | DialError::TooSlow { .. }),
            "{error}"
        );
        assert!(began.elapsed() < WITHIN * 2);
    }

    #[test]
    fn families_take_turns() {
        let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let order: Vec<_> = in_turns([v6(1), v6(2), v6(1), v6(3), v4(4), v4(5)]).into();
        assert_eq!(order, [v6(1), v4(4), v6(2), v4(5), v6(3)]);
        assert_eq!(in_turns([v4(1), v6(2)]), [v4(1), v6(2)]);
        assert!(in_turns([]).is_empty());
    }
}

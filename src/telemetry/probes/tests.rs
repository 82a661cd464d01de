use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::serve_metrics;

/// Far more than an answer takes, for a machine that is doing other things as well; far less than a probe may take (1 s
/// unless told otherwise).
const AT_ONCE: Duration = Duration::from_millis(500);

struct Served {
    address: SocketAddr,
    health: watch::Sender<Health>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

async fn served() -> Served {
    let (health, shown) = watch::channel(Health::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_probes(listener, shown, async {
        let _ = stopped.await;
    }));
    Served {
        address,
        health,
        stop,
        server,
    }
}

async fn listen() -> TcpListener {
    // As the program does: so many may wait to be accepted.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    socket.listen(1024).unwrap()
}

impl Served {
    async fn ask(&self, path: &str) -> (u16, String) {
        ask(self.address, path).await.unwrap()
    }
}

/// From an address of its own, so that nobody else has a part of it.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Status code and whole text of the answer. It does not ask for the end of the connection.
async fn ask(to: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = connect(Ipv4Addr::new(127, 0, 0, 1), to).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.map(|code| (code, answer))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[tokio::test]
async fn probes_follow_the_store_and_shutdown_ends_the_server() {
    let served = served().await;
    let (code, text) = served.ask("/readyz").await;
    assert_eq!(code, 503);
    assert!(text.contains("no leader"), "{text}");
    let (code, text) = served.ask("/livez").await;
    assert_eq!(code, 200);
    assert!(text.contains("connection: close"), "{text}");
    assert_eq!(served.ask("/metrics").await.0, 404);

    served.health.send_modify(|health| {
        health.leader_known = true;
        health.committed_index = 2_000;
    });
    let (code, text) = served.ask("/readyz").await;
    assert_eq!(code, 503);
    assert!(text.contains("applied 0 of 2000"), "{text}");
    (served.health).send_modify(|health| health.applied_index = 2_000);
    assert_eq!(served.ask("/readyz").await.0, 200);

    let full = Some("no space left on device".to_owned());
    served.health.send_modify(|health| health.fatal = full);
    assert_eq!(served.ask("/readyz").await.0, 503);
    let (code, text) = served.ask("/livez").await;
    assert_eq!(code, 503);
    assert!(text.contains("no space left on device"), "{text}");

    // Half a request does not keep it from stopping, and then the port is free.
    let mut sloth = TcpStream::connect(served.address).await.unwrap();
    sloth.write_all(b"GET /live").await.unwrap();
    served.stop.send(()).unwrap();
    served.server.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn who_does_not_ask_in_time_is_cut_off() {
    let served = served().await;
    let mut sloth = TcpStream::connect(served.address).await.unwrap();
    sloth.write_all(b"GET /live").await.unwrap();
    let mut said = Vec::new();
    // A reset is an end, too.
    let end = timeout(10 * EXCHANGE, sloth.read_to_end(&mut said)).await;
    assert!(end.is_ok(), "{said:?}");
}

#[test]
fn a_program_whose_threads_stand_still_is_not_alive() {
    let pulse = Pulse::default();
    assert!(!pulse.has_stopped());
    let Some(begun) = Instant::now().checked_sub(2 * STUCK) else {
        // The machine has just started.
        return;
    };
    let pulse = Pulse { begun, ..pulse };
    let probed = Probed {
        health: watch::channel(Health::default()).1,
        pulse,
    };
    assert_eq!(probed.livez().0, StatusCode::SERVICE_UNAVAILABLE);
    probed.pulse.beat();
    assert_eq!(probed.livez().0, StatusCode::OK);
}

#[tokio::test]
async fn a_crowd_drives_out_itself() {
    let mut seats = Seats::default();
    let mut sit = |last: u8| {
        let address = IpAddr::from([192, 0, 2, last]);
        seats.make_room(address);
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        seats.taken.push(Seat { address, task });
        let of = |last: u8| seats.of(IpAddr::from([192, 0, 2, last]));
        (of(1), of(2), of(3))
    };
    assert_eq!(sit(1), (1, 0, 0));
    for _ in 0..2 * CONNECTIONS_PER_ADDRESS {
        sit(2);
    }
    assert_eq!(sit(2), (1, CONNECTIONS_PER_ADDRESS, 0));
    for _ in 0..4 {
        (10..10 + 63).for_each(|last| _ = sit(last));
    }
    // These two have one seat each, and others have more.
    let (first, _, last) = sit(3);
    assert_eq!((first, last), (1, 1));
    assert_eq!(seats.taken.len(), CONNECTIONS);
}

/// Idle connections of so many addresses, to each of these, reopened when they are closed.
fn crowd(addresses: u8, to: &[SocketAddr], opened: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let each = (1..=addresses).flat_map(|last| (0..16).map(move |_| last));
    for (last, to) in each.flat_map(|last| to.iter().map(move |to| (last, *to))) {
        let opened = Arc::clone(opened);
        crowd.spawn(async move {
            loop {
                // Ports run out, or the queue is full: it comes again.
                if let Ok(mut idle) = connect(Ipv4Addr::new(127, 9, 9, last), to).await {
                    opened.fetch_add(1, Ordering::SeqCst);
                    let _ = idle.read(&mut [0]).await;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    crowd
}

/// The crowd has threads of its own, as it has machines of its own.
fn besieged(addresses: u8, to: Vec<SocketAddr>) -> (Arc<AtomicU64>, Arc<AtomicBool>) {
    let (opened, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let (counted, ended) = (Arc::clone(&opened), Arc::clone(&over));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let _crowd = crowd(addresses, &to, &counted);
            while !ended.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(20)).await;
            }
        });
    });
    (opened, over)
}

/// A kubelet's probe waited more than its second when 8 addresses held 16 connections each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_at_once_while_crowds_hold_both_ports() {
    let served = served().await;
    let metrics_listener = listen().await;
    let metrics_at = metrics_listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new(served.health.subscribe()));
    let serving = tokio::spawn(serve_metrics(
        metrics_listener,
        metrics,
        std::future::pending(),
    ));
    for addresses in [8, 16, 64] {
        let (opened, over) = besieged(addresses, vec![metrics_at, served.address]);
        // The crowd is there once more than both ports have room for were opened.
        while opened.load(Ordering::SeqCst) < 400 {
            sleep(Duration::from_millis(10)).await;
        }
        let mut took = Vec::new();
        for probe in 0..100 {
            let path = ["/livez", "/readyz"][probe % 2];
            let begun = Instant::now();
            let answer = ask(served.address, path).await;
            took.push(begun.elapsed());
            let code = answer.map(|(code, _)| code);
            assert_eq!(code.ok(), Some([200, 503][probe % 2]), "{path}");
            sleep(Duration::from_millis(10)).await;
        }
        over.store(true, Ordering::SeqCst);
        took.sort_unstable();
        println!(
            "{addresses} addresses × 16, opened {}: p50 {:?}, p99 {:?}, longest {:?}",
            opened.load(Ordering::SeqCst),
            took[50],
            took[98],
            took[99]
        );
        assert!(took[98] < AT_ONCE, "{took:?}");
    }
    serving.abort();
}

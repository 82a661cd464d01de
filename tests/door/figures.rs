//! Figures of attacks on a real process. They say how long, not whether: run one alone, e.g.
//! `cargo test --release --test door figures::crowds -- --ignored --nocapture`.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jointoken::bootstrap::tls_provider;
use jointoken::clock::{Clock, SystemClock};
use jointoken::pki::verify::DoorVerifier;
use jointoken::token::Presented;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::caller::{new_key, tls_by_pin};
use crate::crowd::{Crowd, Manner, connect_from};
use crate::server::Server;

/// As many addresses of the loopback's, none of them 127.0.0.1.
fn addresses(number: usize) -> Vec<[u8; 4]> {
    let low = |n: usize| u8::try_from(n % 250 + 1).unwrap();
    (0..number)
        .map(|n| [127, 1, low(n / 250), low(n)])
        .collect()
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!(
        "{} of them: median {:?}, p99 {:?}",
        times.len(),
        at(50),
        at(99)
    )
}

async fn joins(server: &Server, tokens: &[String]) -> Vec<Duration> {
    let mut times = Vec::new();
    for token in tokens {
        let begun = Instant::now();
        server
            .join(token, &server.at(&format!("machine-{token}")[..40]))
            .await;
        times.push(begun.elapsed());
    }
    times
}

fn pin(token: &str) -> [u8; 32] {
    let presented = Presented::parse(token).unwrap();
    presented.unverified_delivery().unwrap().door_pin
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures"]
async fn crowds() {
    let server = Server::start_with(8_192, "warn").await;
    let mut tokens = server.tokens(220).await;
    let tls = Arc::new(tls_by_pin(pin(&tokens[0]), SystemClock.now_ms(), None));
    let calm = joins(&server, &tokens.split_off(200)).await;
    println!("nobody else: {}", shown(calm));
    let own = vec![[127, 0, 0, 1]];
    let half_open = Manner::HalfOpen(Arc::clone(&tls));
    for (what, from, size, per_second, manner) in [
        ("256 silent, 51/s", own.clone(), 256, 51, Manner::Silent),
        ("256 silent, 200/s", own.clone(), 256, 200, Manner::Silent),
        (
            "256 silent, 1,000/s",
            own.clone(),
            256,
            1_000,
            Manner::Silent,
        ),
        (
            "256 dribbling, 200/s",
            own.clone(),
            256,
            200,
            Manner::Dribbling,
        ),
        (
            "256 half open, 51/s",
            own.clone(),
            256,
            51,
            half_open.clone(),
        ),
        ("256 half open, 200/s", own.clone(), 256, 200, half_open),
        ("256 connected, 51/s", own, 256, 51, Manner::Connected(tls)),
        (
            "8 x 256 silent, 410/s",
            addresses(8),
            256,
            410,
            Manner::Silent,
        ),
        (
            "1,000 x 2 silent, 400/s",
            addresses(1_000),
            2,
            400,
            Manner::Silent,
        ),
        (
            "1,000 x 3 silent, 600/s",
            addresses(1_000),
            3,
            600,
            Manner::Silent,
        ),
    ] {
        let crowd = Crowd::gather(server.door, from, size, per_second, manner).await;
        sleep(Duration::from_secs(1)).await;
        let left = tokens.len() - 20;
        let times = joins(&server, &tokens.split_off(left)).await;
        println!("{what}: {}", shown(times));
        drop(crowd);
    }
}

/// How long a probe takes while as many handshakes as can be are under way.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures"]
async fn handshakes() {
    let server = Server::start_with(8_192, "warn").await;
    let token = server.tokens(1).await.remove(0);
    let tls = Arc::new(tls_by_pin(
        pin(&token),
        SystemClock.now_ms(),
        Some(&new_key()),
    ));
    println!("calm: {}", shown(probes(server.metrics, 50).await));
    let done = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = addresses(2_048)
        .into_iter()
        .map(|from| {
            let (tls, done, door) = (Arc::clone(&tls), Arc::clone(&done), server.door);
            tokio::spawn(async move {
                loop {
                    let name = ServerName::try_from("door.example").unwrap();
                    if let Ok(tcp) = connect_from(from, door).await {
                        let shaken = TlsConnector::from(Arc::clone(&tls)).connect(name, tcp);
                        let shaken = timeout(Duration::from_secs(5), shaken).await;
                        done.fetch_add(usize::from(matches!(shaken, Ok(Ok(_)))), Ordering::Relaxed);
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(2)).await;
    let before = done.load(Ordering::Relaxed);
    let begun = Instant::now();
    let times = probes(server.metrics, 50).await;
    let rate = (done.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    println!("2,048 at once, {rate:.0} handshakes/s: {}", shown(times));
    let begun = Instant::now();
    server.join(&token, &server.at("machine")).await;
    println!("a join meanwhile: {:?}", begun.elapsed());
    flood.iter().for_each(|task| task.abort());
}

async fn probes(metrics: SocketAddr, number: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..number {
        let begun = Instant::now();
        let mut tcp = TcpStream::connect(metrics).await.unwrap();
        let asked = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        tcp.write_all(asked).await.unwrap();
        let mut said = Vec::new();
        tcp.read_to_end(&mut said).await.unwrap();
        times.push(begun.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    times
}

/// Two connections that ask for the longest document as fast as it goes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures"]
async fn pipelining() {
    let server = Server::start_with(1_024, "warn").await;
    let token = server.tokens(1).await.remove(0);
    let tls = Arc::new(tls_by_pin(pin(&token), SystemClock.now_ms(), None));
    let sent = Arc::new(AtomicUsize::new(0));
    let had = Arc::new(AtomicUsize::new(0));
    let ask = async || loop {
        let name = ServerName::try_from("door.example").unwrap();
        let Ok(tcp) = TcpStream::connect(server.door).await else {
            continue;
        };
        let Ok(connected) = TlsConnector::from(Arc::clone(&tls))
            .connect(name, tcp)
            .await
        else {
            continue;
        };
        let (mut from, mut to) = tokio::io::split(connected);
        let asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        let asking = async {
            while to.write_all(&asked).await.is_ok() {
                sent.fetch_add(asked.len(), Ordering::Relaxed);
            }
        };
        let having = async {
            let mut said = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from.read(&mut said).await {
                had.fetch_add(length, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = asking => (),
            () = having => (),
        }
    };
    let _ = timeout(Duration::from_secs(3), futures::future::join(ask(), ask())).await;
    println!(
        "in 3 s: {} bytes sent, {} bytes had",
        sent.load(Ordering::Relaxed),
        had.load(Ordering::Relaxed)
    );
}

/// A thousand connections that show a certificate with a chain of 62 KB.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures"]
async fn chains() {
    let server = Server::start_with(8_192, "warn").await;
    let token = server.tokens(1).await.remove(0);
    let provider = tls_provider();
    let verifier = DoorVerifier::new(pin(&token), None, &provider);
    let key = new_key();
    let own = key.self_signed_cert_der(SystemClock.now_ms()).unwrap();
    let chain: Vec<CertificateDer<'static>> = std::iter::once(own.into())
        .chain((0..4).map(|_| vec![0x30; 15_500].into()))
        .collect();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key.private_key())
        .unwrap();
    let config = Arc::new(config);
    let before = resident_kib(&server);
    let mut held = Vec::new();
    for from in addresses(1_000) {
        let tcp = connect_from(from, server.door).await.unwrap();
        let name = ServerName::try_from("door.example").unwrap();
        held.push(
            TlsConnector::from(Arc::clone(&config))
                .connect(name, tcp)
                .await,
        );
    }
    sleep(Duration::from_millis(500)).await;
    println!(
        "{before} KiB before, {} KiB with them",
        resident_kib(&server)
    );
}

fn resident_kib(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

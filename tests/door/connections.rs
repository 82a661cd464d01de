//! Connections that are no joiner's: garbage, old TLS, floods, sloths. The door goes on serving.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jointoken::bootstrap::DoorLimits;
use rustls::pki_types::ServerName;
use rustls::version::TLS12;
use rustls::{ClientConfig, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::caller::{self, Caller, ask, connect, new_key};
use crate::crowd::connect_from;
use crate::script::{Gate, Play, is_consume};
use crate::world::{DAY, World, eventually, identity, soon};

#[tokio::test]
async fn tls_is_1_3_with_the_hybrid_key_exchange_and_without_tickets() {
    let world = World::open().await;
    let mut tls = connect(&world, Some(&new_key())).await;
    tls.write_all(b"GET /v1/ca HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    soon(tls.read_to_end(&mut said)).await.unwrap();
    assert!(said.starts_with(b"HTTP/1.1 200"));
    let session = tls.get_ref().1;
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(
        session.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768
    );
    assert_eq!(session.tls13_tickets_received(), 0);
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let world = World::open().await;
    let provider = jointoken::bootstrap::tls_provider();
    let verifier =
        jointoken::pki::verify::DoorVerifier::new(world.door_ca.spki_pin(), None, &provider);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let tcp = TcpStream::connect(world.address).await.unwrap();
    let name = ServerName::try_from("door.example").unwrap();
    let error = soon(TlsConnector::from(Arc::new(config)).connect(name, tcp))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    eventually("the observation", || {
        (world.observer.handshakes_failed() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn garbage_on_the_port_is_hung_up_on() {
    let world = World::open().await;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.0\r\n\r\n",
        &[0xff; 2_000],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        // A TLS record that promises a ClientHello and holds none.
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
    ];
    for bytes in garbage {
        let mut tcp = TcpStream::connect(world.address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        // An alert, perhaps, and then the end.
        let _ = soon(tcp.read_to_end(&mut said)).await;
        assert!(said.len() < 100);
    }
    eventually("the observations", || {
        (world.observer.handshakes_failed() == garbage.len()).then_some(())
    })
    .await;
    let token = world.plain_token().await;
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn half_open_connections_lose_their_place() {
    let world = World::open_with(|door| door.limits.handshake = Duration::from_millis(200)).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut said = Vec::new();
    let _ = soon(silent.read_to_end(&mut said)).await;
    assert_eq!(said, b"");
    assert_eq!(world.observer.handshakes_failed(), 1);
}

/// One address took all places, and asked for the CA now and then to keep them.
#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let world = World::open_with(|door| {
        door.limits.connections = 60;
        door.limits.connections_per_address = 4;
    })
    .await;
    let token = world.plain_token().await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(
            soon(connect_from([127, 0, 0, 66], world.address))
                .await
                .unwrap(),
        );
    }
    ask(&world, &token, &new_key()).await.admission();
    assert_eq!(world.observer.turned_away(), 36);
}

/// Whoever has many addresses takes all places all the same, but cannot keep them: who has proven
/// nothing makes room for who comes.
#[tokio::test]
async fn a_crowd_from_everywhere_keeps_nobody_out() {
    let world = World::open_with(|door| {
        door.limits.connections = 8;
        door.limits.connections_per_address = 2;
    })
    .await;
    let (token, other) = (
        world.plain_token().await,
        world.offline_token(&world.offline_claims()),
    );
    // One machine is in the midst of being admitted.
    let gate = Gate::new();
    let key = new_key();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let body = caller::request(token.text.expose(), &key);
    let mut first = Caller::connect(&world, Some(&key)).await;
    let asking = tokio::spawn(async move { first.post("/v1/join", &body).await });
    soon(gate.reached()).await;

    let mut crowd = Vec::new();
    for last in 1..=10 {
        crowd.push(
            soon(connect_from([127, 0, 1, last], world.address))
                .await
                .unwrap(),
        );
    }
    let begun = Instant::now();
    ask(&world, &other, &new_key()).await.admission();
    assert!(
        begun.elapsed() < DoorLimits::default().handshake,
        "it waited"
    );
    // Seven had the places, three waited for some, and the machine for one.
    assert_eq!(world.observer.turned_away(), 4);
    // Who has shown a valid token made room for nobody.
    gate.open();
    asking.await.unwrap().admission();
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let world = World::open_with(|door| door.limits.headers = Duration::from_millis(200)).await;
    let mut idle = connect(&world, None).await;
    let mut sloth = connect(&world, None).await;
    sloth.write_all(b"POST /v1/join HT").await.unwrap();
    let mut said = Vec::new();
    let _ = soon(idle.read_to_end(&mut said)).await;
    let _ = soon(sloth.read_to_end(&mut said)).await;
    // After an answer the clock runs again.
    let mut kept = connect(&world, None).await;
    kept.write_all(b"GET /v1/ca HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let _ = soon(kept.read_to_end(&mut said)).await;
    assert!(said.windows(12).any(|w| w == b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::open_with(|door| door.limits.body = Duration::from_millis(200)).await;
    let mut tls = connect(&world, Some(&new_key())).await;
    tls.write_all(b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{")
        .await
        .unwrap();
    let mut said = vec![0; 12];
    soon(tls.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 408");
}

/// How long a caller takes over his request is no matter of the server's speed.
#[tokio::test]
async fn a_body_that_comes_slowly_is_not_counted_as_our_time() {
    let world = World::open().await;
    let mut tls = connect(&world, Some(&new_key())).await;
    tls.write_all(b"POST /v1/ack HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n")
        .await
        .unwrap();
    let slowly = Duration::from_millis(400);
    tokio::time::sleep(slowly).await;
    tls.write_all(br#"{"token_id":"no"}"#).await.unwrap();
    let mut said = vec![0; 12];
    soon(tls.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 403");
    assert!(world.observer.answered()[0].duration < slowly);
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_refused_before_it_is_read() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let bodies = [
        "Content-Length: 1073741824\r\n\r\n",
        // One chunk of a gigabyte, its length not told beforehand.
        "Transfer-Encoding: chunked\r\n\r\n40000000\r\n",
    ];
    for body in bodies {
        let mut tls = connect(&world, Some(&new_key())).await;
        let head = format!("POST /v1/join HTTP/1.1\r\nHost: x\r\n{body}");
        tls.write_all(head.as_bytes()).await.unwrap();
        let (mut from, mut to) = tokio::io::split(tls);
        let pour = tokio::spawn(async move {
            let block = [b' '; 16 * 1024];
            let mut poured = 0_u64;
            while poured < 1 << 30 && to.write_all(&block).await.is_ok() {
                poured += block.len() as u64;
            }
            poured
        });
        let mut said = vec![0; 12];
        soon(from.read_exact(&mut said)).await.unwrap();
        assert_eq!(said, b"HTTP/1.1 413", "{body}");
        drop(from);
        let poured = soon(pour).await.unwrap();
        assert!(poured < 32 << 20, "{poured} bytes were taken");
    }
    ask(&world, &token, &new_key()).await.admission();
}

#[tokio::test]
async fn headers_have_a_limit() {
    let world = World::open().await;
    let mut tls = connect(&world, None).await;
    let flood = format!(
        "GET /v1/ca HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(64 * 1024)
    );
    let _ = tls.write_all(flood.as_bytes()).await;
    let mut said = Vec::new();
    let _ = soon(tls.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP/1.1 200"));
    Caller::connect(&world, None).await.get("/v1/ca").await;
}

#[tokio::test]
async fn a_connection_does_not_last_for_ever() {
    let world = World::open_with(|door| {
        door.limits.connection = Duration::from_millis(300);
        door.limits.requests_per_connection = u32::MAX;
        door.limits.rates.anonymous_per_address.burst = NonZeroU32::MAX;
    })
    .await;
    let mut caller = connect(&world, None).await;
    let begun = Instant::now();
    let mut said = vec![0; 64 * 1024];
    // However busy it is.
    let ended = soon(async {
        loop {
            let asked = caller
                .write_all(b"GET /v1/ca HTTP/1.1\r\nHost: x\r\n\r\n")
                .await;
            if asked.is_err() || !matches!(caller.read(&mut said).await, Ok(1..)) {
                return begun.elapsed();
            }
        }
    })
    .await;
    assert!(ended >= Duration::from_millis(250), "{ended:?}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_connection_on() {
    let world = World::open().await;
    let shown = |tls: &tokio_rustls::client::TlsStream<TcpStream>| {
        tls.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = shown(&connect(&world, None).await);
    let renewed = identity(&world.door_ca, crate::world::START + DAY);
    let expected = renewed.chain()[0].clone();
    world.clock.advance(DAY);
    world.identity.send_replace(Arc::new(renewed));
    soon(async {
        loop {
            let now = shown(&caller::connect(&world, None).await);
            if now == expected {
                return;
            }
            assert_eq!(now, first);
        }
    })
    .await;
}

//! Who only takes up places, with or without a token that is worth nothing any more, keeps nobody out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::CONNECTION;
use jointoken::bootstrap::{DoorLimits, Limit};
use jointoken::clock::Clock;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::caller::{Caller, ask, new_key, request, tls, tls_showing};
use crate::crowd::{Crowd, Manner, connect_from};
use crate::world::{HOUR, World, eventually, soon};

/// From the machine's own address. The crowd shut out everybody who shares it with them.
#[tokio::test]
async fn a_crowd_at_the_same_address_keeps_nobody_out() {
    let world = World::open_with(|door| {
        door.limits.connections = 64;
        door.limits.connections_per_address = 16;
    })
    .await;
    let client = Arc::new(tls(&world, None));
    for (manner, per_second) in [
        (Manner::Silent, 100),
        (Manner::Dribbling, 100),
        (Manner::HalfOpen(Arc::clone(&client)), 10),
        (Manner::Connected(client), 10),
    ] {
        let before = world.observer.reached(Limit::ConnectionsPerAddress);
        let crowd =
            Crowd::gather(world.address, vec![[127, 0, 0, 1]], 20, per_second, manner).await;
        eventually("a full site", || {
            (world.observer.reached(Limit::ConnectionsPerAddress) > before).then_some(())
        })
        .await;
        for _ in 0..3 {
            let folder = tempfile::TempDir::new().unwrap();
            let token = world.offline_token(&world.offline_claims());
            let begun = Instant::now();
            world.join(&token, folder.path()).await.unwrap();
            assert!(
                begun.elapsed() < DoorLimits::default().handshake,
                "it waited"
            );
        }
        drop(crowd);
    }
    assert_eq!(world.observer.reached(Limit::Connections), 0);
}

/// Sixteen tokens that had expired held all places, for good: whoever had shown one made room for
/// nobody.
#[tokio::test]
async fn tokens_that_admit_nobody_hold_no_places() {
    let world = World::open_with(|door| {
        door.limits.connections = 16;
        door.limits.connections_per_address = 4;
    })
    .await;
    let dead: Vec<_> = (0..16)
        .map(|_| world.offline_token(&world.offline_claims()))
        .collect();
    let used = world.plain_token().await;
    ask(&world, &used, &new_key()).await.admission();
    world.clock.advance(2 * HOUR);
    let mut held = Vec::new();
    for (last, token) in (2..18_u8).zip(&dead) {
        let key = new_key();
        // Four of each address, and no more addresses than it takes.
        let from = [127, 0, 3, 2 + last / 4];
        let tcp = soon(connect_from(from, world.address)).await.unwrap();
        let mut caller = Caller::over(&world, tcp, Some(&key)).await;
        let body = request(token.text.expose(), &key);
        let said = caller.post("/v1/join", &body).await;
        assert_eq!(said.status, StatusCode::GONE);
        assert_eq!(said.code(), "token_expired");
        assert_eq!(said.headers[CONNECTION], "close");
        held.push(caller);
    }
    let token = world.offline_token(&world.offline_claims());
    let begun = Instant::now();
    ask(&world, &token, &new_key()).await.admission();
    assert!(
        begun.elapsed() < DoorLimits::default().handshake,
        "it waited"
    );
}

/// Whatever the reason, no other request on that connection would do.
#[tokio::test]
async fn who_shows_a_dead_token_is_answered_and_hung_up_on() {
    let world = World::open().await;
    let used = world.plain_token().await;
    ask(&world, &used, &new_key()).await.admission();
    let mut claims = world.offline_claims();
    claims.audience = jointoken::token::StoreId([0x52; 16]).audience();
    let other_store = world.offline_token(&claims);
    let mut claims = world.offline_claims();
    claims.node_name = "not-of-its-key".to_owned();
    let other_name = world.offline_token(&claims);
    for (token, code) in [
        (&used, "token_used"),
        (&other_store, "token_of_other_store"),
        (&other_name, "node_name_not_allowed"),
    ] {
        let said = ask(&world, token, &new_key()).await;
        assert_eq!(said.code(), code);
        assert_eq!(said.headers[CONNECTION], "close", "{code}");
    }
    // With what may still do one goes on.
    let key = new_key();
    let mut caller = Caller::connect(&world, Some(&key)).await;
    let guess = caller.post("/v1/join", &request("hello", &key)).await;
    assert_eq!(guess.code(), "invalid_token");
    assert!(!guess.headers.contains_key(CONNECTION));
    let token = world.offline_token(&world.offline_claims());
    caller
        .post("/v1/join", &request(token.text.expose(), &key))
        .await
        .admission();
}

/// Anybody had as much as he could read, at 94 bytes for one, and nothing showed it.
#[tokio::test]
async fn what_needs_no_proof_is_had_so_often() {
    let world = World::open_with(|door| door.limits.slow_answer = Duration::from_millis(50)).await;
    let mut served = 0;
    let mut limited = 0;
    while limited < 20 {
        let mut caller = Caller::connect(&world, None).await;
        let mut asked = 0;
        loop {
            asked += 1;
            let said = caller.get("/openapi.json").await;
            let is_last = said.headers.contains_key(CONNECTION);
            match said.status {
                StatusCode::OK => {
                    served += said.body.len();
                    assert!(served < 600 * 1024, "{served} bytes");
                }
                StatusCode::TOO_MANY_REQUESTS => {
                    limited += 1;
                    // The clock can always be asked for, and the token shown after that.
                    assert!(said.headers.contains_key("date"));
                    assert_eq!(is_last, asked > 1);
                }
                other => panic!("{other}"),
            }
            if is_last {
                break;
            }
        }
        assert!(asked <= DoorLimits::default().requests_per_connection);
    }
    let anonymous = world.observer.anonymous();
    assert!(anonymous.iter().all(|a| a.route.as_str() == "document"));
    assert!(anonymous.len() > 20);
    assert!(world.observer.reached(Limit::RequestRate) >= 20);
    // A machine of the same address joins.
    let folder = tempfile::TempDir::new().unwrap();
    let token = world.plain_token().await;
    world.join(&token, folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_connection_has_so_many_requests() {
    let world = World::open_with(|door| door.limits.requests_per_connection = 3).await;
    let mut caller = Caller::connect(&world, None).await;
    for path in ["/v1/ca", "/no/such/path"] {
        let said = caller.get(path).await;
        assert!(!said.headers.contains_key(CONNECTION));
    }
    let last = caller.send(hyper::Method::GET, "/v1/join", "").await;
    assert_eq!(last.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(last.headers[CONNECTION], "close");
    let routes: Vec<_> = world
        .observer
        .anonymous()
        .iter()
        .map(|answered| (answered.route.as_str(), answered.class.as_str()))
        .collect();
    assert_eq!(
        routes,
        [
            ("ca", "served"),
            ("other", "malformed"),
            ("other", "malformed")
        ]
    );
    assert_eq!(world.observer.reached(Limit::RequestsPerConnection), 1);
}

/// rustls takes messages of 64 KiB, and keeps what it has of one until it is whole.
#[tokio::test]
async fn a_handshake_takes_so_many_bytes() {
    let world = World::open().await;
    let key = new_key();
    let own = key.self_signed_cert_der(world.clock.now_ms()).unwrap();
    let chain: Vec<CertificateDer<'static>> = std::iter::once(own.into())
        .chain((0..4).map(|_| vec![0x30; 15_500].into()))
        .collect();
    let shown = tls_showing(&world, chain, &key);
    let tcp = TcpStream::connect(world.address).await.unwrap();
    let name = ServerName::try_from("door.example").unwrap();
    // The client is done before the door has looked at its certificate.
    if let Ok(mut tls) = soon(TlsConnector::from(Arc::new(shown)).connect(name, tcp)).await {
        let _ = soon(tls.read_to_end(&mut Vec::new())).await;
    }
    eventually("the end of it", || {
        (world.observer.handshakes_failed() == 1).then_some(())
    })
    .await;
    assert_eq!(world.observer.reached(Limit::HandshakeBytes), 1);
}

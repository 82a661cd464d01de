//! Behind a load balancer that says by the PROXY protocol whose connections it passes on.

use std::net::{IpAddr, SocketAddr};

use jointoken::bootstrap::Limit;
use jointoken::lifecycle::command::Bindings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::{Caller, ask, new_key, request};
use crate::crowd::connect_from;
use crate::world::{Resource, Token, World, eventually, soon};

const BALANCER: [u8; 4] = [127, 0, 0, 9];

/// A header that names this client.
fn header(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let mut rest = [&ip[..], &ip].concat();
    rest.extend(client.port().to_be_bytes());
    rest.extend(8443_u16.to_be_bytes());
    // The load balancer's own business.
    rest.extend([0xea, 0, 3, 1, 2, 3]);
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &length, &rest].concat()
}

async fn open() -> World {
    World::open_with(|door| {
        door.limits.proxy_protocol_from = vec!["127.0.0.9/32".parse().unwrap()];
        door.limits.connections_per_address = 2;
    })
    .await
}

/// A connection that the load balancer passes on.
async fn passed_on(world: &World, client: &str) -> TcpStream {
    let mut tcp = soon(connect_from(BALANCER, world.address)).await.unwrap();
    tcp.write_all(&header(client)).await.unwrap();
    tcp
}

async fn bound(world: &World) -> Token {
    let bindings = Bindings {
        source_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        ..Bindings::default()
    };
    world
        .token(Resource {
            bindings,
            ..Resource::default()
        })
        .await
}

async fn is_hung_up(mut tcp: TcpStream) {
    let _ = soon(tcp.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn the_client_that_it_names_is_who_asks() {
    let world = open().await;
    let (token, key) = (bound(&world).await, new_key());
    let body = request(token.text.expose(), &key);
    let tcp = passed_on(&world, "198.51.100.7:4000").await;
    let mut elsewhere = Caller::over(&world, tcp, Some(&key)).await;
    let said = elsewhere.post("/v1/join", &body).await;
    assert_eq!(said.code(), "not_allowed_here");
    let refused = world.observer.refused();
    assert_eq!(refused[0].address.to_string(), "198.51.100.7");

    let tcp = passed_on(&world, "192.0.2.7:4000").await;
    let mut caller = Caller::over(&world, tcp, Some(&key)).await;
    caller.post("/v1/join", &body).await.admission();
    let admission = world.record(&token).admission.unwrap();
    assert_eq!(admission.address.unwrap().to_string(), "192.0.2.7");
}

#[tokio::test]
async fn each_client_has_its_part() {
    let world = open().await;
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(passed_on(&world, "192.0.2.66:1").await);
    }
    eventually("the limit", || {
        (world.observer.reached(Limit::ConnectionsPerAddress) > 0).then_some(())
    })
    .await;
    // Of one IPv6 /64, however many addresses.
    for last in 1..=2 {
        crowd.push(passed_on(&world, &format!("[2001:db8::{last}]:1")).await);
    }
    let (token, key) = (world.plain_token().await, new_key());
    let tcp = passed_on(&world, "192.0.2.7:4000").await;
    let mut caller = Caller::over(&world, tcp, Some(&key)).await;
    let body = request(token.text.expose(), &key);
    caller.post("/v1/join", &body).await.admission();
    assert_eq!(world.observer.turned_away(), 1);
}

#[tokio::test]
async fn nobody_else_may_say_so_and_it_has_to() {
    let world = open().await;
    // An address of his choice.
    let mut liar = TcpStream::connect(world.address).await.unwrap();
    liar.write_all(&header("192.0.2.7:4000")).await.unwrap();
    is_hung_up(liar).await;
    // TLS at once, or version 1.
    for said in [
        &[0x16_u8; 64][..],
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
    ] {
        let mut tcp = soon(connect_from(BALANCER, world.address)).await.unwrap();
        tcp.write_all(said).await.unwrap();
        is_hung_up(tcp).await;
    }
    eventually("the observations", || {
        (world.observer.handshakes_failed() == 3).then_some(())
    })
    .await;
    let token = world.plain_token().await;
    ask(&world, &token, &new_key()).await.admission();
}

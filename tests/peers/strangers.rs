//! Whoever is not a peer of the group, on either end: nobody hears him, and nothing is said to him.

use std::sync::Arc;
use std::time::Duration;

use jointoken::peers::{PeerTransport, peer_address};
use jointoken::pki::{
    Authority, CaRole, DoorIdentity, JoinerCsr, JoinerKey, MemberIdentity, NodeName, PeerIdentity,
    TrustDomain, issue_member,
};
use jointoken::store::{PeerAddress, Transport};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::raw;
use crate::world::{
    CLIENT, DAY, START, World, ask, ask_until_answered, ca, domain, echo, identity, nobody,
    not_sent, soon,
};

/// Certificates that are not of a peer of the group, for this address. Each with what it is.
fn strangers(address: &str) -> Vec<(&'static str, Arc<CertifiedKey>)> {
    let elsewhere: TrustDomain = "elsewhere.example".parse().unwrap();
    let elsewhere = Authority::generate(CaRole::Peers, &elsewhere, START).unwrap();
    let loopback = ["127.0.0.1".parse().unwrap()];
    let door = ca(CaRole::Door);
    let door = DoorIdentity::issue(&door, &domain(), &[], &loopback, START, DAY).unwrap();
    let key = JoinerKey::generate().unwrap();
    let itself = key.self_signed_cert_der(START).unwrap();
    vec![
        (
            "of another CA",
            identity(&ca(CaRole::Peers), address).certified_key(),
        ),
        (
            "of another trust domain",
            identity(&elsewhere, address).certified_key(),
        ),
        ("the door", door.certified_key().unwrap()),
        ("a member", member()),
        ("signed by itself", key.certified_key(itself).unwrap()),
    ]
}

fn member() -> Arc<CertifiedKey> {
    let node = NodeName::parse("node-1").unwrap();
    let token = "000102030405060708090a0b0c0d0e0f";
    let member = MemberIdentity::resource(&domain(), "default", &node, token, true).unwrap();
    let key = JoinerKey::generate().unwrap();
    let csr = JoinerCsr::parse(key.csr_pem().unwrap().as_bytes()).unwrap();
    let leaf = issue_member(&ca(CaRole::Members), &member, &csr, START, DAY).unwrap();
    key.certified_key(leaf).unwrap()
}

#[tokio::test]
async fn a_client_that_is_no_peer_is_not_heard() {
    let world = World::new();
    let server = world.serve(nobody()).await;
    for (what, shown) in strangers(CLIENT) {
        // For the client the handshake may be over before it is refused.
        if let Ok(mut tls) = raw::connect(&world, &server, Some(shown), &TLS13).await {
            let _ = tls.write_all(&raw::frame(0, 1, 1)).await;
            assert_eq!(raw::rest(&mut tls).await, b"", "{what}");
        }
    }
    if let Ok(mut tls) = raw::connect(&world, &server, None, &TLS13).await {
        let _ = tls.write_all(&raw::frame(0, 1, 1)).await;
        assert_eq!(raw::rest(&mut tls).await, b"", "without a certificate");
    }
}

/// The transport of a stranger learns that nothing was carried out.
#[tokio::test]
async fn a_transport_that_is_refused_has_sent_nothing() {
    let (world, other) = (World::new(), World::new());
    let server = world.serve(nobody()).await;
    // It trusts the server, and is not trusted.
    let (_, tls) = world.tls(identity(&other.ca, CLIENT));
    let transport = PeerTransport::new(tls, world.limits.clone());
    let why = not_sent(ask(&transport, &server.address, b"x").await);
    assert!(why.contains("broke TLS off"), "{why}");
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_no_peer() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (what, shown) in strangers(&address) {
        let transport = world.transport();
        let to = peer_address(&address).unwrap();
        let (said, result) = tokio::join!(
            raw::greet_and_listen(&listener, shown),
            ask(&transport, &to, b"x")
        );
        not_sent(result);
        assert_eq!(said, b"", "{what}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_peer_that_proves_another_address() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let to = peer_address(&address).unwrap();
    let transport = world.transport();
    let other = identity(&world.ca, "127.0.0.1:1").certified_key();
    let (said, result) = tokio::join!(
        raw::greet_and_listen(&listener, other),
        ask(&transport, &to, b"x")
    );
    assert_eq!(not_sent(result), "the peer there is 127.0.0.1:1");
    assert_eq!(said, b"");
    // The right one is heard, and sent to.
    let _server = world.serve_as(listener, identity(&world.ca, &address), echo());
    ask_until_answered(&transport, &to).await;
}

#[tokio::test]
async fn dates_count_on_both_ends() {
    let world = World::new();
    let old = PeerIdentity::issue(&world.ca, &domain(), CLIENT, START, DAY).unwrap();
    world.clock.advance(2 * DAY);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let new = PeerIdentity::issue(&world.ca, &domain(), &address, START + 2 * DAY, DAY).unwrap();
    let server = world.serve_as(listener, Arc::new(new), nobody());
    let (publish, tls) = world.tls(Arc::new(old));
    let transport = PeerTransport::new(tls, world.limits.clone());
    not_sent(ask(&transport, &server.address, b"x").await);
    // Now the client's is new, and the server's is old.
    let new = PeerIdentity::issue(&world.ca, &domain(), CLIENT, START + 2 * DAY, DAY).unwrap();
    publish.send_replace(Arc::new(new));
    server.identity.send_replace(identity(&world.ca, &address));
    let asking = async {
        loop {
            let why = not_sent(transport.call(&server.address, vec![]).await);
            if why.contains("expired") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(asking).await;
}

#[tokio::test]
async fn garbage_and_old_tls_are_hung_up_on() {
    let world = World::new();
    let server = world.serve(echo()).await;
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.0\r\n\r\n",
        &[0xff; 2_000],
        &raw::frame(0, 1, 1),
        b"SSH-2.0-OpenSSH_9.9\r\n",
        // A TLS record that promises a ClientHello and holds none.
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
    ];
    for bytes in garbage {
        let mut tcp = TcpStream::connect(server.address.as_str()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        // An alert, perhaps, and then the end.
        let _ = soon(tcp.read_to_end(&mut said)).await;
        assert!(said.len() < 100);
    }
    let shown = identity(&world.ca, CLIENT).certified_key();
    let old = raw::connect(&world, &server, Some(shown), &TLS12).await;
    let error = old.unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    ask(&world.transport(), &server.address, b"x")
        .await
        .unwrap();
}

/// A server that speaks no TLS, one that never says anything, and nobody at all.
#[tokio::test]
async fn a_server_that_is_none_is_given_up() {
    let world = World::with(|limits| limits.handshake = Duration::from_millis(200));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = PeerAddress::new(&listener.local_addr().unwrap().to_string());
    let plain = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        tcp
    };
    let transport = world.transport();
    let (_tcp, result) = tokio::join!(plain, ask(&transport, &to, b"x"));
    not_sent(result);

    let transport = world.transport();
    let (_tcp, result) = tokio::join!(listener.accept(), ask(&transport, &to, b"x"));
    assert!(not_sent(result).contains("no handshake within"));

    drop(listener);
    not_sent(ask(&world.transport(), &to, b"x").await);
    let nonsense = PeerAddress::new("no address");
    not_sent(ask(&world.transport(), &nonsense, b"x").await);
}

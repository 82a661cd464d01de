//! New certificates, and new CAs.

use std::sync::Arc;

use jointoken::peers::{PeerServer, PeerTls, PeerTransport};
use jointoken::pki::{CaRole, PkiError};
use rustls::version::TLS13;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::raw;
use crate::world::{CLIENT, World, ask, ask_until_answered, ca, domain, echo, identity};

#[tokio::test]
async fn new_handshakes_show_the_new_certificate_and_old_connections_stay() {
    let world = World::new();
    let server = world.serve(echo()).await;
    let (publish, tls) = world.tls(identity(&world.ca, CLIENT));
    let transport = PeerTransport::new(tls, world.limits.clone());
    ask(&transport, &server.address, b"x").await.unwrap();

    let new = identity(&world.ca, server.address.as_str());
    server.identity.send_replace(Arc::clone(&new));
    publish.send_replace(identity(&world.ca, "moved.test:1"));
    // The connection is the old one: the server knows the client by its old address.
    let answer = ask(&transport, &server.address, b"x").await.unwrap();
    assert_eq!(answer, b"client.test:7443 x");

    let shown = identity(&world.ca, CLIENT).certified_key();
    let tls = raw::connect(&world, &server, Some(shown), &TLS13)
        .await
        .unwrap();
    let seen = tls.get_ref().1.peer_certificates().unwrap();
    assert_eq!(seen, new.certified_key().cert);

    let address = server.address.clone();
    server.stop().await;
    let listener = TcpListener::bind(address.as_str()).await.unwrap();
    let _server = world.serve_as(listener, new, echo());
    let answer = ask_until_answered(&transport, &address).await;
    assert_eq!(answer, b"moved.test:1 again");
}

/// The group goes over from one CA to the next one replica at a time.
#[tokio::test]
async fn while_two_cas_are_trusted_both_kinds_of_peers_meet() {
    let world = World::new();
    let next = ca(CaRole::Peers);
    let both = [world.ca.cert_der(), next.cert_der()];
    let tls = |ca, address: &str| {
        let (_, identity) = watch::channel(identity(ca, address));
        PeerTls::new(identity, &both, &domain(), Arc::new(world.clock.clone())).unwrap()
    };
    for (servers, clients) in [(&world.ca, &next), (&next, &world.ca)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tls(servers, &address);
        let server = PeerServer::new(server, Arc::new(echo()), world.limits.clone());
        tokio::spawn(server.serve(listener, std::future::pending()));
        let transport = PeerTransport::new(tls(clients, CLIENT), world.limits.clone());
        let address = jointoken::peers::peer_address(&address).unwrap();
        ask(&transport, &address, b"x").await.unwrap();
    }
}

#[test]
fn only_a_peers_ca_of_the_trust_domain_is_taken() {
    let world = World::new();
    let try_with = |cas: &[&[u8]], domain: &str| {
        let (_, identity) = watch::channel(identity(&world.ca, CLIENT));
        let clock = Arc::new(world.clock.clone());
        PeerTls::new(identity, cas, &domain.parse().unwrap(), clock)
            .err()
            .unwrap()
    };
    let (peers, door) = (world.ca.cert_der(), ca(CaRole::Door));
    assert_eq!(try_with(&[], "peers.example"), PkiError::NoPeersCa);
    let wrong = try_with(&[peers, door.cert_der()], "peers.example");
    assert!(matches!(wrong, PkiError::WrongRole { .. }));
    let wrong = try_with(&[peers], "other.example");
    assert!(matches!(wrong, PkiError::WrongTrustDomain { .. }));
    let wrong = try_with(&[b"rubbish"], "peers.example");
    assert!(matches!(wrong, PkiError::Certificate(_)));
}

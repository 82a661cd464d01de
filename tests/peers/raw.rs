//! Ends of connections that do as the test says: other certificates, other frames.

use std::sync::Arc;

use jointoken::pki::verify::PeerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::world::{START, Served, World, domain, identity, soon};

/// A sign of life.
pub const ALIVE: [u8; 13] = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

#[derive(Debug)]
struct Start;

impl TimeProvider for Start {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(START)))
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifier(world: &World) -> Arc<PeerVerifier> {
    Arc::new(PeerVerifier::new(&[world.ca.cert_der()], &domain(), &provider()).unwrap())
}

/// Shakes hands as a client that shows `shown`.
pub async fn connect(
    world: &World,
    to: &Served,
    shown: Option<Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(Start))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier(world));
    let config = match shown {
        Some(shown) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
        None => config.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(to.address.as_str()).await.unwrap();
    let name = ServerName::try_from("any.example").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

/// A connection of somebody who is a peer but sends what it likes. The server has let it in.
pub async fn peer(world: &World, to: &Served) -> client::TlsStream<TcpStream> {
    let shown = identity(&world.ca, "raw.test:1").certified_key();
    let mut tls = connect(world, to, Some(shown), &TLS13).await.unwrap();
    let mut greeting = [0; 13];
    soon(tls.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(greeting, ALIVE);
    tls
}

pub fn frame(length: u32, version: u8, id: u64) -> [u8; 13] {
    let mut header = [0; 13];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4] = version;
    header[5..].copy_from_slice(&id.to_le_bytes());
    header
}

/// Everything up to the end of the connection, in whatever way it ends.
pub async fn rest(tls: &mut client::TlsStream<TcpStream>) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = soon(tls.read_to_end(&mut said)).await;
    said
}

/// Accepts one connection, as a server that shows `shown` and takes any client.
pub async fn accept(
    listener: &TcpListener,
    shown: Arc<CertifiedKey>,
) -> std::io::Result<server::TlsStream<TcpStream>> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Start))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.send_tls13_tickets = 0;
    let (tcp, _) = soon(listener.accept()).await.unwrap();
    soon(TlsAcceptor::from(Arc::new(config)).accept(tcp)).await
}

/// Accepts one connection, greets whoever it is, and returns all that was sent.
pub async fn greet_and_listen(listener: &TcpListener, shown: Arc<CertifiedKey>) -> Vec<u8> {
    let Ok(mut tls) = accept(listener, shown).await else {
        return Vec::new();
    };
    let mut said = Vec::new();
    let _ = tls.write_all(&ALIVE).await;
    let _ = tls.flush().await;
    let _ = soon(tls.read_to_end(&mut said)).await;
    said
}

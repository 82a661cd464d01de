//! A client that says what the test wants, over a connection that trusts the door as a joiner does.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jointoken::bootstrap::tls_provider;
use jointoken::bootstrap::wire::{ErrorBody, JoinResponse};
use jointoken::clock::Clock;
use jointoken::pki::verify::DoorVerifier;
use jointoken::pki::{JoinerKey, certificate_pem};
use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Token, World, soon};

/// An open connection.
pub struct Caller {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// What the door said.
#[derive(Debug)]
pub struct Said {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Said {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    pub fn error(&self) -> ErrorBody {
        self.json()
    }

    pub fn code(&self) -> String {
        let value: Value = self.json();
        value["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn admission(&self) -> JoinResponse {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        self.json()
    }
}

/// TLS that trusts the world's door and shows a self-signed certificate of `key`, or none.
pub fn tls(world: &World, key: Option<&JoinerKey>) -> ClientConfig {
    tls_by_pin(world.door_ca.spki_pin(), world.clock.now_ms(), key)
}

/// As [`tls`], showing these certificates, the first of which is of `key`.
pub fn tls_showing(
    world: &World,
    chain: Vec<CertificateDer<'static>>,
    key: &JoinerKey,
) -> ClientConfig {
    trusting(world.door_ca.spki_pin(), world.clock.now_ms())
        .with_client_auth_cert(chain, key.private_key())
        .unwrap()
}

fn trusting(pin: [u8; 32], now_ms: u64) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = tls_provider();
    let verifier = DoorVerifier::new(pin, None, &provider);
    ClientConfig::builder_with_details(provider, Arc::new(At(now_ms)))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

pub fn tls_by_pin(pin: [u8; 32], now_ms: u64, key: Option<&JoinerKey>) -> ClientConfig {
    let config = trusting(pin, now_ms);
    match key {
        Some(key) => {
            let certificate = key.self_signed_cert_der(now_ms).unwrap().into();
            config
                .with_client_auth_cert(vec![certificate], key.private_key())
                .unwrap()
        }
        None => config.with_no_client_auth(),
    }
}

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0)))
    }
}

/// A TLS connection to the world's door.
pub async fn connect(world: &World, key: Option<&JoinerKey>) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(world.address).await.unwrap();
    connect_over(world, tcp, key).await
}

/// As [`connect`], over a connection that there is.
pub async fn connect_over(
    world: &World,
    tcp: TcpStream,
    key: Option<&JoinerKey>,
) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("door.example").unwrap();
    let connector = TlsConnector::from(Arc::new(tls(world, key)));
    soon(connector.connect(name, tcp)).await.unwrap()
}

impl Caller {
    pub async fn connect(world: &World, key: Option<&JoinerKey>) -> Self {
        let tcp = TcpStream::connect(world.address).await.unwrap();
        Self::over(world, tcp, key).await
    }

    /// As [`Caller::connect`], over a connection that there is.
    pub async fn over(world: &World, tcp: TcpStream, key: Option<&JoinerKey>) -> Self {
        let tls = connect_over(world, tcp, key).await;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, driver }
    }

    pub async fn send(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Said {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "door.example")
            .header("Content-Type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Said {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        soon(answer).await.unwrap()
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Said {
        self.send(Method::POST, path, body.to_string()).await
    }

    pub async fn get(&mut self, path: &str) -> Said {
        self.send(Method::GET, path, "").await
    }

    /// Goes away at once, whatever is under way.
    pub fn vanish(self) {
        self.driver.abort();
    }
}

/// Asks once, as the machine that has `key`.
pub async fn ask(world: &World, token: &Token, key: &JoinerKey) -> Said {
    ask_text(world, token.text.expose(), key).await
}

pub async fn ask_text(world: &World, token: &str, key: &JoinerKey) -> Said {
    let mut caller = Caller::connect(world, Some(key)).await;
    caller.post("/v1/join", &request(token, key)).await
}

pub async fn acknowledge(world: &World, token: &Token, key: &JoinerKey) -> Said {
    let mut caller = Caller::connect(world, Some(key)).await;
    let body = json!({ "token_id": token.id.to_string() });
    caller.post("/v1/ack", &body).await
}

pub fn request(token: &str, key: &JoinerKey) -> Value {
    json!({ "token": token, "csr": key.csr_pem().unwrap() })
}

pub fn new_key() -> JoinerKey {
    JoinerKey::generate().unwrap()
}

/// The certificate that the store keeps for redelivery, in PEM.
pub fn kept_leaf(world: &World, token: &Token) -> String {
    let admission = world.record(token).admission.expect("admitted");
    certificate_pem(&admission.leaf.expect("kept"))
}

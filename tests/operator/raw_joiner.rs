//! A joiner that asks once and never acknowledges, as one does whose machine crashes.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jointoken::bootstrap::tls_provider;
use jointoken::clock::{Clock, SystemClock};
use jointoken::pki::JoinerKey;
use jointoken::pki::verify::DoorVerifier;
use jointoken::token::Presented;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The connection broke before the answer was there.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

pub struct RawJoiner {
    pub key: JoinerKey,
    token: String,
    /// Which door it asks.
    pub port: u16,
    /// Its own address, one of this machine's.
    pub from: Ipv4Addr,
}

impl RawJoiner {
    pub fn new(token: &str, key: JoinerKey, port: u16) -> Self {
        let token = token.to_owned();
        Self {
            key,
            token,
            port,
            from: Ipv4Addr::LOCALHOST,
        }
    }

    /// Is admitted; the answer.
    pub async fn join(&self) -> Value {
        let (code, answer) = self.try_join().await;
        assert_eq!(code, 200, "{answer}");
        answer
    }

    /// Status code and answer.
    pub async fn try_join(&self) -> (u16, Value) {
        self.ask().await.unwrap()
    }

    /// Of a door that may be gone at any moment: status code and answer, if they came whole.
    pub async fn ask(&self) -> Result<(u16, Value), Broken> {
        self.request(&self.token).await
    }

    /// Presents this instead of the token.
    pub async fn present(&self, token: &str) -> (u16, Value) {
        self.request(token).await.unwrap()
    }

    async fn request(&self, token: &str) -> Result<(u16, Value), Broken> {
        self.post(json!({ "token": token, "csr": self.key.csr_pem().unwrap() }))
            .await
    }

    /// Presents a CSR whose signature does not fit.
    pub async fn with_a_bad_csr(&self) -> (u16, Value) {
        let mut lines: Vec<String> = self
            .key
            .csr_pem()
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        // The signature is at the end.
        let last = lines.len() - 2;
        let turned = if lines[last].starts_with('A') {
            "B"
        } else {
            "A"
        };
        lines[last].replace_range(..1, turned);
        self.post(json!({ "token": self.token, "csr": lines.join("\n") + "\n" }))
            .await
            .unwrap()
    }

    /// Goes on sending a body until so many bytes are sent or there is an answer. The answer, and how much
    /// was sent until then.
    pub async fn flood(&self, bytes: usize, chunked: bool) -> (String, usize) {
        let (mut reader, mut writer) = tokio::io::split(self.connect().await.unwrap());
        let length = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {bytes}"),
        };
        let head = format!(
            "POST /v1/join HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        );
        let piece = vec![b' '; 64 * 1024];
        let mut framed = match chunked {
            true => format!("{:x}\r\n", piece.len()).into_bytes(),
            false => Vec::new(),
        };
        framed.extend(&piece);
        framed.extend(if chunked { &b"\r\n"[..] } else { b"" });
        let sent = AtomicUsize::new(0);
        let writing = async {
            let mut going_on = writer.write_all(head.as_bytes()).await.is_ok();
            while going_on && sent.load(Ordering::Relaxed) < bytes {
                going_on = writer.write_all(&framed).await.is_ok();
                sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut answer = Vec::new();
            // The answer ends with its JSON.
            while !answer.ends_with(b"}") && reader.read_buf(&mut answer).await.is_ok_and(|n| n > 0)
            {
            }
            String::from_utf8(answer).unwrap()
        };
        let answer = tokio::select! {
            answer = reading => answer,
            () = writing => unreachable!("it waits for the answer"),
        };
        (answer, sent.into_inner())
    }

    /// Sends all of the head and half of the body of its request, which the door waits for by then.
    pub async fn begin(&self) -> HalfSent {
        let body = json!({ "token": self.token, "csr": self.key.csr_pem().unwrap() }).to_string();
        let (half, rest) = body.as_bytes().split_at(body.len() / 2);
        let head = format!(
            "POST /v1/join HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = self.connect().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 100 "), "{answer:?}");
        stream.write_all(half).await.unwrap();
        stream.flush().await.unwrap();
        HalfSent {
            stream,
            rest: rest.to_owned(),
        }
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpSocket::new_v4()?;
        tcp.bind((self.from, 0).into())?;
        let tcp = tcp.connect((Ipv4Addr::LOCALHOST, self.port).into()).await?;
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let tls = TlsConnector::from(Arc::new(self.tls()));
        tls.connect(name, tcp).await
    }

    async fn post(&self, body: Value) -> Result<(u16, Value), Broken> {
        let request = Request::post("/v1/join")
            .header("Host", "door")
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let tls = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok((code, serde_json::from_slice(&body)?))
    }

    /// Trusts the door as the token says; shows a certificate of the machine's own key.
    fn tls(&self) -> ClientConfig {
        let provider = tls_provider();
        let Ok(Presented::Jt1(token)) = Presented::parse(&self.token) else {
            panic!("a token that says whom to trust");
        };
        let pin = token.unverified_delivery().door_pin;
        let certificate = self.key.self_signed_cert_der(SystemClock.now_ms()).unwrap();
        ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DoorVerifier::new(pin, None, &provider)))
            .with_client_auth_cert(vec![certificate.into()], self.key.private_key())
            .unwrap()
    }
}

/// A request whose body is not all sent.
pub struct HalfSent {
    stream: TlsStream<TcpStream>,
    rest: Vec<u8>,
}

impl HalfSent {
    /// Sends the rest: status code and answer.
    pub async fn finish(mut self) -> (u16, Value) {
        self.stream.write_all(&self.rest).await.unwrap();
        self.stream.flush().await.unwrap();
        let mut answer = Vec::new();
        // It ends with its JSON.
        while !answer.ends_with(b"}") {
            assert!(self.stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        let answer = String::from_utf8(answer).unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (code, serde_json::from_str(body).unwrap())
    }
}

//! One connection to a door that has proven to be the right one.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::net::{dial, io_words, tunnel};

use super::words::{body_words, handshake_error, http_words};
use super::{DoorAddress, JoinError};

/// Until the door has shown who it is.
const CONNECT: Duration = Duration::from_secs(10);
/// Of that, until there is a connection for the handshake.
const REACH: Duration = Duration::from_secs(8);
/// Until its answer is there; longer than a door takes over a request.
const ANSWER: Duration = Duration::from_secs(30);
/// Longer than any answer.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

pub(super) struct Connection {
    door: DoorAddress,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// What a door answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Connection {
    /// Connects. When this returns, the door has proven in the handshake to be the one that
    /// `tls` pins; nothing but the handshake has been sent.
    pub(super) async fn open(
        door: &DoorAddress,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, JoinError> {
        let connected = timeout(CONNECT, connect(door, tls)).await;
        connected.unwrap_or_else(|_| Err(unreachable(door, "it did not answer in time")))
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, JoinError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.door.authority())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| unreachable(&self.door, "the request cannot be written"))?;
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head, Limited::new(body, MAX_ANSWER)))
        };
        let whole = async {
            let (head, body) = answer
                .await
                .map_err(|error| unreachable(&self.door, http_words(&error)))?;
            let body = body.collect().await;
            let body = body.map_err(|error| unreachable(&self.door, body_words(&*error)))?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        timeout(ANSWER, whole)
            .await
            .unwrap_or_else(|_| Err(unreachable(&self.door, "it did not answer in time")))
    }

    /// Whether another request can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    pub(super) const fn door(&self) -> &DoorAddress {
        &self.door
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn connect(door: &DoorAddress, tls: Arc<ClientConfig>) -> Result<Connection, JoinError> {
    let tcp = reach(door).await?;
    // Each side waits for the other's answer: Nagle's algorithm would only add to that.
    tcp.set_nodelay(true)
        .map_err(|error| unreachable(door, io_words(&error)))?;
    let name = door
        .server_name()
        .map_err(|error| unreachable(door, error))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await;
    let stream = stream.map_err(|error| handshake_error(door, &error))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(door, http_words(&error)))?;
    let driver = tokio::spawn(async move {
        // What goes wrong here goes wrong for the request that waits, too.
        let _ = connection.await;
    });
    Ok(Connection {
        door: door.clone(),
        sender,
        driver,
    })
}

/// A TCP connection to the door, or through the proxy that leads to it. TLS is the same in both.
async fn reach(door: &DoorAddress) -> Result<TcpStream, JoinError> {
    let (host, port) = door.host_and_port();
    let Some(proxy) = door.proxy() else {
        let reached = dial((host, port), REACH).await;
        return reached.map_err(|error| unreachable(door, error));
    };
    let reached = tunnel(proxy, host, port, REACH).await;
    reached.map_err(|source| match source.is_temporary() {
        true => unreachable(door, source),
        false => JoinError::Proxy {
            door: door.clone(),
            source,
        },
    })
}

pub(super) fn unreachable(door: &DoorAddress, what: impl ToString) -> JoinError {
    JoinError::Unreachable {
        door: door.clone(),
        what: what.to_string(),
    }
}

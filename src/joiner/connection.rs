//! One connection to a door that has proven to be the right one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::pki::verify::door_refusal;

use super::{DoorAddress, JoinError};

/// Until the door has shown who it is.
const CONNECT: Duration = Duration::from_secs(10);
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
            .map_err(|error| unreachable(&self.door, error))?;
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head, Limited::new(body, MAX_ANSWER)))
        };
        let whole = async {
            let (head, body) = answer
                .await
                .map_err(|error| unreachable(&self.door, describe(&error)))?;
            let body = body.collect().await;
            let body = body.map_err(|error| unreachable(&self.door, error))?;
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
    let addresses = lookup_host(door.host_and_port()).await;
    let addresses: Vec<_> = addresses
        .map_err(|error| unreachable(door, error))?
        .collect();
    let tcp = reach(&addresses)
        .await
        .map_err(|error| unreachable(door, error))?;
    // Each side waits for the other's answer: Nagle's algorithm would only add to that.
    tcp.set_nodelay(true)
        .map_err(|error| unreachable(door, error))?;
    let name = door
        .server_name()
        .map_err(|error| unreachable(door, error))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await;
    let stream = stream.map_err(|error| match door_refusal(&error) {
        Some(refusal) if refusal.is_dates_only() => JoinError::Dates {
            door: door.clone(),
            refusal: refusal.clone(),
        },
        Some(refusal) => JoinError::Untrusted {
            door: door.clone(),
            refusal: refusal.clone(),
        },
        None => unreachable(door, error),
    })?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(door, describe(&error)))?;
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

/// Connects to the first address that answers. None may take the time of those behind it: where
/// IPv6 is half set up, or one of three replicas is gone, nothing comes back at all.
async fn reach(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let share = CONNECT / 2 / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => error,
            Err(_elapsed) => io::ErrorKind::TimedOut.into(),
        };
    }
    Err(failed)
}

pub(super) fn unreachable(door: &DoorAddress, what: impl ToString) -> JoinError {
    JoinError::Unreachable {
        door: door.clone(),
        what: what.to_string(),
    }
}

/// hyper's errors name the step, their sources what happened.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A name had an address that swallows everything, and the next one was never tried.
    #[tokio::test]
    async fn an_address_that_does_not_answer_takes_no_time_of_the_others() {
        // A queue that is full: who comes now is not answered.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut queued = Vec::new();
        let try_for = Duration::from_millis(200);
        while let Ok(connected) = timeout(try_for, TcpStream::connect(silent)).await {
            queued.push(connected.unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = SocketAddr::from(([127, 0, 0, 1], 1));
        let reached = timeout(CONNECT, reach(&[closed, silent, open])).await;
        assert_eq!(reached.unwrap().unwrap().peer_addr().unwrap(), open);

        let error = timeout(CONNECT, reach(&[silent])).await.unwrap();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let error = reach(&[]).await.unwrap_err();
        assert_eq!(error.to_string(), "the name has no address");
    }
}

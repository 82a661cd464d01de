//! A crowd: connections that only take up places, and come again when they are hung up on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};
use tokio_rustls::TlsConnector;

/// What its connections do.
#[derive(Clone)]
pub enum Manner {
    /// Nothing.
    Silent,
    /// They begin a first message that never ends.
    Dribbling,
    /// They begin a handshake and leave it at that.
    HalfOpen(Arc<ClientConfig>),
    /// They have done the handshake and ask nothing.
    Connected(Arc<ClientConfig>),
}

/// A crowd, until it is dropped.
pub struct Crowd(JoinHandle<()>);

impl Crowd {
    /// From each of the addresses `size` connections, of which so many are closed and opened again
    /// each second, the oldest first.
    pub async fn gather(
        door: SocketAddr,
        from: Vec<[u8; 4]>,
        size: usize,
        per_second: usize,
        manner: Manner,
    ) -> Self {
        let size = size * from.len();
        let mut members = VecDeque::new();
        let mut next = from.into_iter().cycle();
        let mut one = move || next.next().map(|from| Member::come(door, from, &manner));
        while members.len() < size {
            members.extend(one());
            // The door runs on this thread, too.
            if members.len().is_multiple_of(16) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        Self(tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(10));
            let mut due = 0;
            loop {
                ticks.tick().await;
                due += per_second;
                while due >= 100 {
                    due -= 100;
                    members.pop_front();
                    members.extend(one());
                }
            }
        }))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One of them. It goes when it is dropped.
struct Member(JoinHandle<()>);

impl Member {
    fn come(door: SocketAddr, from: [u8; 4], manner: &Manner) -> Self {
        let manner = manner.clone();
        Self(tokio::spawn(async move {
            if let Ok(tcp) = connect_from(from, door).await {
                behave(tcp, manner).await;
            }
        }))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn behave(mut tcp: TcpStream, manner: Manner) {
    let name = ServerName::try_from("door.example").unwrap();
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Dribbling => {
            // A record and a message of 1,000 bytes.
            let begun: &[u8] = &[0x16, 3, 1, 3, 0xe8, 1, 0, 3, 0xe4, 3, 3];
            let mut sent = tcp.write_all(begun).await;
            while sent.is_ok() {
                sleep(Duration::from_millis(20)).await;
                sent = tcp.write_all(&[0]).await;
            }
        }
        Manner::HalfOpen(tls) => {
            let mut hello = Vec::new();
            let mut client = ClientConnection::new(tls, name).unwrap();
            client.write_tls(&mut hello).unwrap();
            let _ = tcp.write_all(&hello).await;
            std::future::pending().await
        }
        Manner::Connected(tls) => {
            let _tls = TlsConnector::from(tls).connect(name, tcp).await;
            std::future::pending().await
        }
    }
}

/// A connection from this address of the loopback's.
pub async fn connect_from(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

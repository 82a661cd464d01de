//! A network that loses replies: a TCP proxy between joiner and door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::world::loopback;

pub struct Proxy {
    pub address: SocketAddr,
    loses_replies: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Carries connections to `door`.
    pub async fn to(door: SocketAddr) -> Self {
        let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let loses_replies = Arc::new(AtomicBool::new(false));
        let loses = Arc::clone(&loses_replies);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(door).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&loses)));
            }
        });
        Self {
            address,
            loses_replies,
            task,
        }
    }

    /// From now on what the door says next is lost, and the connection with it. Once it is, the
    /// next connection is fine again.
    pub fn lose_the_next_reply(&self) -> impl Fn() + Send + 'static {
        let loses = Arc::clone(&self.loses_replies);
        move || loses.store(true, Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, loses: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _ = copy(&mut from_client, &mut to_server).await;
    });
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from_server.read(&mut buffer).await {
        let lost = loses.swap(false, Ordering::SeqCst);
        if read == 0 || lost || to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    up.abort();
}

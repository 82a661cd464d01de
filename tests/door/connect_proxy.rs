//! An HTTP proxy that makes tunnels, as companies have it between their machines and the world.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::world::loopback;

pub struct ConnectProxy {
    pub address: SocketAddr,
    /// The heads of all requests.
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What it does with a request.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Connects whoever asks.
    Open,
    /// Connects whoever shows this in `Proxy-Authorization`.
    Guarded(&'static str),
    /// Answers with this status.
    Refuses(u16),
}

impl ConnectProxy {
    pub async fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, manner, Arc::clone(&keeps)));
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, manner: Manner, requests: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    requests.lock().unwrap().push(head.clone());
    let status = match manner {
        Manner::Open => 200,
        Manner::Guarded(credentials) => {
            let shown = format!("\r\nProxy-Authorization: {credentials}\r\n");
            if head.contains(&shown) { 200 } else { 407 }
        }
        Manner::Refuses(status) => status,
    };
    let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
    if status != 200 {
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }
    let to = head.split(' ').nth(1).unwrap();
    let mut server = TcpStream::connect(to).await.unwrap();
    let _ = client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await;
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

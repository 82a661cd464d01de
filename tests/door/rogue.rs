//! A TLS server that is not the door, and remembers what it was told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jointoken::bootstrap::tls_provider;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use jointoken::clock::Clock;

use crate::world::{World, loopback};

pub struct Rogue {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

#[derive(Default, Clone)]
pub struct Heard {
    pub connections: usize,
    pub bytes: Vec<u8>,
}

impl Rogue {
    pub async fn with(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        let acceptor = acceptor(chain, key);
        let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hears = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                lock(&hears).connections += 1;
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    continue;
                };
                let mut said = Vec::new();
                let _ = tls.read_to_end(&mut said).await;
                lock(&hears).bytes.extend(said);
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    /// One that has the door's own certificate, answers `/v1/ca` as a door does, and everything else
    /// by these bytes, over and over if `flood`.
    pub async fn with_the_doors_certificate(
        world: &World,
        answer: impl Into<Vec<u8>>,
        flood: bool,
    ) -> Self {
        let now = i64::try_from(world.clock.now_ms() / 1000).unwrap();
        let now = jiff::Timestamp::from_second(now).unwrap();
        let date = now.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n");
        Self::greeting(world, &date.to_string(), answer.into(), flood).await
    }

    /// One that does not say what time it is.
    pub async fn without_a_clock(world: &World) -> Self {
        Self::greeting(world, "", Vec::new(), false).await
    }

    async fn greeting(world: &World, date: &str, answer: Vec<u8>, flood: bool) -> Self {
        let greeting = format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\n{{}}");
        let door = crate::world::identity(&world.door_ca, world.clock.now_ms());
        let acceptor = acceptor(door.chain().to_vec(), door.private_key());
        let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hears = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                lock(&hears).connections += 1;
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    continue;
                };
                let mut said = vec![0; 16 * 1024];
                while let Ok(length @ 1..) = tls.read(&mut said).await {
                    let written = if said[..length].starts_with(b"GET /v1/ca") {
                        tls.write_all(greeting.as_bytes()).await
                    } else {
                        lock(&hears).bytes.extend(&said[..length]);
                        let mut written = tls.write_all(&answer).await;
                        while flood && written.is_ok() {
                            written = tls.write_all(&answer).await;
                        }
                        written
                    };
                    if written.is_err() {
                        break;
                    }
                }
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    pub fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS 1.3 with this certificate, for whoever comes.
fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(tls_provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn lock(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use super::*;
use crate::store::Health;

/// Status code and whole text of the answer.
async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer)
}

#[tokio::test]
async fn metrics_are_shown_as_they_are_now() {
    let (health, receiver) = watch::channel(Health::default());
    let served = served_of(receiver).await;
    health.send_modify(|health| health.applied_index = 2_000);
    let (code, text) = ask(served.address, "/metrics").await;
    assert_eq!(code, 200);
    assert!(
        text.contains("content-type: application/openmetrics-text"),
        "{text}"
    );
    assert!(
        text.contains("jointoken_store_applied_index 2000"),
        "{text}"
    );
    assert_eq!(ask(served.address, "/livez").await.0, 404);
    served.stop.send(()).unwrap();
    served.server.await.unwrap();
}

struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    served_of(watch::channel(Health::default()).1).await
}

async fn served_of(health: watch::Receiver<Health>) -> Served {
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new(health));
    let server = tokio::spawn(serve_metrics(listener, metrics, async {
        let _ = stopped.await;
    }));
    Served {
        address,
        stop,
        server,
    }
}

/// Whoever can reach this port could have kept a replica from ever stopping: by half a request.
#[tokio::test]
async fn half_a_request_does_not_keep_it_from_stopping() {
    let served = served().await;
    let mut sloth = TcpStream::connect(served.address).await.unwrap();
    sloth.write_all(b"GET /metr").await.unwrap();
    assert_eq!(ask(served.address, "/metrics").await.0, 200);
    served.stop.send(()).unwrap();
    timeout(Duration::from_secs(20), served.server)
        .await
        .expect("it stops")
        .unwrap();
}

/// Every connection is a file descriptor that the store may need.
#[tokio::test]
async fn one_address_does_not_get_more_than_its_part() {
    let served = served().await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS_PER_ADDRESS {
        let mut kept = TcpStream::connect(served.address).await.unwrap();
        kept.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(kept.read_u8().await.unwrap(), b'H');
        connections.push(kept);
    }
    let mut more = TcpStream::connect(served.address).await.unwrap();
    let _ = more
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut said = Vec::new();
    let _ = more.read_to_end(&mut said).await;
    assert_eq!(said, b"", "it is hung up on");
    // When one goes there is a place again.
    connections.pop();
    timeout(Duration::from_secs(20), async {
        loop {
            let mut again = TcpStream::connect(served.address).await.unwrap();
            let _ = again
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                .await;
            if again.read_u8().await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("a place");
}

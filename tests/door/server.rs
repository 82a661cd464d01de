//! `jointoken serve`, the process: what it logs at its loudest, and with few file descriptors.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jointoken::clock::{Clock, SystemClock};
use jointoken::token::{JoinerId, Presented};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::caller::{new_key, request, tls_by_pin};
use crate::world::{eventually, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jointoken");

pub struct Server {
    folder: TempDir,
    pub door: SocketAddr,
    pub metrics: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts it with this many file descriptors and everything logged, and waits for its door.
    async fn start(files: u32) -> Self {
        Self::start_with(files, "trace").await
    }

    pub async fn start_with(files: u32, log: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (door, metrics, probes) = (free_address(), free_address(), free_address());
        let at = |name: &str| folder.path().join(name);
        let config = format!(
            "dataDir: {}\ntrustDomain: edge.example\nadvertiseUrls: [\"https://{door}\"]\nlisten: {door}\nmetricsListen: {metrics}\nprobeListen: {probes}\n",
            at("data").display()
        );
        fs::write(at("serve.yaml"), config).unwrap();
        let process = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -n {files} && exec \"$0\" serve --log {log} --config \"$1\""
            ))
            .arg(PROGRAM)
            .arg(at("serve.yaml"))
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            folder,
            door,
            metrics,
            process,
        };
        eventually("the door", || std::net::TcpStream::connect(door).ok()).await;
        server
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.at("log")).unwrap()).into_owned()
    }

    fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        fs::read_dir(folder).unwrap().count()
    }

    /// The exported key, and a token that it made.
    async fn token(&self) -> (String, String) {
        let (key, socket) = (self.at("key"), self.at("data/admin.sock"));
        let export = ["key", "export", "--pattern", "*", "--max-ttl", "1h"];
        let mut command = Command::new(PROGRAM);
        command.args(export).arg("--admin-socket").arg(socket);
        ok(command.arg("--out").arg(&key)).await;
        let token = self.create(&key).await;
        let key = fs::read_to_string(key).unwrap();
        (key.trim().to_owned(), token)
    }

    /// As many tokens.
    pub async fn tokens(&self, number: usize) -> Vec<String> {
        let mut tokens = vec![self.token().await.1];
        while tokens.len() < number {
            tokens.push(self.create(&self.at("key")).await);
        }
        tokens
    }

    async fn create(&self, key: &Path) -> String {
        let mut command = Command::new(PROGRAM);
        command.args(["create", "--node", "edge-1", "--key-file"]);
        let created = ok(command.arg(key)).await;
        String::from_utf8(created.stdout).unwrap().trim().to_owned()
    }

    pub async fn join(&self, token: &str, out: &Path) {
        let mut command = Command::new(PROGRAM);
        command.args(["join", "--out"]).arg(out);
        ok(command.env("JOINTOKEN_TOKEN", token)).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

async fn ok(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = spawn_blocking(|| child.wait_with_output().unwrap());
    // With as much patience as the door has with half-open connections.
    let output = timeout(Duration::from_secs(60), output).await;
    let output = output.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Lines and words long enough to be somebody's secret.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '"' | ':' | ','))
        .filter(|word| word.len() >= 40)
}

#[tokio::test]
async fn nothing_secret_is_in_the_log_at_its_loudest() {
    let server = Server::start(1_024).await;
    let (key, token) = server.token().await;
    let out = server.at("machine");
    server.join(&token, &out).await;
    let info: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("info.json")).unwrap()).unwrap();
    let id = info["token_id"].as_str().unwrap();
    let log = eventually("the token id in the log", || {
        Some(server.log()).filter(|log| log.contains(id))
    });
    let log = log.await;
    assert!(log.contains("DEBUG"), "it is not at its loudest");

    let mut secrets = vec![key.clone(), token.clone()];
    // Of token and key the ends, where MAC and secret are.
    secrets.push(token[token.len() - 40..token.len() - 6].to_owned());
    secrets.push(key[key.len() - 40..key.len() - 6].to_owned());
    let machine = fs::read_to_string(out.join("tls.key")).unwrap();
    secrets.extend(words(&machine).map(str::to_owned));
    let mut kept = 0;
    for item in fs::read_dir(server.at("data/keys")).unwrap() {
        for file in ["tls.key", "key"] {
            let content = fs::read_to_string(item.as_ref().unwrap().path().join(file));
            let before = secrets.len();
            secrets.extend(
                content
                    .iter()
                    .flat_map(|text| words(text))
                    .map(str::to_owned),
            );
            kept += usize::from(secrets.len() > before);
        }
    }
    // Three CAs' keys and two signing keys.
    assert_eq!(kept, 5);
    for secret in secrets {
        assert!(!log.contains(&secret), "{} characters of it", secret.len());
    }
}

/// Connections without a token took every file descriptor, and the store, which could not open its
/// next file, ended the process.
#[tokio::test]
async fn connections_leave_file_descriptors_to_the_store() {
    let server = Server::start(200).await;
    eventually("the warning", || {
        server.log().contains("RLIMIT_NOFILE").then_some(())
    })
    .await;
    let (_, token) = server.token().await;
    let mut flood = Vec::new();
    for last in 1..=75 {
        for _ in 0..2 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 1, last], 0).into()).unwrap();
            flood.push(soon(socket.connect(server.door)).await.unwrap());
        }
    }
    // All that it takes at a time have been taken.
    eventually("the flood", || (server.open_files() >= 100).then_some(())).await;
    let open = server.open_files();
    assert!(open < 160, "{open} of 200 file descriptors");
    // Who came first makes room, and a machine joins through the flood.
    server.join(&token, &server.at("machine")).await;
    assert!(hung_up(&mut flood[0]).await);
}

/// The audit stopped when the door began to close, and what the door still admitted was in no line.
#[tokio::test]
async fn what_is_admitted_while_it_stops_is_audited() {
    let mut server = Server::start(1_024).await;
    let (_, token) = server.token().await;
    let presented = Presented::parse(&token).unwrap();
    let pin = presented.unverified_delivery().unwrap().door_pin;
    let key = new_key();
    let tls = tls_by_pin(pin, SystemClock.now_ms(), Some(&key));
    let tcp = TcpStream::connect(server.door).await.unwrap();
    let name = ServerName::try_from("door.example").unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    let mut tls = soon(connector.connect(name, tcp)).await.unwrap();
    let body = request(&token, &key).to_string();
    let length = body.len();
    let head = format!(
        "POST /v1/join HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    // The request is at the door, which wants its body.
    let mut said = vec![0; 64];
    let length = soon(tls.read(&mut said)).await.unwrap();
    assert!(said[..length].starts_with(b"HTTP/1.1 100"));

    let pid = server.process.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let door = server.door;
    eventually("the end of the door", || {
        std::net::TcpStream::connect(door).is_err().then_some(())
    })
    .await;
    tls.write_all(body.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = soon(tls.read_to_end(&mut said)).await;
    assert!(
        said.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&said)
    );
    eventually("the end", || server.process.try_wait().unwrap()).await;
    let id = presented.unverified_token_id().to_string();
    let log = server.log();
    let joiner = JoinerId(key.public_key_sha256());
    // Which token, which key, from where.
    let told = [
        id,
        "action=\"admitted\"".to_owned(),
        format!("joiner={joiner}"),
        "address=127.0.0.1".to_owned(),
    ];
    let mut lines = log.lines();
    assert!(
        lines.any(|line| told.iter().all(|part| line.contains(part))),
        "{told:?}"
    );
}

async fn hung_up(connection: &mut TcpStream) -> bool {
    soon(connection.read_u8()).await.is_err()
}

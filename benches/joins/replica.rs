//! The product: `jointoken serve` and the machines that join it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use jointoken::bootstrap::tls_provider;
use jointoken::clock::{Clock, SystemClock};
use jointoken::pki::JoinerKey;
use jointoken::pki::verify::DoorVerifier;
use jointoken::token::{OfflineKeyFile, TokenId};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::version::TLS13;
use serde_json::json;

use super::Server;
use super::connection::{Connection, Failed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jointoken");
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the benchmark, shorter than what the exported key allows.
const TTL_MS: u64 = 3_600_000;

pub struct Replica {
    pub server: Server,
    port: u16,
    key: OfflineKeyFile,
}

/// A machine with a token, before it joins.
pub struct Machine {
    tls: Arc<ClientConfig>,
    join: Bytes,
    acknowledge: Bytes,
}

impl Replica {
    /// Founds a store in `folder` and waits until it serves.
    pub async fn start(folder: &Path) -> Result<Self, Failed> {
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        let config = folder.join("serve.yaml");
        let socket = folder.join("admin.sock");
        let settings = json!({
            "dataDir": folder.join("data"),
            "trustDomain": "bench.example",
            "advertiseUrls": [format!("https://127.0.0.1:{port}")],
            "listen": format!("127.0.0.1:{port}"),
            "metricsListen": format!("127.0.0.1:{}", free_port()?),
            "adminSocket": &socket,
        });
        // JSON is YAML.
        fs::write(&config, settings.to_string())?;
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let server = Server(child);
        let key = exported(&socket, &folder.join("offline.key")).map_err(|error| {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            format!("{error}\nthe replica's log:\n{log}")
        })?;
        Ok(Self { server, port, key })
    }

    /// Machines with keys and tokens.
    pub async fn machines(&self, count: usize) -> Result<Vec<Arc<Machine>>, Failed> {
        (0..count)
            .map(|number| self.machine(number).map(Arc::new))
            .collect()
    }

    fn machine(&self, number: usize) -> Result<Machine, Failed> {
        let now_ms = SystemClock.now_ms();
        let token = self.key.mint(
            TokenId::random()?,
            &format!("node-{number}"),
            now_ms,
            TTL_MS,
        )?;
        let presented = jointoken::token::Presented::parse(token.expose())?;
        let key = JoinerKey::generate()?;
        let provider = tls_provider();
        let verifier = DoorVerifier::new(self.key.delivery.door_pin, None, &provider);
        let certificate = key.self_signed_cert_der(now_ms)?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![certificate.into()], key.private_key())?;
        tls.resumption = Resumption::disabled();
        let join = json!({ "token": token.expose(), "csr": key.csr_pem()? });
        let acknowledge = json!({ "token_id": presented.unverified_token_id().to_string() });
        Ok(Machine {
            tls: Arc::new(tls),
            join: join.to_string().into(),
            acknowledge: acknowledge.to_string().into(),
        })
    }

    /// Everything that a machine says to be admitted.
    pub async fn join(&self, machine: &Machine, source: Ipv4Addr) -> Result<(), Failed> {
        let mut connection = self.connect(machine, source).await?;
        let answer = connection
            .request("POST", "/v1/join", machine.join.clone())
            .await?;
        if !answer.windows(11).any(|part| part == b"CERTIFICATE") {
            return Err("an answer without a certificate".into());
        }
        connection
            .request("POST", "/v1/ack", machine.acknowledge.clone())
            .await?;
        Ok(())
    }

    /// The connection and the question about the clock that come before it.
    pub async fn greet(&self, machine: &Machine, source: Ipv4Addr) -> Result<(), Failed> {
        self.connect(machine, source).await.map(drop)
    }

    async fn connect(&self, machine: &Machine, source: Ipv4Addr) -> Result<Connection, Failed> {
        let mut connection = Connection::open(source, self.port, Arc::clone(&machine.tls)).await?;
        connection.request("GET", "/v1/ca", Bytes::new()).await?;
        Ok(connection)
    }
}

/// A key for minting, as soon as the replica gives one.
fn exported(socket: &Path, file: &Path) -> Result<OfflineKeyFile, Failed> {
    let started = Instant::now();
    loop {
        let ran = Command::new(PROGRAM)
            .args(["key", "export", "--pattern", "*", "--max-ttl", "1d"])
            .arg("--admin-socket")
            .arg(socket)
            .arg("--out")
            .arg(file)
            .output()?;
        if ran.status.success() {
            return Ok(OfflineKeyFile::parse(&fs::read_to_string(file)?)?);
        }
        if started.elapsed() > PATIENCE {
            return Err(String::from_utf8_lossy(&ran.stderr).into_owned().into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that is free now.
pub fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

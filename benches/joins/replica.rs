//! The product: one or several replicas of `jointoken serve`, and the machines that join.

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

/// One replica, or a group of several.
pub struct Replicas {
    pub servers: Vec<Server>,
    doors: Vec<u16>,
    key: OfflineKeyFile,
}

/// A machine with a token, before it joins.
pub struct Machine {
    tls: Arc<ClientConfig>,
    join: Bytes,
    acknowledge: Bytes,
}

impl Replicas {
    /// Founds a store of so many replicas in `folder` and waits until all are members and serve.
    pub async fn start(folder: &Path, size: usize) -> Result<Self, Failed> {
        fs::create_dir_all(folder)?;
        let ports = |_| Ok::<_, Failed>((free_port()?, free_port()?, free_port()?, free_port()?));
        let ports = (0..size).map(ports).collect::<Result<Vec<_>, _>>()?;
        let address = |of: &(u16, u16, u16, u16)| format!("127.0.0.1:{}", of.2);
        let members: Vec<_> = ports.iter().map(address).collect();
        let mut servers = Vec::new();
        for (number, of) in ports.iter().enumerate() {
            let (door, metrics, _, probes) = of;
            let own = folder.join(number.to_string());
            fs::create_dir_all(&own)?;
            let mut settings = json!({
                "dataDir": own.join("data"),
                "trustDomain": "bench.example",
                "advertiseUrls": [format!("https://127.0.0.1:{door}")],
                "listen": format!("127.0.0.1:{door}"),
                "metricsListen": format!("127.0.0.1:{metrics}"),
                "probeListen": format!("127.0.0.1:{probes}"),
            });
            if size > 1 {
                settings["keysDir"] = json!(folder.join("keys"));
                settings["peers"] = json!({
                    "listen": address(of),
                    "address": address(of),
                    "members": &members,
                });
            }
            let config = own.join("serve.yaml");
            // JSON is YAML.
            fs::write(&config, settings.to_string())?;
            let child = Command::new(PROGRAM)
                .args(["serve", "--config"])
                .arg(&config)
                .args((number == 0 && size > 1).then_some("--new-group"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(own.join("log"))?)
                .spawn()?;
            servers.push(Server(child));
        }
        let socket = |number: usize| folder.join(number.to_string()).join("data/admin.sock");
        let key = exported(&socket(0), &folder.join("offline.key")).map_err(|error| {
            let log = fs::read_to_string(folder.join("0/log")).unwrap_or_default();
            format!("{error}\nthe replica's log:\n{log}")
        })?;
        for number in 0..size {
            until_voting(&socket(number), size)?;
        }
        Ok(Self {
            servers,
            doors: ports.iter().map(|(door, ..)| *door).collect(),
            key,
        })
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
        // Every address has its door.
        let door = self.doors[usize::from(source.octets()[3]) % self.doors.len()];
        let mut connection = Connection::open(source, door, Arc::clone(&machine.tls)).await?;
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

/// Waits until this replica knows so many voters.
fn until_voting(socket: &Path, size: usize) -> Result<(), Failed> {
    let started = Instant::now();
    loop {
        let ran = Command::new(PROGRAM)
            .args(["store", "members", "--output", "json", "--admin-socket"])
            .arg(socket)
            .output()?;
        let seen: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
        let members = seen["members"].as_array().into_iter().flatten();
        if members.filter(|member| member["role"] != "learner").count() == size {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("the group did not form: {seen}").into());
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

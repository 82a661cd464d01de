//! The peer: a token store as one would make it of etcd.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use hyper::body::Bytes;
use jointoken::bootstrap::tls_provider;
use rustls::client::Resumption;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::Server;
use super::connection::{Connection, Failed};
use super::replica::free_port;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Etcd {
    pub servers: Vec<Server>,
    ports: Vec<u16>,
    tls: Arc<ClientConfig>,
}

impl Etcd {
    /// Starts so many members with their data in `folder`, synced as etcd does by default, and waits until they serve.
    pub async fn start(program: &Path, folder: &Path, size: usize) -> Result<Self, Failed> {
        fs::create_dir_all(folder)?;
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&certificate, certified.cert.pem())?;
        fs::write(&key, certified.signing_key.serialize_pem())?;
        let ports = |_| Ok::<_, Failed>((free_port()?, free_port()?));
        let ports = (0..size).map(ports).collect::<Result<Vec<_>, _>>()?;
        // Between its members etcd speaks in the clear here: a cost less than ours.
        let peer = |number: usize| format!("http://127.0.0.1:{}", ports[number].1);
        let cluster = (0..size).map(|number| format!("m{number}={}", peer(number)));
        let cluster = cluster.collect::<Vec<_>>().join(",");
        let mut servers = Vec::new();
        for (number, (port, _)) in ports.iter().enumerate() {
            let clients = format!("https://127.0.0.1:{port}");
            let child = Command::new(program)
                .arg("--data-dir")
                .arg(folder.join(format!("data-{number}")))
                .arg("--cert-file")
                .arg(&certificate)
                .arg("--key-file")
                .arg(&key)
                .args(["--name", &format!("m{number}")])
                .args(["--listen-client-urls", &clients])
                .args(["--advertise-client-urls", &clients])
                .args(["--listen-peer-urls", &peer(number)])
                .args(["--initial-advertise-peer-urls", &peer(number)])
                .args(["--initial-cluster", &cluster])
                .args(["--log-level", "error"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.join(format!("log-{number}")))?)
                .spawn()?;
            servers.push(Server(child));
        }

        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone())?;
        let mut tls = ClientConfig::builder_with_provider(tls_provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.resumption = Resumption::disabled();
        let etcd = Self {
            servers,
            ports: ports.iter().map(|(port, _)| *port).collect(),
            tls: Arc::new(tls),
        };
        let started = Instant::now();
        while let Err(error) = etcd.admit("ready", Ipv4Addr::LOCALHOST).await {
            if started.elapsed() > PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(etcd)
    }

    /// Claims a token that nobody has claimed, then admits whoever has claimed it.
    pub async fn admit(&self, token: &str, source: Ipv4Addr) -> Result<(), Failed> {
        let port = self.ports[usize::from(source.octets()[3]) % self.ports.len()];
        let mut connection = Connection::open(source, port, Arc::clone(&self.tls)).await?;
        let key = BASE64.encode(token.as_bytes());
        let claimed = BASE64.encode(b"claimed by this machine");
        // Of the size of a record that keeps a certificate.
        let admitted = BASE64.encode(&[7; 700]);
        let unclaimed = json!({ "key": key, "target": "VERSION", "version": "0" });
        succeed(&mut connection, unclaimed, &key, &claimed).await?;
        let mine = json!({ "key": key, "target": "VALUE", "value": claimed });
        succeed(&mut connection, mine, &key, &admitted).await
    }
}

async fn succeed(
    connection: &mut Connection,
    compare: Value,
    key: &str,
    value: &str,
) -> Result<(), Failed> {
    let put = json!({ "requestPut": { "key": key, "value": value } });
    let transaction = json!({ "compare": [compare], "success": [put] });
    let body = Bytes::from(transaction.to_string());
    let answer = connection.request("POST", "/v3/kv/txn", body).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    if answer["succeeded"] != true {
        return Err(format!("the transaction did not succeed: {answer}").into());
    }
    Ok(())
}

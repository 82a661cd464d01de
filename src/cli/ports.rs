//! The ports of a replica: taken before anything is founded, listened on once everything is open.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::config::ServerConfig;
use super::exit::{Exit, Failure};

/// So many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Where a replica is going to listen.
pub(super) struct Ports {
    pub(super) door: Port,
    pub(super) metrics: Port,
    pub(super) peers: Option<Port>,
}

impl Ports {
    pub(super) fn take(config: &ServerConfig) -> Result<Self, Failure> {
        let what = "metrics and health";
        Ok(Self {
            door: Port::take(config.listen, "the door", "--listen")?,
            metrics: Port::take(config.metrics_listen, what, "--metrics-listen")?,
            peers: (config.peers.as_ref())
                .map(|peers| {
                    Port::take(
                        peers.listen,
                        "the other replicas",
                        "--peer-listen, or peers.listen",
                    )
                })
                .transpose()?,
        })
    }
}

/// A port that is ours; whoever connects to it is refused until it listens.
pub(super) struct Port {
    socket: TcpSocket,
    address: SocketAddr,
    what: &'static str,
    flag: &'static str,
}

impl Port {
    fn take(address: SocketAddr, what: &'static str, flag: &'static str) -> Result<Self, Failure> {
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Connections of a former process may still be ending.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = bound().map_err(|error| cannot_listen(address, what, flag, &error))?;
        Ok(Self {
            socket,
            address,
            what,
            flag,
        })
    }

    pub(super) fn listen(self) -> Result<TcpListener, Failure> {
        let Self {
            socket,
            address,
            what,
            flag,
        } = self;
        let listening = socket.listen(BACKLOG);
        listening.map_err(|error| cannot_listen(address, what, flag, &error))
    }
}

fn cannot_listen(address: SocketAddr, what: &str, flag: &str, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; something else listens there: give another {flag}")
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges".to_owned(),
        _ => String::new(),
    };
    Failure::new(
        Exit::Failed,
        format_args!("cannot listen on {address} for {what}: {error}{hint}"),
    )
}

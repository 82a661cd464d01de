//! The ports of a replica: taken before anything is founded, listened on once everything is open.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};

use super::config::ServerConfig;
use super::exit::{Exit, Failure};
use crate::net::file_words;

/// So many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Where a replica is going to listen.
pub(super) struct Ports {
    pub(super) door: Port,
    pub(super) watched: WatchedPorts,
    pub(super) peers: Option<Port>,
}

/// Where somebody can change a port.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    flag: &'static str,
    field: &'static str,
    is_flag: bool,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_flag {
            true => write!(f, "{}", self.flag),
            false => write!(f, "{} in the configuration file", self.field),
        }
    }
}

impl Ports {
    pub(super) fn take(config: &ServerConfig) -> Result<Self, Failure> {
        let setting = |flag, field| Setting {
            flag,
            field,
            is_flag: config.is_of_flags,
        };
        Ok(Self {
            door: Port::take(config.listen, "the door", setting("--listen", "listen"))?,
            watched: WatchedPorts::take(config.watched(), config.is_of_flags)?,
            peers: (config.peers.as_ref())
                .map(|peers| {
                    let setting = setting("--peer-listen", "peers.listen");
                    Port::take(peers.listen, "the other replicas", setting)
                })
                .transpose()?,
        })
    }
}

/// Where it is told how a replica is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) metrics: SocketAddr,
    pub(super) probes: SocketAddr,
}

/// The ports where it is told how a replica is.
pub(super) struct WatchedPorts {
    metrics: Port,
    probes: Port,
}

/// The same, listened on.
pub(super) struct WatchedListeners {
    pub(super) metrics: TcpListener,
    pub(super) probes: TcpListener,
}

impl WatchedPorts {
    pub(super) fn take(listen: Watched, is_flag: bool) -> Result<Self, Failure> {
        let setting = |flag, field| Setting {
            flag,
            field,
            is_flag,
        };
        let metrics = setting("--metrics-listen", "metricsListen");
        let probes = setting("--probe-listen", "probeListen");
        Ok(Self {
            metrics: Port::take(listen.metrics, "metrics", metrics)?,
            probes: Port::take(listen.probes, "probes", probes)?,
        })
    }

    pub(super) fn listen(self) -> Result<WatchedListeners, Failure> {
        Ok(WatchedListeners {
            metrics: self.metrics.listen()?,
            probes: self.probes.listen()?,
        })
    }
}

/// Whether each has an address of its own.
///
/// # Errors
/// Names two that have the same.
pub(super) fn check(config: &ServerConfig) -> Result<(), String> {
    let peers = config.peers.as_ref().map(|peers| peers.listen);
    let all = [
        (Some(config.listen), "the door"),
        (Some(config.metrics_listen), "the metrics"),
        (Some(config.probe_listen), "the probes"),
        (peers, "the other replicas"),
    ];
    for (at, (address, what)) in all.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        let mut before = all.iter().take(at);
        if let Some((_, other)) = before.find(|(other, _)| *other == Some(address)) {
            return Err(format!(
                "{other} and {what} cannot both listen on {address}: give one of them another port"
            ));
        }
    }
    Ok(())
}

/// A port that is ours; whoever connects to it is refused until it listens.
pub(super) struct Port {
    socket: TcpSocket,
    address: SocketAddr,
    what: &'static str,
    setting: Setting,
}

impl Port {
    fn take(address: SocketAddr, what: &'static str, setting: Setting) -> Result<Self, Failure> {
        let (socket, address) =
            bind(address, bound).map_err(|error| cannot_listen(address, what, setting, &error))?;
        Ok(Self {
            socket,
            address,
            what,
            setting,
        })
    }

    pub(super) fn listen(self) -> Result<TcpListener, Failure> {
        let Self {
            socket,
            address,
            what,
            setting,
        } = self;
        let listening = socket.listen(BACKLOG);
        listening.map_err(|error| cannot_listen(address, what, setting, &error))
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a former process may still be ending.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Binds, and tells where. Where the kernel knows no IPv6, "all addresses" are those of IPv4.
fn bind<S>(
    address: SocketAddr,
    bound: impl Fn(SocketAddr) -> io::Result<S>,
) -> io::Result<(S, SocketAddr)> {
    let error = match bound(address) {
        Ok(socket) => return Ok((socket, address)),
        Err(error) => error,
    };
    if address.ip() != Ipv6Addr::UNSPECIFIED || !has_no_family(&error) {
        return Err(error);
    }
    let instead = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let socket = bound(instead)?;
    tracing::info!(%address, %instead, "this machine has no IPv6: listening on all its IPv4 addresses instead");
    Ok((socket, instead))
}

fn has_no_family(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    code == Some(Errno::AFNOSUPPORT)
}

fn cannot_listen(address: SocketAddr, what: &str, setting: Setting, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; something else listens there: give another {setting}")
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            format!("; no interface of this machine has that address: give another {setting}")
        }
        _ if has_no_family(error) => {
            format!(
                "; this machine has no IPv6: give an IPv4 address as {setting}, such as 0.0.0.0:{}",
                address.port()
            )
        }
        _ => String::new(),
    };
    Failure::new(
        Exit::Failed,
        format_args!(
            "cannot listen on {address} for {what}: {}{hint}",
            file_words(error)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel without IPv6, as `ipv6.disable=1` makes it.
    fn old_kernel(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.is_ipv4() {
            true => Ok(address),
            false => Err(Errno::AFNOSUPPORT.into()),
        }
    }

    #[test]
    fn all_addresses_are_those_of_ipv4_where_there_is_no_ipv6() {
        let all: SocketAddr = "[::]:8443".parse().unwrap();
        let instead = "0.0.0.0:8443".parse().unwrap();
        assert_eq!(bind(all, old_kernel).unwrap(), (instead, instead));
        // Whoever names an address means it.
        let loopback = "[::1]:8443".parse().unwrap();
        let error = bind(loopback, old_kernel).unwrap_err();
        assert!(has_no_family(&error));
        let taken = bind(all, |_| Err::<(), _>(Errno::ADDRINUSE.into()));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn who_cannot_listen_is_told_what_to_change() {
        let setting = |is_flag| Setting {
            flag: "--listen",
            field: "listen",
            is_flag,
        };
        let address = "[::1]:8443".parse().unwrap();
        let said = |error: Errno, is_flag| {
            cannot_listen(address, "the door", setting(is_flag), &error.into()).message
        };
        let in_use = said(Errno::ADDRINUSE, false);
        assert!(
            in_use.ends_with("give another listen in the configuration file"),
            "{in_use}"
        );
        let in_use = said(Errno::ADDRINUSE, true);
        assert!(in_use.ends_with("give another --listen"), "{in_use}");
        let no_ipv6 = said(Errno::AFNOSUPPORT, true);
        assert!(no_ipv6.contains("0.0.0.0:8443"), "{no_ipv6}");
    }
}

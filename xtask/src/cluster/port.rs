//! Ports chosen by the kernel.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

/// A port of 127.0.0.1 that is ours as long as this lives. Only a server that shares ports (`SO_REUSEPORT`) and
/// runs as the same user can listen on it, so nobody can take it between the choice and the server's start.
pub struct ReservedPort {
    /// Bound, never listening: no connection ends here.
    _socket: OwnedFd,
    number: u16,
}

impl ReservedPort {
    pub fn new() -> Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = SocketAddrV4::try_from(getsockname(&socket)?)?;
        Ok(ReservedPort {
            number: address.port(),
            _socket: socket,
        })
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// A port that is free now, for a server that does not share ports. Another process may take it first; then
/// the server says so and ends.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_to_others() {
        let port = ReservedPort::new().unwrap();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).is_err());
        let other = ReservedPort::new().unwrap();
        assert_ne!(port.number(), other.number());
    }
}

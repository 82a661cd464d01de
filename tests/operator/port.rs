//! Ports chosen by the kernel, for a server that is told its port before it starts.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A port of 127.0.0.1 that the kernel gives to nobody else for the next minute: a connection of it is left in
/// TIME_WAIT, which keeps it from being chosen again, but not from being listened on by its number (servers set
/// `SO_REUSEADDR`). So nobody takes it between the choice and the server's start, nor while a server is
/// started again.
pub fn reserve() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its number");
    let mut client = TcpStream::connect(address).expect("connecting to ourselves");
    let (served, _) = listener.accept().expect("that connection");
    // Whoever closes first is left in TIME_WAIT.
    drop(served);
    let end = client.read(&mut [0]).expect("the end of the connection");
    assert_eq!(end, 0);
    address.port()
}

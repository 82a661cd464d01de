//! Where a connection comes from that a load balancer passes on: the PROXY protocol, version 2
//! (haproxy.org/download/1.8/doc/proxy-protocol.txt).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Signature, version, family and length.
const HEAD: usize = 16;
/// Addresses take 36 bytes at most; what else a load balancer tells is not read, but passed over.
const MAX_REST: usize = 2 * 1024;
/// It sends its header together with the connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the header that a load balancer sends first, and not a byte more. `None`: it speaks for
/// itself, or does not know the address.
pub(super) async fn client_address(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<SocketAddr>> {
    let read = timeout(PATIENCE, read_header(stream));
    let header = read.await??;
    let header = Header::try_from(header.as_slice()).map_err(|_| malformed())?;
    Ok(match (header.command, header.addresses) {
        (Command::Local, _) => None,
        (Command::Proxy, Addresses::IPv4(v4)) => Some((v4.source_address, v4.source_port).into()),
        (Command::Proxy, Addresses::IPv6(v6)) => Some((v6.source_address, v6.source_port).into()),
        (Command::Proxy, Addresses::Unix(_) | Addresses::Unspecified) => None,
    })
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = vec![0; HEAD];
    stream.read_exact(&mut header).await?;
    if !header.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        return Err(malformed());
    }
    let rest = usize::from(u16::from_be_bytes([header[HEAD - 2], header[HEAD - 1]]));
    if rest > MAX_REST {
        return Err(malformed());
    }
    header.resize(HEAD + rest, 0);
    stream.read_exact(&mut header[HEAD..]).await?;
    Ok(header)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "no header of the PROXY protocol, version 2, though this peer is to send one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with this command and family, and these bytes behind it.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = ppp::v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 1, 0x30, 0x39, 0x20, 0xfb];

    async fn read(bytes: &[u8]) -> Result<Option<SocketAddr>, io::ErrorKind> {
        let sent = [bytes, b"TLS"].concat();
        let mut stream = sent.as_slice();
        let address = client_address(&mut stream).await.map_err(|e| e.kind())?;
        assert_eq!(stream, b"TLS", "it has read too much or too little");
        Ok(address)
    }

    #[tokio::test]
    async fn the_clients_address_is_read_and_nothing_else() {
        let client = Some("192.0.2.7:12345".parse().unwrap());
        assert_eq!(read(&header(1, 0x11, &V4)).await, Ok(client));
        let with_more = [&V4[..], &[4, 0, 1, 9], &[0; 900]].concat();
        assert_eq!(read(&header(1, 0x11, &with_more)).await, Ok(client));
        let v6: Vec<u8> = [&[0x20; 32][..], &[0, 80, 1, 0xbb]].concat();
        let client = Some(
            "[2020:2020:2020:2020:2020:2020:2020:2020]:80"
                .parse()
                .unwrap(),
        );
        assert_eq!(read(&header(1, 0x21, &v6)).await, Ok(client));
    }

    #[tokio::test]
    async fn a_load_balancer_may_speak_for_itself() {
        assert_eq!(read(&header(0, 0, &[])).await, Ok(None));
        assert_eq!(read(&header(0, 0x11, &V4)).await, Ok(None));
        assert_eq!(read(&header(1, 0, &[])).await, Ok(None));
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let wrong = Err(io::ErrorKind::InvalidData);
        let mut version = header(1, 0x11, &V4);
        version[12] = 0x11;
        for bytes in [
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n".to_vec(),
            [0x16; 64].to_vec(),
            version,
            header(2, 0x11, &V4),
            header(1, 0x11, &V4[..8]),
            header(1, 0x11, &[0; MAX_REST + 1]),
        ] {
            assert_eq!(read(&bytes).await, wrong, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let (mut ours, _theirs) = tokio::io::duplex(64);
        let error = client_address(&mut ours).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

//! A way through an HTTP proxy: `CONNECT` (RFC 9110 section 9.3.6). What goes through it is the caller's, byte by byte.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::dial::{DialError, dial};
use super::proxy::Proxy;
use super::words::io_words;

/// Longer than the head of any proxy's answer.
const MAX_HEAD: usize = 16 * 1024;

/// Why there is no way through the proxy.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// It was not reached.
    #[error("the proxy is not reached: {0}")]
    Dial(#[from] DialError),
    /// The connection to it broke.
    #[error("the connection to the proxy broke: {}", io_words(.0))]
    Broken(io::Error),
    /// The time was over before it answered.
    #[error("the proxy did not answer within {} s", within.as_secs_f64())]
    TooSlow {
        /// How long it was waited for.
        within: Duration,
    },
    /// It wants credentials, or others.
    #[error(
        "the proxy asks who this is (HTTP status 407): put the right USER:PASSWORD into its URL"
    )]
    Credentials,
    /// It does not allow it.
    #[error(
        "the proxy does not let connections through to there (HTTP status {0}): its rules have to allow it, or NO_PROXY to name the host"
    )]
    Refused(u16),
    /// It cannot do it now.
    #[error("the proxy did not get through to there (HTTP status {0})")]
    Failed(u16),
    /// What answers is no HTTP proxy.
    #[error("what is said to be a proxy does not answer like one: check its URL")]
    NoProxy,
}

impl TunnelError {
    /// Whether it may be otherwise a moment later.
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Dial(_) | Self::Broken(_) | Self::TooSlow { .. } | Self::Failed(_)
        )
    }
}

/// Connects to `host` at `port` through the proxy, within `within` for everything together. The proxy looks the name up.
///
/// # Errors
/// [`TunnelError`] when there is no way through.
pub async fn tunnel(
    proxy: &Proxy,
    host: &str,
    port: u16,
    within: Duration,
) -> Result<TcpStream, TunnelError> {
    let until = Instant::now() + within;
    let mut tcp = dial(proxy.host_and_port(), within).await?;
    let asked = timeout_at(until, connect(&mut tcp, proxy, host, port)).await;
    asked.unwrap_or(Err(TunnelError::TooSlow { within }))?;
    Ok(tcp)
}

async fn connect(
    tcp: &mut TcpStream,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), TunnelError> {
    let to = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let version = env!("CARGO_PKG_VERSION");
    let authorization = proxy.authorization().unwrap_or_default();
    // With room for all of it: what grows leaves a copy of the credentials behind.
    let mut request = Zeroizing::new(String::with_capacity(
        256 + 2 * to.len() + authorization.len(),
    ));
    let mut write = |line: std::fmt::Arguments<'_>| request.write_fmt(line).is_ok();
    write(format_args!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
    write(format_args!("User-Agent: jointoken/{version}\r\n"));
    if !authorization.is_empty() {
        write(format_args!("Proxy-Authorization: {authorization}\r\n"));
    }
    write(format_args!("\r\n"));
    let written = tcp.write_all(request.as_bytes()).await;
    written.map_err(TunnelError::Broken)?;
    let head = head(tcp).await?;
    match status(&head).ok_or(TunnelError::NoProxy)? {
        200..=299 => Ok(()),
        407 => Err(TunnelError::Credentials),
        status @ 500..=599 | status @ 408 | status @ 429 => Err(TunnelError::Failed(status)),
        status => Err(TunnelError::Refused(status)),
    }
}

/// The head of the proxy's answer, and not a byte of what is behind it.
async fn head(tcp: &mut TcpStream) -> Result<Vec<u8>, TunnelError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD || !b"HTTP/1.".starts_with(head.get(..7).unwrap_or(&head)) {
            return Err(TunnelError::NoProxy);
        }
        // Behind the head begins what the far end says: that is not for us to read.
        match tcp.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => return Err(TunnelError::Broken(error)),
        }
    }
    Ok(head)
}

/// The number in `HTTP/1.1 200 …`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    words
        .next()?
        .parse()
        .ok()
        .filter(|status| (200..600).contains(status))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    /// Asks one that answers by these bytes; what it was asked, and how that ended.
    async fn asked(user: &str, answer: &'static [u8]) -> (String, Result<TcpStream, TunnelError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy: Proxy = format!("http://{user}127.0.0.1:{port}").parse().unwrap();
        let answering = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(tcp.read_u8().await.unwrap());
            }
            tcp.write_all(answer).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let ended = tunnel(&proxy, "fd00::1", 8443, WITHIN).await;
        (answering.await.unwrap(), ended)
    }

    #[tokio::test]
    async fn a_tunnel_begins_right_behind_the_proxys_answer() {
        let (request, ended) = asked(
            "user:word@",
            b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nhello",
        )
        .await;
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            request,
            format!(
                "CONNECT [fd00::1]:8443 HTTP/1.1\r\nHost: [fd00::1]:8443\r\nUser-Agent: jointoken/{version}\r\n\
                 Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n\r\n"
            )
        );
        let mut behind = String::new();
        ended.unwrap().read_to_string(&mut behind).await.unwrap();
        assert_eq!(behind, "hello");
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        for (answer, says, is_temporary) in [
            (&b"HTTP/1.1 407 Authenticate\r\n\r\n"[..], "407", false),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n<html>", "status 403", false),
            (b"HTTP/1.1 503 No\r\n\r\n", "did not get through", true),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "check its URL", false),
            (b"HTTP/1.1 x\r\n\r\n", "check its URL", false),
            (
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                "check its URL",
                false,
            ),
            (b"HTTP/1.1 200", "the connection to the proxy broke", true),
        ] {
            let (request, ended) = asked("", answer).await;
            assert!(!request.contains("Authorization"), "{request}");
            let error = ended.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.is_temporary(), is_temporary, "{error}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("http://{}", listener.local_addr().unwrap());
        let within = Duration::from_millis(300);
        let error = tunnel(&silent.parse().unwrap(), "door", 1, within).await;
        assert!(matches!(error, Err(TunnelError::TooSlow { .. })));
    }
}

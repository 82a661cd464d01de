//! Connecting by TCP: to whichever address of a name answers first, directly or through an HTTP proxy; and what to call it when
//! that fails. And of those who connect here: which addresses are one source, whose turn it is, and how far
//! a handshake has come.
//!
//! This room speaks no TLS, though it has words for its errors, and does not know who is asked for what.

mod dial;
mod handshake;
mod proxy;
mod site;
mod tunnel;
mod turns;
mod words;

pub use dial::{DialError, dial};
pub(crate) use handshake::{Progress, Watched};
pub use proxy::{NoProxy, Proxies, Proxy, ProxyUrlError};
pub(crate) use site::site;
pub use tunnel::{TunnelError, tunnel};
pub(crate) use turns::{Turns, Worker};
pub use words::{file_words, io_words, tls_in, tls_words};

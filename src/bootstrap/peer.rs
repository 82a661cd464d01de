//! Who is at the other end of a connection, computed once, when its handshake is done.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rustls::pki_types::CertificateDer;

use crate::pki::spki_sha256_of_cert;
use crate::token::JoinerId;

use super::error::DoorError;
use super::places::Place;

/// What the TLS handshake proved of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Nothing.
    Anonymous,
    /// It holds the private key of a certificate that it signed itself.
    SelfSigned {
        /// SHA-256 of its public key.
        joiner: JoinerId,
    },
}

impl Peer {
    /// What a certificate chain says that the TLS layer has accepted.
    pub(super) fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(certificate) = certificates.and_then(<[_]>::first) else {
            return Self::Anonymous;
        };
        // One that cannot be read proves nothing; the verifier has refused those already.
        spki_sha256_of_cert(certificate).map_or(Self::Anonymous, |sha256| Self::SelfSigned {
            joiner: JoinerId(sha256),
        })
    }

    /// The key that the peer proved to hold.
    pub const fn joiner(&self) -> Option<JoinerId> {
        match self {
            Self::Anonymous => None,
            Self::SelfSigned { joiner } => Some(*joiner),
        }
    }

    /// As [`Peer::joiner`], for routes that cannot do without.
    pub(super) fn require_joiner(&self) -> Result<JoinerId, DoorError> {
        self.joiner().ok_or(DoorError::NoClientCertificate)
    }
}

/// A connection, as its requests see it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) remote: SocketAddr,
    /// What it takes of those that there are.
    pub(super) place: Arc<Place>,
    /// The requests that it has made.
    pub(super) requests: Arc<AtomicU32>,
}

impl Connection {
    /// Where it comes from. An IPv4 address in IPv6's clothes (RFC 4291 section 2.5.5.2), which
    /// a socket for both sees, is the IPv4 address: source CIDRs and limits mean that.
    pub(super) fn address(&self) -> IpAddr {
        self.remote.ip().to_canonical()
    }
}

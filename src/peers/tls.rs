//! TLS as replicas speak it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::clock::Clock;
use crate::pki::verify::PeerVerifier;
use crate::pki::{PeerIdentity, PkiError, TrustDomain};
use crate::store::PeerAddress;

/// What a replica needs for a handshake, as client and as server.
///
/// TLS 1.3 alone, with a certificate on both sides and without session tickets: each connection proves anew who is there.
#[derive(Clone)]
pub struct PeerTls {
    identity: watch::Receiver<Arc<PeerIdentity>>,
    verifier: Arc<PeerVerifier>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
}

impl PeerTls {
    /// `identity` is what this replica shows, as of each handshake; `cas` are the certificates in DER of the peers' CAs that it
    /// trusts, during a rotation the old one and the new.
    ///
    /// # Errors
    /// When there is no CA, or one of another role or trust domain.
    pub fn new(
        identity: watch::Receiver<Arc<PeerIdentity>>,
        cas: &[impl AsRef<[u8]>],
        trust_domain: &TrustDomain,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PkiError> {
        // Both ends are ours: no reason for any other key exchange than the post-quantum hybrid.
        let provider = Arc::new(CryptoProvider {
            kx_groups: vec![kx_group::X25519MLKEM768],
            ..aws_lc_rs::default_provider()
        });
        Ok(Self {
            identity,
            verifier: Arc::new(PeerVerifier::new(cas, trust_domain, &provider)?),
            provider,
            clock,
        })
    }

    pub(super) fn connector(&self) -> Result<TlsConnector, rustls::Error> {
        let mut config =
            ClientConfig::builder_with_details(Arc::clone(&self.provider), self.time())
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
                .with_client_cert_resolver(self.shown());
        config.resumption = Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let mut config =
            ServerConfig::builder_with_details(Arc::clone(&self.provider), self.time())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(Arc::clone(&self.verifier) as _)
                .with_cert_resolver(self.shown());
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The address that the other end of a finished handshake has proven.
    pub(super) fn proven(
        &self,
        certificates: Option<&[CertificateDer<'static>]>,
    ) -> Result<PeerAddress, String> {
        let leaf = certificates.and_then(|chain| chain.first());
        let leaf = leaf.ok_or("it showed no certificate")?;
        let address = self.verifier.address_of(leaf);
        Ok(PeerAddress::new(
            &address.map_err(|error| error.to_string())?,
        ))
    }

    fn shown(&self) -> Arc<SingleCertAndKey> {
        let identity = self.identity.borrow();
        Arc::new(SingleCertAndKey::from(identity.certified_key()))
    }

    fn time(&self) -> Arc<dyn TimeProvider> {
        Arc::new(Time(Arc::clone(&self.clock)))
    }
}

/// Our clock, as rustls asks for the time.
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.now_ms(),
        )))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

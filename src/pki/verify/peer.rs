//! Two replicas' check of each other.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::pki::authority::{AuthorityFacts, CaRole};
use crate::pki::certificate;
use crate::pki::error::PkiError;
use crate::pki::names::{TrustDomain, peer_host};
use crate::pki::peer::peer_uri_prefix;

use super::signatures::Signatures;

/// A certificate that does not prove the address of one peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate does not name one peer of trust domain {trust_domain}")]
pub struct NotAPeer {
    /// The trust domain of whoever looked.
    pub trust_domain: String,
}

impl From<NotAPeer> for rustls::Error {
    fn from(refusal: NotAPeer) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// Trusts who shows a valid certificate by a peers' CA of the trust domain that names exactly one peer. Both ends of a connection
/// use it, each for the other.
///
/// *Which* peer it is, is read afterwards, by [`PeerVerifier::address_of`]: the client holds it against the address that it
/// dialled, the server tells its service.
#[derive(Debug)]
pub struct PeerVerifier {
    trust_domain: TrustDomain,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    signatures: Signatures,
}

impl PeerVerifier {
    /// `cas` are the certificates of the peers' CAs in DER: one, or during a rotation the old one and the new.
    ///
    /// # Errors
    /// When there is none, and when one of them is the CA of another role or of another trust domain.
    pub fn new(
        cas: &[impl AsRef<[u8]>],
        trust_domain: &TrustDomain,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, PkiError> {
        if cas.is_empty() {
            return Err(PkiError::NoPeersCa);
        }
        let mut roots = RootCertStore::empty();
        for ca in cas {
            let facts = AuthorityFacts::of(&certificate::parse(ca.as_ref())?)?;
            facts.require(CaRole::Peers, trust_domain)?;
            roots
                .add(ca.as_ref().to_vec().into())
                .map_err(|_| PkiError::Certificate("it cannot be a trust anchor"))?;
        }
        let roots = Arc::new(roots);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .build()
                .map_err(|error| PkiError::Crypto(error.to_string()))?;
        Ok(Self {
            trust_domain: trust_domain.clone(),
            roots,
            clients,
            signatures: Signatures::new(provider),
        })
    }

    /// The address, `host:port`, in a peer's certificate. It proves nothing unless the certificate was verified, which a
    /// handshake with this verifier has done.
    ///
    /// # Errors
    /// When it has any other number of our URIs than one, or one that is not of a peer of this trust domain.
    pub fn address_of(&self, leaf: &CertificateDer<'_>) -> Result<String, NotAPeer> {
        let not_a_peer = || NotAPeer {
            trust_domain: self.trust_domain.to_string(),
        };
        let parsed = certificate::parse(leaf).map_err(|_| not_a_peer())?;
        let uri = certificate::own_uri(&parsed).map_err(|_| not_a_peer())?;
        match uri.and_then(|uri| uri.strip_prefix(&peer_uri_prefix(&self.trust_domain))) {
            Some(address) if peer_host(address).is_ok() => Ok(address.to_owned()),
            _ => Err(not_a_peer()),
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    /// The name that was dialled is not looked at: the address in the certificate says more, and it is compared afterwards.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            not_before(end_entity, now),
            self.signatures.of_chains().all,
        )?;
        self.address_of(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.tls_1_2()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.tls_1_3(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// A stranger need not learn which CA we have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.clients
            .verify_client_cert(end_entity, intermediates, not_before(end_entity, now))?;
        self.address_of(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.tls_1_2()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.tls_1_3(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// The time to check a peer's certificate at: now, but not before the certificate begins. It is made at each start by the clock
/// of its machine, and a group has to hear of a replica whose clock is wrong to say so and to outvote it. When it ends counts.
fn not_before(leaf: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let begins_ms =
        certificate::parse(leaf).and_then(|leaf| Ok(certificate::validity_ms(&leaf)?.0));
    match begins_ms {
        Ok(begins_ms) => now.max(UnixTime::since_unix_epoch(Duration::from_millis(begins_ms))),
        // It will be refused.
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests;

//! The joiner's check of the door, made before a single byte of the token is sent.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use thiserror::Error;

use crate::pki::authority::{AuthorityFacts, CaRole};
use crate::pki::certificate;
use crate::pki::door::door_uri;
use crate::pki::error::date;
use crate::pki::names::TrustDomain;

use super::signatures::Signatures;

/// More certificates than this in a chain are not looked at. A door sends two, during a rotation
/// of its CA three.
const MAX_CHAIN: usize = 8;

/// Why a joiner does not trust a door. [`door_refusal`] finds it in the handshake's error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DoorRefusal {
    /// No certificate in the chain has the pinned key: another door, or TLS ends in between.
    #[error(
        "the door does not show the CA that the token pins (is something in between ending TLS?)"
    )]
    Pin,
    /// The pinned key is there, but not as the CA of a door.
    #[error("the certificate with the pinned key is not the CA of a door")]
    NotADoorCa,
    /// The door belongs to another trust domain than was asked for.
    #[error("the door is of trust domain {found}, not {expected}")]
    TrustDomain {
        /// What the joiner was told to expect.
        expected: String,
        /// What the CA names.
        found: String,
    },
    /// The leaf does not come from the pinned CA, or not for a TLS server.
    #[error("the door's certificate is not one that the pinned CA issued to a server")]
    Chain,
    /// The leaf comes from the pinned CA but is not the door's.
    #[error("the certificate does not name the door ({expected})")]
    NotTheDoor {
        /// The URI that was looked for.
        expected: String,
    },
    /// All is well but the dates: one of the two clocks is wrong, or the door is out of date.
    #[error(
        "only the dates of the door's certificates do not fit (valid from {} to {}, here it is {}): check the clock", date(*not_before_ms), date(*not_after_ms), date(*now_ms)
    )]
    Dates {
        /// Start of the validity that leaf and CA have in common.
        not_before_ms: u64,
        /// Its end.
        not_after_ms: u64,
        /// The joiner's time.
        now_ms: u64,
    },
}

impl DoorRefusal {
    /// Whether nothing but the dates failed. That is a matter of clocks, not of trust, and may
    /// pass by trying again; everything else is an untrusted door.
    pub fn is_dates_only(&self) -> bool {
        matches!(self, DoorRefusal::Dates { .. })
    }
}

impl From<DoorRefusal> for rustls::Error {
    fn from(refusal: DoorRefusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// The refusal inside the error that a connection attempt ended with, however deep it lies.
pub fn door_refusal<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a DoorRefusal> {
    if let Some(refusal) = error.downcast_ref() {
        return Some(refusal);
    }
    if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(inner))) =
        error.downcast_ref()
    {
        return door_refusal(inner.0.as_ref());
    }
    // An io::Error's source() is its content's source: the content itself would be skipped.
    let content = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match content {
        Some(content) => door_refusal(content),
        None => door_refusal(error.source()?),
    }
}

/// Trusts a door whose chain contains the CA with the pinned key, and whose own certificate is
/// signed by it and names `jointoken://<the CA's trust domain>/door`.
///
/// The name by which the door was reached is not looked at: pin and URI say more, and a door may
/// stand behind any address. Dates are checked last, so that [`DoorRefusal::Dates`] means that
/// all else was in order; the time is the one of rustls' `TimeProvider`.
#[derive(Debug)]
pub struct DoorVerifier {
    pin: [u8; 32],
    trust_domain: Option<TrustDomain>,
    signatures: Signatures,
}

impl DoorVerifier {
    /// `pin` is the SHA-256 of the SubjectPublicKeyInfo of the door's CA. `trust_domain`, if it is
    /// known, must be the CA's.
    pub fn new(
        pin: [u8; 32],
        trust_domain: Option<TrustDomain>,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            pin,
            trust_domain,
            signatures: Signatures::new(provider),
        }
    }

    /// Checks a presented chain at `now_ms`, without a handshake.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now_ms: u64,
    ) -> Result<(), DoorRefusal> {
        let (ca, facts) = self.pinned_ca(others)?;
        let (starts, ends) = self.issued_to_the_door(leaf, ca, &facts.trust_domain)?;
        let not_before_ms = starts.max(facts.not_before_ms);
        let not_after_ms = ends.min(facts.not_after_ms);
        if now_ms < not_before_ms || now_ms > not_after_ms {
            return Err(DoorRefusal::Dates {
                not_before_ms,
                not_after_ms,
                now_ms,
            });
        }
        Ok(())
    }

    /// The certificate of the pinned key, its signature by itself verified: anybody can copy a
    /// public key into a certificate and put another trust domain or other dates beside it.
    fn pinned_ca<'a>(
        &self,
        others: &'a [CertificateDer<'a>],
    ) -> Result<(&'a CertificateDer<'a>, AuthorityFacts), DoorRefusal> {
        let mut refusal = DoorRefusal::Pin;
        for der in others.iter().take(MAX_CHAIN) {
            let Ok(parsed) = certificate::parse(der) else {
                continue;
            };
            if certificate::spki_sha256_of_cert(der) != Ok(self.pin) {
                continue;
            }
            refusal = DoorRefusal::NotADoorCa;
            let Ok(facts) = AuthorityFacts::of(&parsed) else {
                continue;
            };
            if facts.role != CaRole::Door || parsed.verify_signature(None).is_err() {
                continue;
            }
            match &self.trust_domain {
                Some(expected) if *expected != facts.trust_domain => {
                    refusal = DoorRefusal::TrustDomain {
                        expected: expected.to_string(),
                        found: facts.trust_domain.to_string(),
                    };
                }
                _ => return Ok((der, facts)),
            }
        }
        Err(refusal)
    }

    /// Checks all of the leaf but its dates against now, and returns them: the chain is verified
    /// as of the leaf's own first second.
    fn issued_to_the_door(
        &self,
        leaf: &CertificateDer<'_>,
        ca: &CertificateDer<'_>,
        trust_domain: &TrustDomain,
    ) -> Result<(u64, u64), DoorRefusal> {
        let parsed = certificate::parse(leaf).map_err(|_| DoorRefusal::Chain)?;
        let dates = certificate::validity_ms(&parsed).map_err(|_| DoorRefusal::Chain)?;
        let mut roots = RootCertStore::empty();
        let added = roots.add(ca.clone().into_owned());
        added.map_err(|_| DoorRefusal::NotADoorCa)?;
        let then = UnixTime::since_unix_epoch(Duration::from_millis(dates.0));
        ParsedCertificate::try_from(leaf)
            .and_then(|leaf| {
                let algorithms = self.signatures.of_chains().all;
                verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], then, algorithms)
            })
            .map_err(|_| DoorRefusal::Chain)?;
        let expected = door_uri(trust_domain);
        let uris = certificate::uri_names(&parsed).map_err(|_| DoorRefusal::Chain)?;
        if !uris.contains(&expected.as_str()) {
            return Err(DoorRefusal::NotTheDoor { expected });
        }
        Ok(dates)
    }
}

impl ServerCertVerifier for DoorVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let now_ms = now.as_secs().saturating_mul(1000);
        self.check(end_entity, intermediates, now_ms)?;
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

//! The door's check of a client's certificate: that its key is held, and nothing more.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::pki::certificate;
use crate::pki::public_key::AdmittedKey;

use super::signatures::Signatures;

/// A self-signed certificate of the largest key that is admitted takes half of this. It is kept as
/// long as the connection lasts, of everybody who connects.
const MAX_CLIENT_CERTIFICATE: usize = 4 * 1024;

/// Accepts a client without a certificate, and one with any well-formed certificate whose key
/// signed the handshake. One certificate, of bounded length: nobody reads a chain.
///
/// Who signed the certificate, its names and its dates are not looked at: a joiner shows a
/// certificate by itself, a member one by the CA, and what the peer is, is computed from the
/// certificate once, after the handshake, for the route that is asked for.
#[derive(Debug)]
pub struct SelfSignedClientVerifier {
    signatures: Signatures,
}

impl SelfSignedClientVerifier {
    /// Signatures are verified by `provider`.
    pub fn new(provider: &CryptoProvider) -> Self {
        Self {
            signatures: Signatures::new(provider),
        }
    }
}

impl ClientCertVerifier for SelfSignedClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !intermediates.is_empty() || end_entity.len() > MAX_CLIENT_CERTIFICATE {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let parsed = certificate::parse(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let spki = parsed.public_key().raw;
        AdmittedKey::from_spki_der(spki).map_err(|_| CertificateError::BadEncoding)?;
        // The handshake is verified by the key that rustls finds. Who the peer is, is computed from
        // the one that was found here: two parsers must not see two keys.
        if ParsedCertificate::try_from(end_entity)?
            .subject_public_key_info()
            .as_ref()
            != spki
        {
            return Err(CertificateError::BadEncoding.into());
        }
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

#[cfg(test)]
mod tests;

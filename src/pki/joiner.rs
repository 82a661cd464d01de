//! The joiner's side: its key, its request, and its certificate of the first hour.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::certificate::{self, BACKDATE_MS};
use super::error::PkiError;
use super::secret_key::{self, SecretKey};

/// How long the joiner's self-signed certificate is valid. The door goes by its key alone.
const SELF_SIGNED_LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;

/// The private key of a joining machine. It is made where it is used and never leaves.
///
/// `Debug` is redacted, and the key is zeroized on drop.
#[derive(Debug)]
pub struct JoinerKey {
    key: SecretKey,
}

impl JoinerKey {
    /// A new P-256 key.
    pub fn generate() -> Result<Self, PkiError> {
        let key = SecretKey::generate()?;
        Ok(Self { key })
    }

    /// Reads a key made before: P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits, as PKCS#8,
    /// SEC1 or PKCS#1, unencrypted.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let key = SecretKey::from_pem(pem)?;
        Ok(Self { key })
    }

    /// The key as one PEM block, zeroized when dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }

    /// A signing request (PKCS#10) in PEM. It asks for nothing: the server decides all names.
    pub fn csr_pem(&self) -> Result<String, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(self.key.signer())?;
        Ok(secret_key::pem_block("CERTIFICATE REQUEST", request.der()).to_string())
    }

    /// A certificate of this key by itself, in DER: what the joiner shows the door in the TLS
    /// handshake, so that whoever asks has the key (after RFC 8705 section 2.2).
    pub fn self_signed_cert_der(&self, now_ms: u64) -> Result<Vec<u8>, PkiError> {
        let start = now_ms.saturating_sub(BACKDATE_MS);
        let end = now_ms.checked_add(SELF_SIGNED_LIFETIME_MS);
        let mut params = certificate::leaf(start, end.ok_or(PkiError::Time)?)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "jointoken joiner");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.self_signed(self.key.signer())?.der().to_vec())
    }

    /// The key with this certificate of it, to show in TLS.
    ///
    /// # Errors
    /// When the cryptographic library does not take the key.
    pub fn certified_key(&self, certificate: Vec<u8>) -> Result<Arc<CertifiedKey>, rustls::Error> {
        self.key.certified(vec![certificate.into()])
    }

    /// A copy of the private key as rustls takes it, for who needs the key itself.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.to_rustls()
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo in DER: the joiner's identity.
    pub fn public_key_sha256(&self) -> [u8; 32] {
        self.key.public().sha256()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{JoinerCsr, spki_sha256_of_cert};

    const NOW: u64 = 1_790_000_000_000;

    #[test]
    fn key_request_and_certificate_are_of_one_key() {
        let key = JoinerKey::generate().unwrap();
        let id = key.public_key_sha256();
        let csr = JoinerCsr::parse(key.csr_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(csr.public_key_sha256(), id);
        let certificate = key.self_signed_cert_der(NOW).unwrap();
        assert_eq!(spki_sha256_of_cert(&certificate).unwrap(), id);
        let parsed = certificate::parse(&certificate).unwrap();
        parsed.verify_signature(None).unwrap();
        assert!(!parsed.is_ca());
        let again = JoinerKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public_key_sha256(), id);
    }

    #[test]
    fn debug_shows_no_key() {
        let key = JoinerKey::generate().unwrap();
        assert_eq!(
            format!("{key:?}"),
            "JoinerKey { key: SecretKey(P256, redacted) }"
        );
    }
}

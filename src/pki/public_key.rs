//! Which public keys are admitted, and the one encoding that each of them has.

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use rcgen::PublicKeyData;
use rustls_pki_types::alg_id;
use sha2::{Digest, Sha256};

use super::der::{self, Reader, SEQUENCE};
use super::error::KeyError;

/// The kinds of key that a certificate here may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA of 2048 to 4096 bits.
    Rsa,
}

/// A public key of an admitted kind, in its canonical encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdmittedKey {
    kind: KeyKind,
    spki: rcgen::SubjectPublicKeyInfo,
}

impl AdmittedKey {
    /// Reads one SubjectPublicKeyInfo (RFC 5280 section 4.1).
    ///
    /// The bytes must be what DER makes of the key, so that a key has one SHA-256, by which a
    /// joiner is known.
    pub(super) fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let kind = kind_of(der)?;
        let spki = rcgen::SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Kind)?;
        if spki.subject_public_key_info() != der {
            return Err(KeyError::Malformed);
        }
        Ok(Self { kind, spki })
    }

    pub(super) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SHA-256 of the SubjectPublicKeyInfo in DER.
    pub(super) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.spki.subject_public_key_info()).into()
    }

    /// Whether `signature` over `message` is this key's. `algorithm` is the content of the
    /// AlgorithmIdentifier. `None`: it is not accepted, or not one of this kind of key.
    pub(super) fn verifies(
        &self,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let algorithm = verification_algorithm(self.kind, algorithm)?;
        let key = signature::UnparsedPublicKey::new(algorithm, self.spki.der_bytes());
        Some(key.verify(message, signature).is_ok())
    }
}

impl PublicKeyData for AdmittedKey {
    fn der_bytes(&self) -> &[u8] {
        self.spki.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.spki.algorithm()
    }
}

/// `SEQUENCE { AlgorithmIdentifier, BIT STRING }`
fn kind_of(spki: &[u8]) -> Result<KeyKind, KeyError> {
    let parts = || {
        let mut fields = Reader(der::only(SEQUENCE, spki)?.content);
        let algorithm = fields.take(SEQUENCE)?.content;
        let key = fields.take_octets_of_bits()?;
        fields.is_done().then_some((algorithm, key))
    };
    let (algorithm, key) = parts().ok_or(KeyError::Malformed)?;
    let (kind, well_formed) = if algorithm == alg_id::ECDSA_P256.as_ref() {
        // Uncompressed points only: a compressed one is the same key under another SHA-256.
        (KeyKind::P256, key.len() == 65 && key[0] == 4)
    } else if algorithm == alg_id::ECDSA_P384.as_ref() {
        (KeyKind::P384, key.len() == 97 && key[0] == 4)
    } else if algorithm == alg_id::ED25519.as_ref() {
        (KeyKind::Ed25519, key.len() == 32)
    } else if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        let bits = rsa_bits(key).ok_or(KeyError::Malformed)?;
        if !(2048..=4096).contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        (KeyKind::Rsa, true)
    } else {
        return Err(KeyError::Kind);
    };
    well_formed.then_some(kind).ok_or(KeyError::Malformed)
}

/// The exact bits of the modulus in `SEQUENCE { modulus, exponent }` (RFC 8017, A.1.1); the
/// exponent must be odd and at least 3.
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let mut fields = Reader(der::only(SEQUENCE, key)?.content);
    let modulus = fields.take_positive()?;
    let exponent = fields.take_positive()?;
    let odd = exponent.last()? & 1 == 1 && exponent != [1];
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    (fields.is_done() && odd).then_some(bits)
}

/// RFC 4055, 5758 and 8410: each identifier has one encoding, its parameters included.
fn verification_algorithm(
    kind: KeyKind,
    identifier: &[u8],
) -> Option<&'static dyn VerificationAlgorithm> {
    use signature as with;
    let known = |id: alg_id::AlgorithmIdentifier| identifier == id.as_ref();
    let (ecdsa256, ecdsa384) = (known(alg_id::ECDSA_SHA256), known(alg_id::ECDSA_SHA384));
    let ecdsa512 = known(alg_id::ECDSA_SHA512);
    Some(match kind {
        KeyKind::P256 if ecdsa256 => &with::ECDSA_P256_SHA256_ASN1,
        KeyKind::P256 if ecdsa384 => &with::ECDSA_P256_SHA384_ASN1,
        KeyKind::P256 if ecdsa512 => &with::ECDSA_P256_SHA512_ASN1,
        KeyKind::P384 if ecdsa256 => &with::ECDSA_P384_SHA256_ASN1,
        KeyKind::P384 if ecdsa384 => &with::ECDSA_P384_SHA384_ASN1,
        KeyKind::P384 if ecdsa512 => &with::ECDSA_P384_SHA512_ASN1,
        KeyKind::Ed25519 if known(alg_id::ED25519) => &with::ED25519,
        KeyKind::Rsa if known(alg_id::RSA_PKCS1_SHA256) => &with::RSA_PKCS1_2048_8192_SHA256,
        KeyKind::Rsa if known(alg_id::RSA_PKCS1_SHA384) => &with::RSA_PKCS1_2048_8192_SHA384,
        KeyKind::Rsa if known(alg_id::RSA_PKCS1_SHA512) => &with::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}

//! A private key that does not stay in memory when it is no longer needed.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::{KeyPair, PublicKeyData};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::{Zeroize, Zeroizing};

use super::error::PkiError;
use super::public_key::AdmittedKey;

/// A private key of an admitted kind. Its encoding is zeroized on drop; the form that the
/// cryptographic library holds is freed by that library, which wipes what it frees.
pub(super) struct SecretKey {
    pair: KeyPair,
    form: Form,
    public: AdmittedKey,
}

/// In which of the three customary structures the bytes are. It is kept, because a PEM label
/// that does not fit its content is refused by other programs.
#[derive(Clone, Copy)]
enum Form {
    Pkcs8,
    Sec1,
    Pkcs1,
}

impl SecretKey {
    /// A new P-256 key.
    pub(super) fn generate() -> Result<Self, PkiError> {
        Self::new(KeyPair::generate()?, Form::Pkcs8)
    }

    /// Reads exactly one unencrypted private key.
    pub(super) fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let mut keys = PrivateKeyDer::pem_slice_iter(pem.as_bytes());
        let mut key = match (keys.next(), keys.next()) {
            (Some(Ok(key)), None) => key,
            (Some(Ok(mut key)), Some(second)) => {
                key.zeroize();
                if let Ok(mut second) = second {
                    second.zeroize();
                }
                return Err(PkiError::Pem("the private key"));
            }
            _ => return Err(PkiError::Pem("the private key")),
        };
        let form = match &key {
            PrivateKeyDer::Pkcs1(_) => Some(Form::Pkcs1),
            PrivateKeyDer::Sec1(_) => Some(Form::Sec1),
            PrivateKeyDer::Pkcs8(_) => Some(Form::Pkcs8),
            _ => None,
        };
        let pair = KeyPair::try_from(&key).map_err(|_| PkiError::PrivateKey);
        key.zeroize();
        Self::new(pair?, form.ok_or(PkiError::PrivateKey)?)
    }

    fn new(mut pair: KeyPair, form: Form) -> Result<Self, PkiError> {
        match AdmittedKey::from_spki_der(&pair.subject_public_key_info()) {
            Ok(public) => Ok(Self { pair, form, public }),
            Err(error) => {
                pair.zeroize();
                Err(error.into())
            }
        }
    }

    /// The key as one PEM block.
    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        let label = match self.form {
            Form::Pkcs8 => "PRIVATE KEY",
            Form::Sec1 => "EC PRIVATE KEY",
            Form::Pkcs1 => "RSA PRIVATE KEY",
        };
        pem_block(label, self.pair.serialized_der())
    }

    /// A copy of the key as rustls takes it. Nobody wipes the copy: see [`SecretKey::certified`].
    pub(super) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        self.borrowed().clone_key()
    }

    /// The key with certificates of it, for TLS. No copy of its encoding is made for that.
    pub(super) fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<CertifiedKey>, rustls::Error> {
        let key = any_supported_type(&self.borrowed())?;
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }

    fn borrowed(&self) -> PrivateKeyDer<'_> {
        let der = self.pair.serialized_der();
        match self.form {
            Form::Pkcs8 => PrivatePkcs8KeyDer::from(der).into(),
            Form::Sec1 => PrivateSec1KeyDer::from(der).into(),
            Form::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
        }
    }

    pub(super) fn signer(&self) -> &KeyPair {
        &self.pair
    }

    pub(super) fn public(&self) -> &AdmittedKey {
        &self.public
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?}, redacted)", self.public.kind())
    }
}

/// One PEM block (RFC 7468), its buffer sized beforehand: one that grows leaves copies behind.
pub(super) fn pem_block(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = BASE64.encode_len(der.len());
    let mut text = Zeroizing::new(String::with_capacity(
        base64 + base64 / 64 + 2 * label.len() + 34,
    ));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(48) {
        BASE64.encode_append(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_comes_back_the_same_and_its_buffer_never_grows() {
        let key = SecretKey::generate().unwrap();
        let pem = key.to_pem();
        let again = SecretKey::from_pem(&pem).unwrap();
        assert_eq!(again.to_pem(), pem);
        assert_eq!(again.public(), key.public());
        for length in [0, 1, 47, 48, 49, 2400] {
            let block = pem_block("RSA PRIVATE KEY", &vec![7; length]);
            let reserved = {
                let base64 = BASE64.encode_len(length);
                base64 + base64 / 64 + 2 * "RSA PRIVATE KEY".len() + 34
            };
            assert!(
                block.len() <= reserved,
                "{length}: {} > {reserved}",
                block.len()
            );
        }
    }

    #[test]
    fn two_keys_no_key_and_rubbish_are_refused() {
        let key = SecretKey::generate().unwrap().to_pem();
        let two = format!("{}{}", *key, *key);
        for bad in ["", "hello", two.as_str()] {
            assert_eq!(
                SecretKey::from_pem(bad).unwrap_err(),
                PkiError::Pem("the private key")
            );
        }
        let rubbish = pem_block("PRIVATE KEY", b"not a key");
        assert_eq!(
            SecretKey::from_pem(&rubbish).unwrap_err(),
            PkiError::PrivateKey
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(P256, redacted)");
    }
}

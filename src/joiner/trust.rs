//! What the door is recognised by, and TLS as a joiner speaks it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;

use crate::bootstrap::tls_provider;
use crate::clock::Clock;
use crate::pki::verify::DoorVerifier;
use crate::pki::{JoinerKey, spki_sha256_of_cert};

use super::JoinError;

/// What gives no pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Not a SHA-256.
    #[error("a pin is the SHA-256 of the public key of the door's CA, 64 hexadecimal digits")]
    NotHex,
    /// Not the file of one CA.
    #[error("this is not one certificate in PEM")]
    NotOneCertificate,
}

/// A pin as people give it.
///
/// # Errors
/// When it is not 64 hexadecimal digits.
pub fn pin_from_hex(text: &str) -> Result<[u8; 32], PinError> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim_ascii().as_bytes());
    let bytes = bytes.map_err(|_| PinError::NotHex)?;
    bytes.try_into().map_err(|_| PinError::NotHex)
}

/// The pin of the CA in a PEM file.
///
/// # Errors
/// When the file does not hold exactly one certificate: with two it would not be clear which one
/// is meant.
pub fn pin_of_ca_pem(pem: &[u8]) -> Result<[u8; 32], PinError> {
    let mut found = CertificateDer::pem_slice_iter(pem);
    match (found.next(), found.next()) {
        (Some(Ok(der)), None) => spki_sha256_of_cert(&der).map_err(|_| PinError::NotOneCertificate),
        _ => Err(PinError::NotOneCertificate),
    }
}

/// TLS 1.3 with a door of this pin, showing a certificate of `key` by itself.
pub(super) fn client_config(
    pin: [u8; 32],
    key: &JoinerKey,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, JoinError> {
    let provider = tls_provider();
    let verifier = DoorVerifier::new(pin, None, &provider);
    let certificate = key
        .self_signed_cert_der(clock.now_ms())
        .map_err(JoinError::key)?;
    let shown = key.certified_key(certificate).map_err(JoinError::tls)?;
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Time(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(JoinError::tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, CaRole, TrustDomain};

    #[test]
    fn pins_come_in_hex_and_from_the_ca() {
        let domain = TrustDomain::parse("prod.example.com").unwrap();
        let ca = Authority::generate(CaRole::Door, &domain, 1_790_000_000_000).unwrap();
        let hex = data_encoding::HEXUPPER.encode(&ca.spki_pin());
        assert_eq!(pin_from_hex(&format!("{hex}\n")), Ok(ca.spki_pin()));
        assert_eq!(pin_of_ca_pem(ca.cert_pem().as_bytes()), Ok(ca.spki_pin()));
        for bad in ["", "00", &hex[2..], &"zz".repeat(32)] {
            assert_eq!(pin_from_hex(bad), Err(PinError::NotHex));
        }
        let two = ca.cert_pem().repeat(2);
        for bad in ["", "hello", two.as_str(), &ca.key_pem()] {
            assert_eq!(
                pin_of_ca_pem(bad.as_bytes()),
                Err(PinError::NotOneCertificate)
            );
        }
    }
}

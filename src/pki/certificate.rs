//! Reading and writing certificates: what every kind of them has in common.

use rcgen::{CertificateParams, IsCa, KeyUsagePurpose, SerialNumber};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::error::PkiError;

/// How far validity begins before the moment of issue, for machines whose clocks are behind.
pub const BACKDATE_MS: u64 = 5 * 60 * 1000;

/// SHA-256 of the SubjectPublicKeyInfo of a certificate in DER.
///
/// Whose key it is says nothing of who signed the certificate or whether it is valid.
pub fn spki_sha256_of_cert(der: &[u8]) -> Result<[u8; 32], PkiError> {
    Ok(Sha256::digest(parse(der)?.public_key().raw).into())
}

/// When a certificate in DER ends, in milliseconds since the epoch.
pub fn not_after_ms_of_cert(der: &[u8]) -> Result<u64, PkiError> {
    Ok(validity_ms(&parse(der)?)?.1)
}

/// Whether each certificate of `chain` (DER, the leaf first) was signed by the next one, and the last by one of `cas`. Dates and
/// usages are not looked at.
pub fn is_signed_by(chain: &[impl AsRef<[u8]>], cas: &[impl AsRef<[u8]>]) -> bool {
    let signed_by = |certificate: &[u8], issuer: &[u8]| match (parse(certificate), parse(issuer)) {
        (Ok(certificate), Ok(issuer)) => certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok(),
        _ => false,
    };
    let links = chain
        .windows(2)
        .all(|pair| signed_by(pair[0].as_ref(), pair[1].as_ref()));
    links
        && chain.last().is_some_and(|last| {
            let mut cas = cas.iter();
            cas.any(|ca| signed_by(last.as_ref(), ca.as_ref()))
        })
}

/// One certificate in PEM (RFC 7468) from its DER.
pub fn certificate_pem(der: &[u8]) -> String {
    super::secret_key::pem_block("CERTIFICATE", der).to_string()
}

/// The DER of the only certificate in `pem`.
pub(super) fn der_of_pem(pem: &str) -> Result<Vec<u8>, PkiError> {
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(der)), None) => Ok(der.to_vec()),
        _ => Err(PkiError::Pem("the certificate")),
    }
}

/// Reads a certificate; anything after it is an error.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(PkiError::Certificate("bytes follow it")),
        Err(_) => Err(PkiError::Certificate("it is not X.509")),
    }
}

/// The URIs among the alternative names. Names of other kinds are passed over.
pub(super) fn uri_names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<Vec<&'a str>, PkiError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| PkiError::Certificate("its alternative names cannot be read"))?;
    let names = names.map(|n| n.value.general_names.as_slice());
    let uri = |name: &GeneralName<'a>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    Ok(names.unwrap_or_default().iter().filter_map(uri).collect())
}

/// The URI of ours (`jointoken://…`) among the alternative names, if there is exactly one.
pub(super) fn own_uri<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<Option<&'a str>, PkiError> {
    let uris = uri_names(certificate)?;
    let mut ours = uris.iter().filter(|uri| uri.starts_with("jointoken://"));
    Ok(match (ours.next(), ours.next()) {
        (Some(uri), None) => Some(*uri),
        _ => None,
    })
}

/// Start and end of validity, in milliseconds since the epoch; both ends are inside.
pub(super) fn validity_ms(certificate: &X509Certificate<'_>) -> Result<(u64, u64), PkiError> {
    let ms = |time: &ASN1Time| {
        u64::try_from(time.timestamp())
            .ok()
            .and_then(|seconds| seconds.checked_mul(1000))
            .ok_or(PkiError::Certificate("its dates lie before 1970"))
    };
    let validity = certificate.validity();
    // X.509 counts whole seconds, and the last one counts to its end.
    Ok((ms(&validity.not_before)?, ms(&validity.not_after)? + 999))
}

/// What any certificate of ours begins with: no names, no usages, a fresh serial, the dates.
/// Both times are rounded down to the second.
pub(super) fn blank(not_before_ms: u64, not_after_ms: u64) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let date = |ms: u64| {
        let seconds = i64::try_from(ms / 1000).map_err(|_| PkiError::Time)?;
        let time = ASN1Time::from_timestamp(seconds).map_err(|_| PkiError::Time)?;
        Ok::<_, PkiError>(time.to_datetime())
    };
    params.not_before = date(not_before_ms)?;
    params.not_after = date(not_after_ms)?;
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// What any certificate begins with that is no CA's: its key signs handshakes and nothing else.
pub(super) fn leaf(not_before_ms: u64, not_after_ms: u64) -> Result<CertificateParams, PkiError> {
    let mut params = blank(not_before_ms, not_after_ms)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// 16 octets, 126 bits of them random: positive, never shorter, below the 20 octets of
/// RFC 5280 section 4.1.2.2, and above the 64 bits that the CA/Browser Forum asks for.
fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| PkiError::Random)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

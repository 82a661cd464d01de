//! Certificate signing requests: a public key and the proof that its private key is held.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;

use super::der::{self, CONTEXT_0, INTEGER, Reader, SEQUENCE};
use super::error::CsrError;
use super::public_key::{AdmittedKey, KeyKind};

/// The longest request that is read, in bytes, PEM or DER. One of RSA 4096 has about 2,000.
pub const MAX_CSR_BYTES: usize = 8192;

/// What counts of a joiner's request: its public key, whose private key the maker held.
///
/// The names, usages and constraints that a request asks for are not even read, so nothing
/// of them can find its way into a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinerCsr {
    key: AdmittedKey,
}

impl JoinerCsr {
    /// Reads a PKCS#10 request (RFC 2986) in DER or as one PEM block, checks that its key is
    /// P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits, and verifies its signature.
    pub fn parse(pem_or_der: &[u8]) -> Result<Self, CsrError> {
        if pem_or_der.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge(pem_or_der.len()));
        }
        // DER begins with the tag of a SEQUENCE; PEM may begin with any text.
        if pem_or_der.first() == Some(&0x30) {
            return Self::from_der(pem_or_der);
        }
        let mut found = CertificateSigningRequestDer::pem_slice_iter(pem_or_der);
        match (found.next(), found.next()) {
            (Some(Ok(der)), None) => Self::from_der(&der),
            _ => Err(CsrError::Malformed),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let request = Request::read(der).ok_or(CsrError::Malformed)?;
        let key = AdmittedKey::from_spki_der(request.spki)?;
        match key.verifies(request.algorithm, request.info, request.signature) {
            Some(true) => Ok(Self { key }),
            Some(false) => Err(CsrError::Signature),
            None => Err(CsrError::SignatureAlgorithm),
        }
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo in DER: the joiner's identity.
    pub fn public_key_sha256(&self) -> [u8; 32] {
        self.key.sha256()
    }

    /// What kind of key it is.
    pub fn key_kind(&self) -> KeyKind {
        self.key.kind()
    }

    pub(super) fn key(&self) -> &AdmittedKey {
        &self.key
    }
}

/// The parts of a request that count, as they lie in it:
/// `SEQUENCE { info SEQUENCE { version, subject, spki, attributes }, algorithm, signature }`.
struct Request<'a> {
    info: &'a [u8],
    spki: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(request: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(der::only(SEQUENCE, request)?.content);
        let info = outer.take(SEQUENCE)?;
        let algorithm = outer.take(SEQUENCE)?.content;
        let signature = outer.take_octets_of_bits()?;

        let mut fields = Reader(info.content);
        let version = fields.take(INTEGER)?.content;
        let _subject = fields.take(SEQUENCE)?;
        let spki = fields.take(SEQUENCE)?.whole;
        let _attributes = fields.take(CONTEXT_0)?;
        (outer.is_done() && fields.is_done() && version == [0]).then_some(Self {
            info: info.whole,
            spki,
            algorithm,
            signature,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;
    use crate::pki::KeyError;

    fn request(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&key);
        request.unwrap().der().to_vec()
    }

    #[test]
    fn admitted_kinds_pass_in_der_and_in_pem() {
        for (algorithm, kind) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::P256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::P384),
            (&rcgen::PKCS_ED25519, KeyKind::Ed25519),
            (&rcgen::PKCS_RSA_SHA256, KeyKind::Rsa),
        ] {
            let der = request(algorithm);
            let csr = JoinerCsr::parse(&der).unwrap();
            assert_eq!(csr.key_kind(), kind);
            let pem = crate::pki::secret_key::pem_block("CERTIFICATE REQUEST", &der);
            assert_eq!(JoinerCsr::parse(pem.as_bytes()).unwrap(), csr);
            let text = format!("Certificate Request:\n    Data: …\n{}", *pem);
            assert_eq!(JoinerCsr::parse(text.as_bytes()).unwrap(), csr);
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        let p521 = JoinerCsr::parse(&request(&rcgen::PKCS_ECDSA_P521_SHA512));
        assert_eq!(p521.unwrap_err(), CsrError::Key(KeyError::Kind));
        let post_quantum = JoinerCsr::parse(&request(&rcgen::PKCS_ML_DSA_44));
        assert_eq!(post_quantum.unwrap_err(), CsrError::Key(KeyError::Kind));
    }

    #[test]
    fn a_broken_signature_is_refused() {
        let mut der = request(&rcgen::PKCS_ED25519);
        *der.last_mut().unwrap() ^= 1;
        assert_eq!(JoinerCsr::parse(&der).unwrap_err(), CsrError::Signature);
    }

    #[test]
    fn a_key_put_into_anothers_request_is_refused() {
        let der = request(&rcgen::PKCS_ED25519);
        let mine = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let theirs = {
            let read = Request::read(&der).unwrap();
            read.spki[read.spki.len() - 32..].to_vec()
        };
        let at = der.windows(32).position(|w| w == theirs).unwrap();
        let mut swapped = der.clone();
        swapped[at..at + 32].copy_from_slice(mine.public_key_raw());
        assert_eq!(JoinerCsr::parse(&swapped).unwrap_err(), CsrError::Signature);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let der = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let pem = crate::pki::secret_key::pem_block("CERTIFICATE REQUEST", &der);
        let mut longer = der.clone();
        longer.push(0);
        let twice = pem.repeat(2);
        let ca = crate::pki::secret_key::pem_block("CERTIFICATE", &der);
        for bad in [
            &b""[..],
            b"0",
            b"hello",
            &der[..der.len() - 1],
            &longer,
            twice.as_bytes(),
            ca.as_bytes(),
        ] {
            assert_eq!(JoinerCsr::parse(bad).unwrap_err(), CsrError::Malformed);
        }
        let flood = vec![0x30; MAX_CSR_BYTES + 1];
        assert_eq!(
            JoinerCsr::parse(&flood).unwrap_err(),
            CsrError::TooLarge(MAX_CSR_BYTES + 1)
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_nor_pass(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(JoinerCsr::parse(&bytes).is_err());
            let mut der = vec![0x30, 0x82];
            der.extend(bytes);
            prop_assert!(JoinerCsr::parse(&der).is_err());
        }

        /// The signature algorithm lies outside of what is signed; it has one encoding all the same.
        #[test]
        fn a_request_changed_in_any_byte_or_cut_is_refused(
            which in 0..3usize,
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let der = &mutants()[which];
            let mut changed = der.clone();
            let at = at.index(der.len());
            changed[at] = to;
            let parsed = JoinerCsr::parse(&changed);
            prop_assert_eq!(parsed.is_ok(), changed == *der, "byte {} to {}", at, to);
            changed.truncate(cut.index(der.len()));
            prop_assert!(JoinerCsr::parse(&changed).is_err());
        }
    }

    /// Ed25519 is the fastest to verify: here every byte of a request takes every value.
    #[test]
    fn no_other_encoding_of_a_request_passes() {
        let der = &mutants()[1];
        let mut changed = der.clone();
        for at in 0..der.len() {
            for to in (0..=255).filter(|to| *to != der[at]) {
                changed[at] = to;
                assert!(JoinerCsr::parse(&changed).is_err(), "byte {at} to {to}");
            }
            changed[at] = der[at];
        }
    }

    fn mutants() -> &'static [Vec<u8>; 3] {
        static MADE: std::sync::OnceLock<[Vec<u8>; 3]> = std::sync::OnceLock::new();
        MADE.get_or_init(|| {
            [
                request(&rcgen::PKCS_ECDSA_P256_SHA256),
                request(&rcgen::PKCS_ED25519),
                request(&rcgen::PKCS_RSA_SHA256),
            ]
        })
    }
}

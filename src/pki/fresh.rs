//! What a replica makes for itself at each start and before each expiry: a key, and a certificate for it.

use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;

use super::authority::Authority;
use super::certificate;
use super::error::PkiError;
use super::secret_key::SecretKey;

/// A P-256 key that is never written anywhere, with its certificate.
pub(super) struct Fresh {
    pub(super) key: SecretKey,
    pub(super) leaf: CertificateDer<'static>,
    /// Its validity, in milliseconds since the epoch.
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
}

/// What its certificate says of it.
pub(super) struct Claims {
    pub(super) common_name: &'static str,
    /// What it is known by.
    pub(super) uri: String,
    /// What else it is reached by.
    pub(super) names: Vec<SanType>,
    pub(super) usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Fresh {
    /// Makes both. Whether `ca` is the one for this is for the caller to check.
    pub(super) fn issue(
        ca: &Authority,
        claims: Claims,
        now_ms: u64,
        lifetime_ms: u64,
    ) -> Result<Self, PkiError> {
        let (not_before_ms, not_after_ms) = ca.dates(now_ms, lifetime_ms)?;
        let key = SecretKey::generate()?;
        let mut params = certificate::leaf(not_before_ms, not_after_ms)?;
        params
            .distinguished_name
            .push(DnType::CommonName, claims.common_name);
        params.subject_alt_names = vec![SanType::URI(claims.uri.try_into()?)];
        params.subject_alt_names.extend(claims.names);
        params.extended_key_usages = claims.usages;
        Ok(Self {
            leaf: ca.sign(&params, key.public())?.into(),
            key,
            not_before_ms,
            not_after_ms,
        })
    }
}

//! The three certification authorities.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use zeroize::Zeroizing;

use super::certificate::{self, BACKDATE_MS};
use super::error::PkiError;
use super::names::TrustDomain;
use super::public_key::AdmittedKey;
use super::secret_key::SecretKey;

/// How long a CA that is made here lives: ten years of 365 days.
pub const AUTHORITY_LIFETIME_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// What a CA is for. Three CAs with three keys, and none is trusted where another belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaRole {
    /// Signs the door's certificate; its key is pinned in tokens.
    Door,
    /// Signs what joiners receive.
    Members,
    /// Signs what replicas show each other.
    Peers,
}

impl CaRole {
    /// All three.
    pub const ALL: [CaRole; 3] = [CaRole::Door, CaRole::Members, CaRole::Peers];

    /// The name in URIs, files and Secrets.
    pub fn as_str(self) -> &'static str {
        match self {
            CaRole::Door => "door",
            CaRole::Members => "members",
            CaRole::Peers => "peers",
        }
    }
}

impl fmt::Display for CaRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a CA certificate says about itself, checked.
pub(super) struct AuthorityFacts {
    pub(super) role: CaRole,
    pub(super) trust_domain: TrustDomain,
    pub(super) spki_sha256: [u8; 32],
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
}

impl AuthorityFacts {
    /// A CA of ours: it may sign certificates, and names its role and trust domain by exactly one
    /// URI `jointoken://<trust domain>/ca/<role>`. Dates are read, not judged.
    pub(super) fn of(ca: &X509Certificate<'_>) -> Result<Self, PkiError> {
        let constraints = ca.basic_constraints().map_err(|_| PkiError::NotACa)?;
        let usage = ca.key_usage().map_err(|_| PkiError::NotACa)?;
        if !constraints.is_some_and(|c| c.value.ca)
            || usage.is_some_and(|u| !u.value.key_cert_sign())
        {
            return Err(PkiError::NotACa);
        }
        let uri = certificate::own_uri(ca)?;
        let (role, trust_domain) = uri.and_then(role_of_uri).ok_or(PkiError::NoRole)?;
        let (not_before_ms, not_after_ms) = certificate::validity_ms(ca)?;
        Ok(Self {
            role,
            trust_domain,
            spki_sha256: Sha256::digest(ca.public_key().raw).into(),
            not_before_ms,
            not_after_ms,
        })
    }

    /// It must be the CA for `role` in this trust domain.
    pub(super) fn require(&self, role: CaRole, domain: &TrustDomain) -> Result<(), PkiError> {
        if self.role != role {
            return Err(PkiError::WrongRole {
                expected: role,
                found: self.role,
            });
        }
        if self.trust_domain != *domain {
            return Err(PkiError::WrongTrustDomain {
                expected: domain.to_string(),
                found: self.trust_domain.to_string(),
            });
        }
        Ok(())
    }
}

fn ca_uri(role: CaRole, trust_domain: &TrustDomain) -> String {
    format!("jointoken://{trust_domain}/ca/{role}")
}

fn role_of_uri(uri: &str) -> Option<(CaRole, TrustDomain)> {
    let (domain, path) = uri.strip_prefix("jointoken://")?.split_once('/')?;
    let name = path.strip_prefix("ca/")?;
    let role = CaRole::ALL.into_iter().find(|r| r.as_str() == name)?;
    Some((role, TrustDomain::parse(domain).ok()?))
}

/// A CA's certificate with its private key.
///
/// `Debug` shows role, trust domain and fingerprint only; the key is zeroized on drop.
pub struct Authority {
    facts: AuthorityFacts,
    der: Vec<u8>,
    key: SecretKey,
}

impl Authority {
    /// Makes a new CA: P-256, path length 0, valid from five minutes before `now_ms` for
    /// [`AUTHORITY_LIFETIME_MS`].
    ///
    /// Its common name ends in the beginning of its key's SHA-256, so that an old and a new CA
    /// of one role, both trusted during a rotation, are two names to every verifier.
    pub fn generate(
        role: CaRole,
        trust_domain: &TrustDomain,
        now_ms: u64,
    ) -> Result<Self, PkiError> {
        let key = SecretKey::generate()?;
        let not_after = now_ms.checked_add(AUTHORITY_LIFETIME_MS);
        let mut params = certificate::blank(
            now_ms.saturating_sub(BACKDATE_MS),
            not_after.ok_or(PkiError::Time)?,
        )?;
        let id = data_encoding::HEXLOWER.encode(&key.public().sha256()[..4]);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("jointoken {role} CA {id}"));
        params.subject_alt_names = vec![SanType::URI(ca_uri(role, trust_domain).try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = params.self_signed(key.signer())?.der().to_vec();
        Self::assemble(der, key)
    }

    /// Loads a CA that was made before, here or by the user's own tools.
    ///
    /// Refused are a key of another certificate, a certificate that is no CA, one that does not
    /// name its role, and one whose names cannot be repeated faithfully in what it issues.
    /// The role is what the certificate says: follow with [`Authority::expecting`].
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let der = certificate::der_of_pem(cert_pem)?;
        let key = SecretKey::from_pem(key_pem)?;
        Self::assemble(der, key)
    }

    fn assemble(der: Vec<u8>, key: SecretKey) -> Result<Self, PkiError> {
        let parsed = certificate::parse(&der)?;
        let public = AdmittedKey::from_spki_der(parsed.public_key().raw)?;
        if public != *key.public() {
            return Err(PkiError::KeyMismatch);
        }
        let facts = AuthorityFacts::of(&parsed)?;
        let subject = parsed.subject().as_raw().to_vec();
        let authority = Self { facts, der, key };
        // A name with several attributes of one type does not survive the issuing library, and
        // nothing that such a CA signs would chain: found out here, not at the first joiner.
        let trial = certificate::blank(0, 0)?;
        let trial = authority.sign(&trial, authority.key.public())?;
        if certificate::parse(&trial)?.issuer().as_raw() != subject.as_slice() {
            return Err(PkiError::Certificate(
                "its subject has a form that cannot be used as an issuer here",
            ));
        }
        Ok(authority)
    }

    /// This CA, if it is the one for `role` in `trust_domain`.
    pub fn expecting(self, role: CaRole, trust_domain: &TrustDomain) -> Result<Self, PkiError> {
        self.require(role, trust_domain)?;
        Ok(self)
    }

    pub(super) fn require(&self, role: CaRole, domain: &TrustDomain) -> Result<(), PkiError> {
        self.facts.require(role, domain)
    }

    /// Start of its validity, in milliseconds since the epoch.
    pub(super) const fn not_before_ms(&self) -> u64 {
        self.facts.not_before_ms
    }

    /// The dates of a certificate issued now: from five minutes back, for `lifetime_ms`, but not
    /// beyond this CA's own end.
    pub(super) fn dates(&self, now_ms: u64, lifetime_ms: u64) -> Result<(u64, u64), PkiError> {
        let facts = &self.facts;
        if now_ms < facts.not_before_ms || now_ms > facts.not_after_ms {
            return Err(PkiError::AuthorityDates {
                role: facts.role,
                not_before_ms: facts.not_before_ms,
                not_after_ms: facts.not_after_ms,
            });
        }
        if lifetime_ms < 1000 {
            return Err(PkiError::Time);
        }
        let end = now_ms.saturating_add(lifetime_ms).min(facts.not_after_ms);
        Ok((now_ms.saturating_sub(BACKDATE_MS), end))
    }

    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        public_key: &impl PublicKeyData,
    ) -> Result<Vec<u8>, PkiError> {
        let der = CertificateDer::from(self.der.as_slice());
        let issuer = Issuer::from_ca_cert_der(&der, self.key.signer())?;
        Ok(params.signed_by(public_key, &issuer)?.der().to_vec())
    }

    /// What this CA is for.
    pub fn role(&self) -> CaRole {
        self.facts.role
    }

    /// The trust domain that it is for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.facts.trust_domain
    }

    /// The certificate in DER.
    pub fn cert_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM: what joiners receive as `ca.crt`.
    pub fn cert_pem(&self) -> String {
        certificate::certificate_pem(&self.der)
    }

    /// The private key in PEM, zeroized when dropped.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }

    /// SHA-256 of the certificate in DER: by this the store knows the CA that it was founded with.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// SHA-256 of the SubjectPublicKeyInfo in DER: what a token pins of the door's CA.
    pub fn spki_pin(&self) -> [u8; 32] {
        self.facts.spki_sha256
    }

    /// End of validity, in milliseconds since the epoch.
    pub fn not_after_ms(&self) -> u64 {
        self.facts.not_after_ms
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = data_encoding::HEXLOWER.encode(&self.fingerprint());
        f.debug_struct("Authority")
            .field("role", &self.facts.role)
            .field("trust_domain", &self.facts.trust_domain.as_str())
            .field("fingerprint", &fingerprint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn domain() -> TrustDomain {
        TrustDomain::parse("prod.example.com").unwrap()
    }

    #[test]
    fn a_new_ca_says_what_it_is() {
        for role in CaRole::ALL {
            let ca = Authority::generate(role, &domain(), NOW).unwrap();
            assert_eq!((ca.role(), ca.trust_domain()), (role, &domain()));
            assert_eq!(ca.facts.not_before_ms, NOW - BACKDATE_MS);
            assert_eq!(
                ca.not_after_ms() / 1000,
                (NOW + AUTHORITY_LIFETIME_MS) / 1000
            );
            assert_ne!(ca.fingerprint(), ca.spki_pin());
            let parsed = certificate::parse(ca.cert_der()).unwrap();
            let constraints = parsed.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(0));
            let usage = parsed.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
            assert!(!usage.value.digital_signature());
            parsed.verify_signature(None).unwrap();
        }
    }

    #[test]
    fn pem_brings_back_the_same_ca() {
        let ca = Authority::generate(CaRole::Members, &domain(), NOW).unwrap();
        let again = Authority::from_pem(&ca.cert_pem(), &ca.key_pem()).unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint());
        assert_eq!(again.key_pem(), ca.key_pem());
        assert!(again.expecting(CaRole::Members, &domain()).is_ok());
    }

    #[test]
    fn the_key_must_be_the_certificates() {
        let one = Authority::generate(CaRole::Door, &domain(), NOW).unwrap();
        let other = Authority::generate(CaRole::Door, &domain(), NOW).unwrap();
        let mixed = Authority::from_pem(&one.cert_pem(), &other.key_pem());
        assert_eq!(mixed.unwrap_err(), PkiError::KeyMismatch);
    }

    #[test]
    fn one_roles_ca_is_not_taken_for_anothers() {
        let door = Authority::generate(CaRole::Door, &domain(), NOW).unwrap();
        let error = door.expecting(CaRole::Members, &domain()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is the CA for door, not for members"
        );
        let door = Authority::generate(CaRole::Door, &domain(), NOW).unwrap();
        let test = TrustDomain::parse("test.example.com").unwrap();
        assert!(matches!(
            door.expecting(CaRole::Door, &test),
            Err(PkiError::WrongTrustDomain { .. })
        ));
    }

    /// A certificate made by hand, as a user's own tools would.
    fn foreign(change: impl FnOnce(&mut CertificateParams)) -> Result<Authority, PkiError> {
        let key = SecretKey::generate().unwrap();
        let mut params = certificate::blank(NOW, NOW + 1_000_000).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "mine");
        let uri = ca_uri(CaRole::Door, &domain());
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        change(&mut params);
        let der = params.self_signed(key.signer()).unwrap().der().to_vec();
        Authority::from_pem(&certificate::certificate_pem(&der), &key.to_pem())
    }

    #[test]
    fn a_foreign_certificate_must_be_a_ca_and_name_its_role() {
        assert_eq!(foreign(|_| ()).unwrap().role(), CaRole::Door);
        let no_ca = foreign(|p| p.is_ca = IsCa::ExplicitNoCa);
        assert_eq!(no_ca.unwrap_err(), PkiError::NotACa);
        let usage = foreign(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
        assert_eq!(usage.unwrap_err(), PkiError::NotACa);
        let silent = foreign(|p| p.subject_alt_names.clear());
        assert_eq!(silent.unwrap_err(), PkiError::NoRole);
        let two_roles = foreign(|p| {
            let uri = ca_uri(CaRole::Peers, &domain());
            p.subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        });
        assert_eq!(two_roles.unwrap_err(), PkiError::NoRole);
    }

    #[test]
    fn role_uris_are_read_strictly() {
        assert!(role_of_uri("jointoken://a.b/ca/door").is_some());
        for bad in [
            "jointoken://a.b/ca/doors",
            "jointoken://a.b/ca/Door",
            "jointoken://a.b/ca/door/",
            "jointoken://a.b/door",
            "jointoken:///ca/door",
            "jointoken://A.b/ca/door",
            "spiffe://a.b/ca/door",
            "jointoken://a.b?x/ca/door",
        ] {
            assert!(role_of_uri(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_expired_ca_issues_nothing() {
        let ca = Authority::generate(CaRole::Members, &domain(), NOW).unwrap();
        assert!(ca.dates(NOW, 1000).is_ok());
        for now in [0, NOW - BACKDATE_MS - 1, ca.not_after_ms() + 1] {
            assert!(matches!(
                ca.dates(now, 1000),
                Err(PkiError::AuthorityDates { .. })
            ));
        }
        assert_eq!(ca.dates(NOW, 0), Err(PkiError::Time));
        let (_, end) = ca.dates(NOW, u64::MAX).unwrap();
        assert_eq!(end, ca.not_after_ms());
    }

    #[test]
    fn times_beyond_x509_are_an_error_not_a_panic() {
        for now in [u64::MAX, u64::MAX / 2, 253_402_300_800_000] {
            let made = Authority::generate(CaRole::Door, &domain(), now);
            assert_eq!(made.unwrap_err(), PkiError::Time);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let ca = Authority::generate(CaRole::Door, &domain(), NOW).unwrap();
        let shown = format!("{ca:?}");
        assert!(shown.contains("Door") && shown.contains("prod.example.com"));
        assert!(!shown.contains("PRIVATE") && shown.len() < 200);
    }
}

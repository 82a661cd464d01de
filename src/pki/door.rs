//! The door's own certificate.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::authority::{Authority, CaRole};
use super::error::PkiError;
use super::fresh::{Claims, Fresh};
use super::names::{self, TrustDomain};
use super::secret_key::SecretKey;

/// The URI by which a joiner knows the door: `jointoken://<trust domain>/door`.
/// Nothing that a member can be issued has it.
pub fn door_uri(trust_domain: &TrustDomain) -> String {
    format!("jointoken://{trust_domain}/door")
}

/// A key and certificate for the door, made anew at each start and before each expiry; the key
/// is never written anywhere.
pub struct DoorIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: SecretKey,
    not_before_ms: u64,
    not_after_ms: u64,
}

impl DoorIdentity {
    /// Makes a P-256 key and a certificate for it by the door's CA, for TLS as server only.
    ///
    /// `dns_names` and `addresses` are what clients reach the door by (at least one). Joiners
    /// check the pin and the URI instead; the names serve clients that know neither.
    pub fn issue(
        door: &Authority,
        trust_domain: &TrustDomain,
        dns_names: &[String],
        addresses: &[IpAddr],
        now_ms: u64,
        lifetime_ms: u64,
    ) -> Result<Self, PkiError> {
        door.require(CaRole::Door, trust_domain)?;
        if dns_names.is_empty() && addresses.is_empty() {
            return Err(PkiError::NoDoorName);
        }
        let mut names = Vec::new();
        for name in dns_names {
            names::dns_name(name)?;
            names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let claims = Claims {
            common_name: "jointoken door",
            uri: door_uri(trust_domain),
            names,
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        // A replica whose clock is behind the founding serves all the same: the group goes by the others' clocks.
        let now_ms = now_ms.max(door.not_before_ms());
        let fresh = Fresh::issue(door, claims, now_ms, lifetime_ms)?;
        Ok(Self {
            chain: vec![fresh.leaf, door.cert_der().to_vec().into()],
            key: fresh.key,
            not_before_ms: fresh.not_before_ms,
            not_after_ms: fresh.not_after_ms,
        })
    }

    /// What the door sends: its certificate, then the CA's, which tokens pin.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Chain and key, to show in TLS.
    ///
    /// # Errors
    /// When the cryptographic library does not take the key, which it made.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, rustls::Error> {
        self.key.certified(self.chain.clone())
    }

    /// A copy of the private key as rustls takes it, for who needs the key itself.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.to_rustls()
    }

    /// Start of validity, in milliseconds since the epoch.
    pub fn not_before_ms(&self) -> u64 {
        self.not_before_ms
    }

    /// End of validity, in milliseconds since the epoch: make the next one before.
    pub fn not_after_ms(&self) -> u64 {
        self.not_after_ms
    }
}

impl fmt::Debug for DoorIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorIdentity")
            .field("not_after_ms", &self.not_after_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::certificate;

    const NOW: u64 = 1_790_000_000_000;
    const DAY: u64 = 86_400_000;

    fn domain() -> TrustDomain {
        TrustDomain::parse("prod.example.com").unwrap()
    }

    fn issue(names: &[&str], role: CaRole) -> Result<DoorIdentity, PkiError> {
        let ca = Authority::generate(role, &domain(), NOW).unwrap();
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let loopback = [IpAddr::from([127, 0, 0, 1])];
        let addresses = if names.is_empty() { &[][..] } else { &loopback };
        DoorIdentity::issue(&ca, &domain(), &names, addresses, NOW, DAY)
    }

    #[test]
    fn the_door_has_its_uri_and_sends_its_ca() {
        let door = issue(&["jointoken.jointoken.svc", "localhost"], CaRole::Door).unwrap();
        assert_eq!(door.chain().len(), 2);
        assert_eq!(door.not_before_ms(), NOW - certificate::BACKDATE_MS);
        assert_eq!(door.not_after_ms(), NOW + DAY);
        let leaf = certificate::parse(&door.chain()[0]).unwrap();
        assert_eq!(
            certificate::uri_names(&leaf).unwrap(),
            ["jointoken://prod.example.com/door"]
        );
        let extended = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth);
        let ca = certificate::parse(&door.chain()[1]).unwrap();
        leaf.verify_signature(Some(ca.public_key())).unwrap();
        assert_eq!(
            format!("{door:?}"),
            format!("DoorIdentity {{ not_after_ms: {}, .. }}", NOW + DAY)
        );
    }

    /// Else a replica could not start whose clock is behind the founding.
    #[test]
    fn before_its_ca_begins_it_is_made_as_of_that_moment() {
        let domain = TrustDomain::parse("prod.example.com").unwrap();
        let ca = Authority::generate(CaRole::Door, &domain, NOW).unwrap();
        let names = ["localhost".to_owned()];
        let issue = |now_ms| DoorIdentity::issue(&ca, &domain, &names, &[], now_ms, DAY);
        let early = issue(NOW - 2 * DAY).unwrap();
        let begins = NOW - certificate::BACKDATE_MS;
        assert_eq!(early.not_before_ms(), begins - certificate::BACKDATE_MS);
        assert_eq!(early.not_after_ms(), begins + DAY);
    }

    #[test]
    fn no_name_a_bad_name_and_another_ca_are_refused() {
        assert_eq!(issue(&[], CaRole::Door).unwrap_err(), PkiError::NoDoorName);
        for bad in ["*.example.com", "", "a b", "https://x"] {
            let error = issue(&[bad], CaRole::Door).unwrap_err();
            assert!(matches!(error, PkiError::Name(_)), "{bad}");
        }
        for role in [CaRole::Members, CaRole::Peers] {
            let error = issue(&["localhost"], role).unwrap_err();
            assert!(matches!(error, PkiError::WrongRole { .. }));
        }
    }
}

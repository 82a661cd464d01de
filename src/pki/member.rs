//! What a member's certificate names, and its issue.

use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType};

use super::authority::{Authority, CaRole};
use super::certificate;
use super::csr::JoinerCsr;
use super::error::{NameError, PkiError};
use super::names::{self, NodeName, TrustDomain};

/// The most that a common name holds (RFC 5280 appendix A, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// The names that the server gives to one admitted machine.
///
/// They come from the admission alone: the record's namespace and node, or the offline key and
/// the node in its token. Nothing of a request can reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberIdentity {
    trust_domain: TrustDomain,
    dns_names: Vec<String>,
    uris: Vec<String>,
}

impl MemberIdentity {
    /// A machine admitted by a JoinToken of `namespace`.
    ///
    /// DNS name `<node>.<namespace>.<trust domain>`, with `bare_name` also `<node>` alone (for
    /// namespaces that the operator's configuration allows it); URIs
    /// `jointoken://<trust domain>/ns/<namespace>/node/<node>` and
    /// `jointoken://<trust domain>/admission/<token id>`.
    pub fn resource(
        trust_domain: &TrustDomain,
        namespace: &str,
        node: &NodeName,
        admission_token_id_hex: &str,
        bare_name: bool,
    ) -> Result<Self, NameError> {
        names::namespace(namespace)?;
        let mut dns_names = vec![format!("{node}.{namespace}.{trust_domain}")];
        if bare_name {
            dns_names.push(node.to_string());
        }
        let uri = format!("jointoken://{trust_domain}/ns/{namespace}/node/{node}");
        Self::with(trust_domain, dns_names, uri, admission_token_id_hex)
    }

    /// A machine admitted by a token that was minted outside the cluster with the offline key
    /// `key_id_hex` (1 to 32 digits).
    ///
    /// DNS name `<node>.<key id>.offline.<trust domain>`: it has three labels before the trust
    /// domain where a namespace's machine has two, and no label may contain a dot, so no
    /// namespace (one called `offline` included) can have it. A name there is, because a machine
    /// without one could not be a TLS server to its peers. URI
    /// `jointoken://<trust domain>/offline/<key id>/node/<node>` and the admission's.
    pub fn offline(
        trust_domain: &TrustDomain,
        key_id_hex: &str,
        node: &NodeName,
        admission_token_id_hex: &str,
    ) -> Result<Self, NameError> {
        names::hex_id("key id", key_id_hex, 1..=32, "1 to 32")?;
        let dns_names = vec![format!("{node}.{key_id_hex}.offline.{trust_domain}")];
        let uri = format!("jointoken://{trust_domain}/offline/{key_id_hex}/node/{node}");
        Self::with(trust_domain, dns_names, uri, admission_token_id_hex)
    }

    fn with(
        trust_domain: &TrustDomain,
        dns_names: Vec<String>,
        uri: String,
        token_id: &str,
    ) -> Result<Self, NameError> {
        names::hex_id("token id", token_id, 32..=32, "32")?;
        let admission = format!("jointoken://{trust_domain}/admission/{token_id}");
        Ok(Self {
            trust_domain: trust_domain.clone(),
            dns_names,
            uris: vec![uri, admission],
        })
    }

    /// The DNS names; the first is the full one.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The URIs: who the machine is, then its admission.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// The full DNS name where a common name can hold it. Otherwise the certificate has an empty
    /// subject, and its alternative names are critical (RFC 5280 section 4.2.1.6).
    pub fn common_name(&self) -> Option<&str> {
        let name = self.dns_names.first()?;
        (name.len() <= MAX_COMMON_NAME).then_some(name.as_str())
    }
}

/// Whom a member's certificate names, as far as the machine itself needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberNames {
    /// The world that it belongs to.
    pub trust_domain: TrustDomain,
    /// The machine.
    pub node: NodeName,
    /// The token that admitted it, 32 hexadecimal digits.
    pub token_id: String,
}

impl MemberNames {
    /// Reads them off a certificate in DER, if it is a member's. Who signed it is not looked at.
    pub fn of_cert(der: &[u8]) -> Option<Self> {
        let parsed = certificate::parse(der).ok()?;
        let uris = certificate::uri_names(&parsed).ok()?;
        let mut ours = uris
            .iter()
            .filter_map(|uri| uri.strip_prefix("jointoken://")?.split_once('/'));
        let (domain, machine) = ours.next()?;
        let (same_domain, admission) = ours.next()?;
        let token_id = admission.strip_prefix("admission/")?;
        names::hex_id("token id", token_id, 32..=32, "32").ok()?;
        let (place, node) = machine.rsplit_once("/node/")?;
        let is_a_place = place.starts_with("ns/") || place.starts_with("offline/");
        if domain != same_domain || !is_a_place || ours.next().is_some() {
            return None;
        }
        Some(Self {
            trust_domain: TrustDomain::parse(domain).ok()?,
            node: NodeName::parse(node).ok()?,
            token_id: token_id.to_owned(),
        })
    }
}

/// Issues a member's certificate, in DER.
///
/// `members` must be the CA for members, of the identity's trust domain. Of `csr` nothing but the
/// key is used. Valid from five minutes before `now_ms` for `lifetime_ms`, at most to the CA's
/// own end; for TLS as client and as server.
pub fn issue_member(
    members: &Authority,
    identity: &MemberIdentity,
    csr: &JoinerCsr,
    now_ms: u64,
    lifetime_ms: u64,
) -> Result<Vec<u8>, PkiError> {
    members.require(CaRole::Members, &identity.trust_domain)?;
    let (not_before, not_after) = members.dates(now_ms, lifetime_ms)?;
    let mut params = certificate::leaf(not_before, not_after)?;
    if let Some(name) = identity.common_name() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    for name in &identity.dns_names {
        let name = name.as_str().try_into()?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    for uri in &identity.uris {
        let uri = uri.as_str().try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    members.sign(&params, csr.key())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::pki::JoinerKey;

    const NOW: u64 = 1_790_000_000_123;
    const HOUR: u64 = 3_600_000;
    const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";

    fn domain() -> TrustDomain {
        TrustDomain::parse("prod.example.com").unwrap()
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn csr() -> JoinerCsr {
        let key = JoinerKey::generate().unwrap();
        JoinerCsr::parse(key.csr_pem().unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn a_resources_machine_has_these_names() {
        let plain = MemberIdentity::resource(&domain(), "edge", &node("n1"), TOKEN, false).unwrap();
        assert_eq!(plain.dns_names(), ["n1.edge.prod.example.com"]);
        assert_eq!(plain.common_name(), Some("n1.edge.prod.example.com"));
        assert_eq!(
            plain.uris(),
            [
                "jointoken://prod.example.com/ns/edge/node/n1".to_owned(),
                format!("jointoken://prod.example.com/admission/{TOKEN}"),
            ]
        );
        let bare = MemberIdentity::resource(&domain(), "edge", &node("n1"), TOKEN, true).unwrap();
        assert_eq!(bare.dns_names(), ["n1.edge.prod.example.com", "n1"]);
        assert_eq!(bare.uris(), plain.uris());
    }

    #[test]
    fn an_offline_tokens_machine_has_these_names() {
        let it = MemberIdentity::offline(&domain(), "0badcafe", &node("n1"), TOKEN).unwrap();
        assert_eq!(it.dns_names(), ["n1.0badcafe.offline.prod.example.com"]);
        assert_eq!(
            it.uris()[0],
            "jointoken://prod.example.com/offline/0badcafe/node/n1"
        );
    }

    #[test]
    fn a_certificate_tells_whom_it_is_of() {
        let ca = Authority::generate(CaRole::Members, &domain(), NOW).unwrap();
        let said = MemberNames {
            trust_domain: domain(),
            node: node("n1"),
            token_id: TOKEN.to_owned(),
        };
        for identity in [
            MemberIdentity::resource(&domain(), "edge", &node("n1"), TOKEN, true),
            MemberIdentity::offline(&domain(), "0badcafe", &node("n1"), TOKEN),
        ] {
            let leaf = issue_member(&ca, &identity.unwrap(), &csr(), NOW, HOUR).unwrap();
            assert_eq!(MemberNames::of_cert(&leaf), Some(said.clone()));
        }
        assert_eq!(MemberNames::of_cert(ca.cert_der()), None);
        assert_eq!(MemberNames::of_cert(b"no certificate"), None);
    }

    #[test]
    fn bad_parts_are_refused() {
        for namespace in ["", "a.b", "A", "a/b", "../door", "kube_system"] {
            let made = MemberIdentity::resource(&domain(), namespace, &node("n"), TOKEN, false);
            assert!(made.is_err(), "{namespace}");
        }
        for token in ["", "door", &TOKEN[1..], &TOKEN.to_uppercase()] {
            let made = MemberIdentity::resource(&domain(), "ns", &node("n"), token, false);
            assert!(made.is_err(), "{token}");
        }
        for key in ["", "../x", "a.b", "XY", &"0".repeat(33)] {
            let made = MemberIdentity::offline(&domain(), key, &node("n"), TOKEN);
            assert!(made.is_err(), "{key}");
        }
    }

    #[test]
    fn a_name_too_long_for_a_common_name_stays_in_the_alternative_names() {
        let long = node(&"x".repeat(63));
        let identity = MemberIdentity::resource(&domain(), "edge", &long, TOKEN, false).unwrap();
        assert_eq!(identity.common_name(), None);
        let ca = Authority::generate(CaRole::Members, &domain(), NOW).unwrap();
        let der = issue_member(&ca, &identity, &csr(), NOW, HOUR).unwrap();
        let parsed = certificate::parse(&der).unwrap();
        assert_eq!(parsed.subject().iter().count(), 0);
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical);
        assert_eq!(names.value.general_names.len(), 3);
    }

    #[test]
    fn dates_serial_usages_and_key_are_the_servers_choice() {
        let ca = Authority::generate(CaRole::Members, &domain(), NOW).unwrap();
        let identity =
            MemberIdentity::resource(&domain(), "edge", &node("n1"), TOKEN, false).unwrap();
        let csr = csr();
        let mut serials = HashSet::new();
        for _ in 0..32 {
            let der = issue_member(&ca, &identity, &csr, NOW, HOUR).unwrap();
            let parsed = certificate::parse(&der).unwrap();
            let serial = parsed.raw_serial();
            assert!(serial.len() == 16 && (0x40..0x80).contains(&serial[0]));
            assert!(serials.insert(serial.to_vec()));
            assert_eq!(
                certificate::spki_sha256_of_cert(&der).unwrap(),
                csr.public_key_sha256()
            );
            let (start, end) = certificate::validity_ms(&parsed).unwrap();
            assert_eq!(start, (NOW - 300_000) / 1000 * 1000);
            assert_eq!(end, (NOW + HOUR) / 1000 * 1000 + 999);
            assert!(!parsed.is_ca());
            let usage = parsed.key_usage().unwrap().unwrap().value;
            assert_eq!(usage.flags, 1, "digitalSignature alone");
            let extended = parsed.extended_key_usage().unwrap().unwrap().value;
            assert!(extended.client_auth && extended.server_auth && extended.other.is_empty());
            let ca = certificate::parse(ca.cert_der()).unwrap();
            parsed.verify_signature(Some(ca.public_key())).unwrap();
        }
    }

    #[test]
    fn a_members_life_ends_with_its_ca_at_the_latest() {
        let ca = Authority::generate(CaRole::Members, &domain(), NOW).unwrap();
        let identity =
            MemberIdentity::resource(&domain(), "edge", &node("n1"), TOKEN, false).unwrap();
        let late = ca.not_after_ms() - HOUR;
        let der = issue_member(&ca, &identity, &csr(), late, 24 * HOUR).unwrap();
        let (_, end) = certificate::validity_ms(&certificate::parse(&der).unwrap()).unwrap();
        assert_eq!(end, ca.not_after_ms());
    }

    #[test]
    fn only_the_members_ca_of_that_trust_domain_issues_members() {
        let identity =
            MemberIdentity::resource(&domain(), "edge", &node("n1"), TOKEN, false).unwrap();
        for role in [CaRole::Door, CaRole::Peers] {
            let ca = Authority::generate(role, &domain(), NOW).unwrap();
            assert_eq!(
                issue_member(&ca, &identity, &csr(), NOW, HOUR).unwrap_err(),
                PkiError::WrongRole {
                    expected: CaRole::Members,
                    found: role
                }
            );
        }
        let other = TrustDomain::parse("other.example.com").unwrap();
        let ca = Authority::generate(CaRole::Members, &other, NOW).unwrap();
        assert!(matches!(
            issue_member(&ca, &identity, &csr(), NOW, HOUR),
            Err(PkiError::WrongTrustDomain { .. })
        ));
    }

    proptest! {
        /// One trust domain, two admissions: the DNS names and the first URIs are equal only if
        /// namespace (or key) and node are; the kinds never meet.
        #[test]
        fn no_two_places_share_a_name(
            a in ("[a-f0-9]{1,8}|offline|door|ns", "[a-z]{1,3}|offline", any::<bool>()),
            b in ("[a-f0-9]{1,8}|offline|door|ns", "[a-z]{1,3}|offline", any::<bool>()),
        ) {
            let make = |(place, name, offline): &(String, String, bool)| {
                let node = node(name);
                match offline {
                    true => MemberIdentity::offline(&domain(), place, &node, TOKEN),
                    false => MemberIdentity::resource(&domain(), place, &node, TOKEN, false),
                }
            };
            if let (Ok(one), Ok(two)) = (make(&a), make(&b)) {
                prop_assert_eq!(one.dns_names() == two.dns_names(), a == b);
                prop_assert_eq!(one.uris()[0] == two.uris()[0], a == b);
                let door = crate::pki::door_uri(&domain());
                prop_assert!(!one.uris().contains(&door));
            }
        }
    }
}

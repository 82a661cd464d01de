//! What a replica shows to the other replicas.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;

use super::authority::{Authority, CaRole};
use super::error::PkiError;
use super::fresh::{Claims, Fresh};
use super::names::{self, TrustDomain};

/// What the URI of every peer of this trust domain begins with; the peer's address, `host:port`, follows.
pub(super) fn peer_uri_prefix(trust_domain: &TrustDomain) -> String {
    format!("jointoken://{trust_domain}/peer/")
}

/// A key and certificate for one replica, made anew at each start and before each expiry; the key is never written anywhere.
pub struct PeerIdentity {
    shown: Arc<CertifiedKey>,
    not_before_ms: u64,
    not_after_ms: u64,
}

impl PeerIdentity {
    /// Makes a P-256 key and a certificate for it by the peers' CA, for TLS as server and as client.
    ///
    /// `address` is `host:port` ([`names::peer_host`]), as it stands in the list of the group. It is what the certificate
    /// proves, by the URI `jointoken://<trust domain>/peer/<address>`; the host is among the names too.
    pub fn issue(
        peers: &Authority,
        trust_domain: &TrustDomain,
        address: &str,
        now_ms: u64,
        lifetime_ms: u64,
    ) -> Result<Self, PkiError> {
        peers.require(CaRole::Peers, trust_domain)?;
        let (host, _) = names::peer_host(address)?;
        // A replica whose clock is behind the founding speaks to the others all the same: they see that its clock is wrong.
        let now_ms = now_ms.max(peers.not_before_ms());
        let host = match host {
            ServerName::IpAddress(ip) => SanType::IpAddress(IpAddr::from(ip)),
            name => SanType::DnsName(name.to_str().as_ref().try_into()?),
        };
        let claims = Claims {
            common_name: "jointoken peer",
            uri: format!("{}{address}", peer_uri_prefix(trust_domain)),
            names: vec![host],
            usages: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        let fresh = Fresh::issue(peers, claims, now_ms, lifetime_ms)?;
        // The other side has the CA.
        let shown = (fresh.key.certified(vec![fresh.leaf]))
            .map_err(|error| PkiError::Crypto(error.to_string()))?;
        Ok(Self {
            shown,
            not_before_ms: fresh.not_before_ms,
            not_after_ms: fresh.not_after_ms,
        })
    }

    /// Certificate and key, to show in TLS.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.shown)
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

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("not_after_ms", &self.not_after_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::GeneralName;

    use super::*;
    use crate::pki::certificate;

    const NOW: u64 = 1_790_000_000_000;
    const DAY: u64 = 86_400_000;

    fn issue(role: CaRole, address: &str) -> Result<PeerIdentity, PkiError> {
        let domain = TrustDomain::parse("prod.example.com").unwrap();
        let ca = Authority::generate(role, &domain, NOW).unwrap();
        PeerIdentity::issue(&ca, &domain, address, NOW, DAY)
    }

    #[test]
    fn the_certificate_names_address_and_host_and_serves_both_ends() {
        for (address, dns, ip) in [
            ("node-0.peers:7443", Some("node-0.peers"), None),
            ("10.0.0.7:7443", None, Some(vec![10, 0, 0, 7])),
            ("[::1]:7443", None, Some([vec![0; 15], vec![1]].concat())),
        ] {
            let peer = issue(CaRole::Peers, address).unwrap();
            let shown = peer.certified_key();
            let leaf = certificate::parse(&shown.cert[0]).unwrap();
            let uris = certificate::uri_names(&leaf).unwrap();
            assert_eq!(
                uris,
                [format!("jointoken://prod.example.com/peer/{address}")]
            );
            let names = leaf.subject_alternative_name().unwrap().unwrap();
            let names = &names.value.general_names;
            assert_eq!(names.len(), 2);
            match &names[1] {
                GeneralName::DNSName(name) => assert_eq!(Some(*name), dns),
                GeneralName::IPAddress(bytes) => assert_eq!(Some(bytes.to_vec()), ip),
                other => panic!("{other:?}"),
            }
            let extended = leaf.extended_key_usage().unwrap().unwrap().value;
            assert!(extended.server_auth && extended.client_auth);
            assert_eq!(
                certificate::validity_ms(&leaf).unwrap(),
                (NOW - certificate::BACKDATE_MS, NOW + DAY + 999)
            );
        }
    }

    #[test]
    fn bad_addresses_and_other_cas_are_refused_and_debug_shows_no_key() {
        for bad in ["", "node-0", "Node:1", "node-0:0", "::1:7443"] {
            let error = issue(CaRole::Peers, bad).unwrap_err();
            assert!(matches!(error, PkiError::Name(_)), "{bad}");
        }
        for role in [CaRole::Door, CaRole::Members] {
            let error = issue(role, "node-0:7443").unwrap_err();
            assert!(matches!(error, PkiError::WrongRole { .. }));
        }
        let peer = issue(CaRole::Peers, "node-0:7443").unwrap();
        assert_eq!(
            format!("{peer:?}"),
            format!("PeerIdentity {{ not_after_ms: {}, .. }}", NOW + DAY)
        );
    }
}

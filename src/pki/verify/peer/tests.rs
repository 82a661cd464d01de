//! Certificates of every bad kind, and what both ends say of them.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, SanType};
use rustls::crypto::aws_lc_rs;

use super::*;
use crate::pki::certificate::blank;
use crate::pki::secret_key::SecretKey;
use crate::pki::{Authority, DoorIdentity, PeerIdentity};

const NOW: u64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;
const ADDRESS: &str = "node-0.peers:7443";

fn domain() -> TrustDomain {
    TrustDomain::parse("prod.example.com").unwrap()
}

fn ca() -> Authority {
    Authority::generate(CaRole::Peers, &domain(), NOW).unwrap()
}

fn verifier(cas: &[&Authority]) -> PeerVerifier {
    let cas: Vec<_> = cas.iter().map(|ca| ca.cert_der()).collect();
    let provider = Arc::new(aws_lc_rs::default_provider());
    PeerVerifier::new(&cas, &domain(), &provider).unwrap()
}

fn peer_of(ca: &Authority) -> CertificateDer<'static> {
    let peer = PeerIdentity::issue(ca, ca.trust_domain(), ADDRESS, NOW, DAY).unwrap();
    peer.certified_key().cert[0].clone()
}

/// What both ends say of a certificate: they always agree but for usages.
fn check(verifier: &PeerVerifier, leaf: &CertificateDer<'_>, now_ms: u64) -> [bool; 2] {
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
    let name = ServerName::try_from("any.example").unwrap();
    [
        verifier
            .verify_server_cert(leaf, &[], &name, &[], now)
            .is_ok(),
        verifier.verify_client_cert(leaf, &[], now).is_ok(),
    ]
}

/// A certificate that the CA signs, its contents changed at will.
fn leaf_by(ca: &Authority, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let key = SecretKey::generate().unwrap();
    let mut params = blank(NOW - DAY, NOW + DAY).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.subject_alt_names = uris(&[&format!("jointoken://prod.example.com/peer/{ADDRESS}")]);
    change(&mut params);
    ca.sign(&params, key.public()).unwrap().into()
}

fn uris(texts: &[&str]) -> Vec<SanType> {
    let uri = |text: &&str| SanType::URI((*text).try_into().unwrap());
    texts.iter().map(uri).collect()
}

#[test]
fn a_peer_proves_its_address_until_its_certificate_ends() {
    let ca = ca();
    let (verifier, peer) = (verifier(&[&ca]), peer_of(&ca));
    assert_eq!(verifier.address_of(&peer).unwrap(), ADDRESS);
    // Whoever looks may have a clock that is behind, or the peer one that is ahead: they must hear of each other to find out.
    for fine in [0, NOW - DAY, NOW - 300_000, NOW, NOW + DAY] {
        assert_eq!(check(&verifier, &peer, fine), [true; 2]);
    }
    assert_eq!(check(&verifier, &peer, NOW + DAY + 1_000), [false; 2]);
}

#[test]
fn peers_of_the_old_and_of_the_new_ca_are_both_trusted_and_of_a_third_not() {
    let (old, new, third) = (ca(), ca(), ca());
    let both = verifier(&[&old, &new]);
    assert_eq!(check(&both, &peer_of(&old), NOW), [true; 2]);
    assert_eq!(check(&both, &peer_of(&new), NOW), [true; 2]);
    assert_eq!(check(&both, &peer_of(&third), NOW), [false; 2]);
}

#[test]
fn exactly_one_uri_of_ours_must_be_a_peers_of_our_trust_domain() {
    let ca = ca();
    let verifier = verifier(&[&ca]);
    assert_eq!(check(&verifier, &leaf_by(&ca, |_| ()), NOW), [true; 2]);
    let peer = "jointoken://prod.example.com/peer/node-0.peers:7443";
    let also_others = [peer, "https://node-0.example"];
    let bad: &[&[&str]] = &[
        &[],
        &["https://prod.example.com/peer/node-0:7443"],
        &["jointoken://prod.example.com/door"],
        &["jointoken://prod.example.com/ca/peers"],
        &["jointoken://prod.example.com/ns/default/node/peer"],
        &["jointoken://other.example.com/peer/node-0:7443"],
        &["jointoken://prod.example.com/peer/"],
        &["jointoken://prod.example.com/peer/node-0"],
        &["jointoken://prod.example.com/peer/Node-0:7443"],
        &["jointoken://prod.example.com/peer/node-0:7443/x"],
        &["jointoken://prod.example.com/peers/node-0:7443"],
        &[peer, "jointoken://prod.example.com/peer/node-1:7443"],
        &[peer, "jointoken://prod.example.com/door"],
    ];
    for names in bad {
        let leaf = leaf_by(&ca, |p| p.subject_alt_names = uris(names));
        assert_eq!(check(&verifier, &leaf, NOW), [false; 2], "{names:?}");
        assert!(verifier.address_of(&leaf).is_err(), "{names:?}");
    }
    let leaf = leaf_by(&ca, |p| p.subject_alt_names = uris(&also_others));
    assert_eq!(check(&verifier, &leaf, NOW), [true; 2]);
    let as_dns = leaf_by(&ca, |p| {
        p.subject_alt_names = vec![SanType::DnsName(peer.try_into().unwrap())];
    });
    assert_eq!(check(&verifier, &as_dns, NOW), [false; 2]);
}

#[test]
fn usages_count_and_a_ca_is_no_peer() {
    let ca = ca();
    let verifier = verifier(&[&ca]);
    let (server, client) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    for (usage, expected) in [(server, [true, false]), (client, [false, true])] {
        let leaf = leaf_by(&ca, |p| p.extended_key_usages = vec![usage]);
        assert_eq!(check(&verifier, &leaf, NOW), expected);
    }
    let a_ca = leaf_by(&ca, |p| {
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(check(&verifier, &a_ca, NOW), [false; 2]);
    let itself = ca.cert_der().to_vec().into();
    assert_eq!(check(&verifier, &itself, NOW), [false; 2]);
    let rubbish = CertificateDer::from(vec![0x30, 0x80, 1, 2, 3]);
    assert_eq!(check(&verifier, &rubbish, NOW), [false; 2]);
    assert!(verifier.address_of(&rubbish).is_err());
}

#[test]
fn the_door_and_cas_of_other_roles_and_domains_are_refused() {
    let peers = ca();
    let door = Authority::generate(CaRole::Door, &domain(), NOW).unwrap();
    let names = ["node-0.peers".to_owned()];
    let shown = DoorIdentity::issue(&door, &domain(), &names, &[], NOW, DAY).unwrap();
    assert_eq!(
        check(&verifier(&[&peers]), &shown.chain()[0], NOW),
        [false; 2]
    );

    let elsewhere = TrustDomain::parse("other.example.com").unwrap();
    let elsewhere = Authority::generate(CaRole::Peers, &elsewhere, NOW).unwrap();
    assert_eq!(
        check(&verifier(&[&peers]), &peer_of(&elsewhere), NOW),
        [false; 2]
    );
    let provider = Arc::new(aws_lc_rs::default_provider());
    let new = |ca: &Authority| PeerVerifier::new(&[ca.cert_der()], &domain(), &provider);
    assert!(matches!(new(&door), Err(PkiError::WrongRole { .. })));
    assert!(matches!(
        new(&elsewhere),
        Err(PkiError::WrongTrustDomain { .. })
    ));
}

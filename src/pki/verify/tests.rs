//! Whole handshakes in memory, and presented chains of every bad kind.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, SanType};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::*;
use crate::pki::certificate::{blank, spki_sha256_of_cert};
use crate::pki::secret_key::SecretKey;
use crate::pki::{
    Authority, CaRole, DoorIdentity, JoinerCsr, JoinerKey, MemberIdentity, NodeName, TrustDomain,
    issue_member,
};

const NOW: u64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;
const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn domain() -> TrustDomain {
    TrustDomain::parse("prod.example.com").unwrap()
}

fn ca(role: CaRole) -> Authority {
    Authority::generate(role, &domain(), NOW).unwrap()
}

fn door_of(ca: &Authority) -> DoorIdentity {
    let loopback = [IpAddr::from([127, 0, 0, 1])];
    DoorIdentity::issue(ca, &domain(), &[], &loopback, NOW, DAY).unwrap()
}

fn verifier(ca: &Authority) -> DoorVerifier {
    DoorVerifier::new(ca.spki_pin(), None, &provider())
}

/// A certificate that the door's CA signs, its contents changed at will.
fn leaf_by(
    ca: &Authority,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> CertificateDer<'static> {
    let key = SecretKey::generate().unwrap();
    let mut params = blank(NOW - DAY, NOW + DAY).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![uri(&crate::pki::door_uri(&domain()))];
    change(&mut params);
    ca.sign(&params, key.public()).unwrap().into()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn der_of(ca: &Authority) -> CertificateDer<'static> {
    ca.cert_der().to_vec().into()
}

/// Carries bytes between the two until both are done or one fails.
fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) -> io::Result<()> {
    let failed = |e: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        let mut read = wire.as_slice();
        while !read.is_empty() {
            server.read_tls(&mut read)?;
            server.process_new_packets().map_err(failed)?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire)?;
        }
        let mut read = wire.as_slice();
        while !read.is_empty() {
            client.read_tls(&mut read)?;
            client.process_new_packets().map_err(failed)?;
        }
    }
    Ok(())
}

fn server(door: &DoorIdentity) -> ServerConnection {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(SelfSignedClientVerifier::new(&provider())))
        .with_single_cert(door.chain().to_vec(), door.private_key())
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

fn client(pin: &Authority, key: Option<&JoinerKey>, now_ms: u64) -> ClientConnection {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(At(now_ms)))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(pin)));
    let config = match key {
        Some(key) => {
            let certificate = key.self_signed_cert_der(now_ms).unwrap().into();
            config
                .with_client_auth_cert(vec![certificate], key.private_key())
                .unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("anything.example").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

#[test]
fn joiner_and_door_meet_and_the_door_learns_the_joiners_key() {
    let ca = ca(CaRole::Door);
    let key = JoinerKey::generate().unwrap();
    let (mut client, mut server) = (client(&ca, Some(&key), NOW), server(&door_of(&ca)));
    shake_hands(&mut client, &mut server).unwrap();
    let peer = server.peer_certificates().unwrap();
    assert_eq!(
        spki_sha256_of_cert(&peer[0]).unwrap(),
        key.public_key_sha256()
    );
}

#[test]
fn a_client_without_a_certificate_is_let_in_as_nobody() {
    let ca = ca(CaRole::Door);
    let (mut client, mut server) = (client(&ca, None, NOW), server(&door_of(&ca)));
    shake_hands(&mut client, &mut server).unwrap();
    assert!(server.peer_certificates().is_none());
}

#[test]
fn a_copied_certificate_without_its_key_does_not_pass() {
    let ca = ca(CaRole::Door);
    let victim = JoinerKey::generate().unwrap();
    let thief = JoinerKey::generate().unwrap();
    let stolen = victim.self_signed_cert_der(NOW).unwrap();
    let signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&thief.private_key()).unwrap();
    let shown = rustls::sign::CertifiedKey::new(vec![stolen.into()], signer);
    let config = ClientConfig::builder_with_details(provider(), Arc::new(At(NOW)))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(&ca)))
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    let name = ServerName::try_from("anything.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let error = shake_hands(&mut client, &mut server(&door_of(&ca))).unwrap_err();
    assert!(error.to_string().contains("BadSignature"), "{error}");
}

#[test]
fn the_refusal_is_found_in_the_connections_error() {
    let (pinned, other) = (ca(CaRole::Door), ca(CaRole::Door));
    let mut wrong = client(&pinned, None, NOW);
    let error = shake_hands(&mut wrong, &mut server(&door_of(&other))).unwrap_err();
    assert_eq!(door_refusal(&error), Some(&DoorRefusal::Pin));
    // As an HTTP client reports it: the io::Error inside another error.
    let wrapped = io::Error::other(error);
    assert_eq!(door_refusal(&wrapped), Some(&DoorRefusal::Pin));

    let mut late = client(&pinned, None, NOW + 2 * DAY);
    let error = shake_hands(&mut late, &mut server(&door_of(&pinned))).unwrap_err();
    let refusal = door_refusal(&error).unwrap();
    assert!(refusal.is_dates_only(), "{refusal}");

    assert_eq!(door_refusal(&io::Error::other("reset")), None);
}

#[test]
fn dates_alone_are_told_from_distrust() {
    let (pinned, other) = (ca(CaRole::Door), ca(CaRole::Door));
    let door = door_of(&pinned);
    let check = |ca: &Authority, now| verifier(ca).check(&door.chain()[0], &door.chain()[1..], now);
    for fine in [NOW - 300_000, NOW, NOW + DAY] {
        assert_eq!(check(&pinned, fine), Ok(()));
    }
    for off in [0, NOW - 301_000, NOW + DAY + 1_000, u64::MAX] {
        assert!(check(&pinned, off).unwrap_err().is_dates_only());
        // A door that is not trusted is not excused by a wrong clock.
        assert_eq!(check(&other, off), Err(DoorRefusal::Pin));
    }
}

#[test]
fn what_the_pinned_ca_signed_must_be_the_door() {
    let ca = ca(CaRole::Door);
    let check = |leaf| verifier(&ca).check(&leaf, &[der_of(&ca)], NOW);
    assert_eq!(check(leaf_by(&ca, |_| ())), Ok(()));
    let names = [
        "jointoken://prod.example.com/doors",
        "jointoken://prod.example.com/door/",
        "jointoken://other.example.com/door",
        "jointoken://prod.example.com/ns/door/node/door",
        "https://prod.example.com/door",
    ];
    for name in names {
        let leaf = leaf_by(&ca, |p| p.subject_alt_names = vec![uri(name)]);
        let refusal = check(leaf).unwrap_err();
        assert!(matches!(refusal, DoorRefusal::NotTheDoor { .. }), "{name}");
    }
    let as_dns = leaf_by(&ca, |p| {
        let name = "jointoken://prod.example.com/door".try_into().unwrap();
        p.subject_alt_names = vec![SanType::DnsName(name)];
    });
    assert!(check(as_dns).is_err());
    let none = leaf_by(&ca, |p| p.subject_alt_names.clear());
    assert!(check(none).is_err());
    let client_only = leaf_by(&ca, |p| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert_eq!(check(client_only), Err(DoorRefusal::Chain));
    let a_ca = leaf_by(&ca, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(check(a_ca), Err(DoorRefusal::Chain));
}

#[test]
fn a_member_is_not_the_door() {
    let members = ca(CaRole::Members);
    let node = NodeName::parse("door").unwrap();
    let identity = MemberIdentity::resource(&domain(), "door", &node, TOKEN, true).unwrap();
    let key = JoinerKey::generate().unwrap();
    let csr = JoinerCsr::parse(key.csr_pem().unwrap().as_bytes()).unwrap();
    let member: CertificateDer<'_> = issue_member(&members, &identity, &csr, NOW, DAY)
        .unwrap()
        .into();
    let door = ca(CaRole::Door);
    let chains = [
        vec![der_of(&members)],
        vec![der_of(&door)],
        vec![der_of(&members), der_of(&door)],
        vec![],
    ];
    for others in chains {
        assert!(verifier(&door).check(&member, &others, NOW).is_err());
        // Even a token that pinned the members' CA by mistake would not trust a member.
        assert!(verifier(&members).check(&member, &others, NOW).is_err());
    }
}

#[test]
fn the_pinned_key_in_a_certificate_of_another_hand_is_refused() {
    let ca = ca(CaRole::Door);
    let forger = SecretKey::generate().unwrap();
    let mut params = blank(0, NOW + 100 * DAY).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names = vec![uri("jointoken://evil.example.com/ca/door")];
    let issuer = rcgen::Issuer::from_params(&params, forger.signer());
    let pinned = crate::pki::public_key::AdmittedKey::from_spki_der(
        crate::pki::certificate::parse(ca.cert_der())
            .unwrap()
            .public_key()
            .raw,
    )
    .unwrap();
    let forged = params.signed_by(&pinned, &issuer).unwrap().der().clone();
    assert_eq!(spki_sha256_of_cert(&forged), Ok(ca.spki_pin()));
    let door = door_of(&ca);
    let check = |others: &[_]| verifier(&ca).check(&door.chain()[0], others, NOW);
    assert_eq!(
        check(std::slice::from_ref(&forged)),
        Err(DoorRefusal::NotADoorCa)
    );
    // It does not hide the right one either.
    assert_eq!(check(&[forged, der_of(&ca)]), Ok(()));
}

#[test]
fn a_trust_domain_asked_for_must_be_the_cas() {
    let ca = ca(CaRole::Door);
    let door = door_of(&ca);
    let check = |name: &str| {
        let expected = Some(TrustDomain::parse(name).unwrap());
        DoorVerifier::new(ca.spki_pin(), expected, &provider()).check(
            &door.chain()[0],
            &door.chain()[1..],
            NOW,
        )
    };
    assert_eq!(check("prod.example.com"), Ok(()));
    assert!(matches!(
        check("test.example.com"),
        Err(DoorRefusal::TrustDomain { .. })
    ));
}

#[test]
fn rubbish_and_floods_in_the_chain_are_passed_over() {
    let ca = ca(CaRole::Door);
    let door = door_of(&ca);
    let rubbish = || CertificateDer::from(vec![0x30, 0x80, 1, 2, 3]);
    let mut others = vec![rubbish(), door.chain()[0].clone(), der_of(&ca)];
    let check = |others: &[_]| verifier(&ca).check(&door.chain()[0], others, NOW);
    assert_eq!(check(&others), Ok(()));
    others.splice(0..0, (0..20).map(|_| rubbish()));
    assert_eq!(check(&others), Err(DoorRefusal::Pin));
    assert_eq!(
        verifier(&ca).check(&rubbish(), &[der_of(&ca)], NOW),
        Err(DoorRefusal::Chain)
    );
}

/// A door and its CA, made once for the properties.
fn made() -> &'static (Authority, DoorIdentity) {
    static MADE: std::sync::OnceLock<(Authority, DoorIdentity)> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let ca = ca(CaRole::Door);
        let door = door_of(&ca);
        (ca, door)
    })
}

proptest! {
    #[test]
    fn a_leaf_changed_in_any_byte_or_cut_is_refused(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (ca, door) = made();
        let mut leaf = door.chain()[0].to_vec();
        let at = at.index(leaf.len());
        let same = std::mem::replace(&mut leaf[at], to) == to;
        let check = |leaf: &[u8]| {
            verifier(ca).check(&CertificateDer::from(leaf.to_vec()), &door.chain()[1..], NOW)
        };
        prop_assert_eq!(check(&leaf).is_ok(), same, "byte {} to {}", at, to);
        prop_assert!(check(&leaf[..cut.index(leaf.len())]).is_err());
    }

    /// Never a panic, and never another trust domain or key than the pinned CA's.
    #[test]
    fn a_ca_changed_in_any_byte_or_of_random_bytes_does_no_harm(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        random in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (ca, door) = made();
        let mut changed = ca.cert_der().to_vec();
        let at = at.index(changed.len());
        changed[at] = to;
        let leaf = &door.chain()[0];
        let _ = verifier(ca).check(leaf, &[changed.into()], NOW);
        let mut der = vec![0x30, 0x82];
        der.extend(random);
        prop_assert!(spki_sha256_of_cert(&der).is_err());
        prop_assert!(verifier(ca).check(&der.clone().into(), &[der.into()], NOW).is_err());
    }
}

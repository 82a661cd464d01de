use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;

use super::*;
use crate::pki::JoinerKey;

const NOW: u64 = 1_790_000_000_000;

fn own() -> CertificateDer<'static> {
    let key = JoinerKey::generate().unwrap();
    key.self_signed_cert_der(NOW).unwrap().into()
}

fn is_accepted(end_entity: &[u8], intermediates: &[CertificateDer<'_>]) -> bool {
    let verifier = SelfSignedClientVerifier::new(&aws_lc_rs::default_provider());
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(NOW));
    verifier
        .verify_client_cert(&end_entity.into(), intermediates, now)
        .is_ok()
}

/// The contents in a DER element.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let mut der = match length {
        [0, short @ ..0x80] => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    der.extend(contents);
    der
}

/// What is in a DER element.
fn contents(der: &[u8]) -> &[u8] {
    match der[1] {
        0x81 => &der[3..],
        0x82 => &der[4..],
        _ => &der[2..],
    }
}

/// The certificate with other bytes in the place of its public key.
fn with_key(certificate: &[u8], key: &[u8]) -> Vec<u8> {
    let parsed = certificate::parse(certificate).unwrap();
    let (tbs, spki) = (parsed.tbs_certificate.as_ref(), parsed.public_key().raw);
    let inner = contents(tbs);
    let at = inner.windows(spki.len()).position(|w| w == spki).unwrap();
    let tbs_anew = [&inner[..at], key, &inner[at + spki.len()..]].concat();
    let rest = &contents(certificate)[tbs.len()..];
    element(0x30, &[&element(0x30, &tbs_anew)[..], rest].concat())
}

/// The certificate with these extensions and no others.
fn with_extensions(certificate: &[u8], extensions: &[u8]) -> Vec<u8> {
    let parsed = certificate::parse(certificate).unwrap();
    let (tbs, spki) = (parsed.tbs_certificate.as_ref(), parsed.public_key().raw);
    let inner = contents(tbs);
    let at = inner.windows(spki.len()).position(|w| w == spki).unwrap();
    // They stand behind the key.
    let tbs_anew = [&inner[..at + spki.len()], &element(0xa3, extensions)].concat();
    let rest = &contents(certificate)[tbs.len()..];
    element(0x30, &[&element(0x30, &tbs_anew)[..], rest].concat())
}

/// Somebody kept 124 KB of the door's memory with each connection.
#[test]
fn one_certificate_of_bounded_length_is_accepted_and_no_chain() {
    let own = own();
    assert!(is_accepted(&own, &[]));
    assert!(!is_accepted(&own, std::slice::from_ref(&own)));
    let name = [own.to_vec(), vec![0; MAX_CLIENT_CERTIFICATE]].concat();
    let extension = element(0x30, &[element(6, &[0x2a, 3]), element(4, &name)].concat());
    let long = with_extensions(&own, &element(0x30, &extension));
    assert!(certificate::parse(&long).is_ok(), "it is well-formed");
    assert!(long.len() > MAX_CLIENT_CERTIFICATE);
    assert!(!is_accepted(&long, &[]));
}

/// The handshake proves the key that rustls reads; whose key it is, is what the other parser reads.
#[test]
fn both_parsers_read_one_key_or_the_certificate_is_refused() {
    let (own, other) = (own(), own());
    let spki = certificate::parse(&own).unwrap().public_key().raw.to_vec();
    let another = certificate::parse(&other)
        .unwrap()
        .public_key()
        .raw
        .to_vec();
    assert!(
        is_accepted(&with_key(&own, &another), &[]),
        "it is well-formed"
    );
    // A length in more bytes than it takes: one parser may read past it, the other not.
    let inner = contents(&spki);
    let longer = [&[0x30, 0x82, 0, u8::try_from(inner.len()).unwrap()], inner].concat();
    for crafted in [
        with_key(&own, &longer),
        with_key(&own, &[&spki[..], &another].concat()),
        with_key(&own, &element(0x30, &[inner, &another].concat())),
    ] {
        assert!(!is_accepted(&crafted, &[]));
    }
}

#[test]
fn no_changed_byte_makes_two_keys_of_one() {
    let own = own();
    let mut read_by_both = 0;
    for at in 0..own.len() {
        for change in [1, 0x20, 0x80, 0xff] {
            let mut changed = own.to_vec();
            changed[at] ^= change;
            let der = CertificateDer::from(changed);
            let (Ok(ours), Ok(theirs)) =
                (certificate::parse(&der), ParsedCertificate::try_from(&der))
            else {
                continue;
            };
            read_by_both += 1;
            let theirs = theirs.subject_public_key_info();
            assert_eq!(ours.public_key().raw, theirs.as_ref(), "{at} {change}");
        }
    }
    assert!(read_by_both > 100, "{read_by_both}");
}

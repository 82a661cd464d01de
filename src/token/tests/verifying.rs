//! What a key ring accepts, and what it says of the rest.

use super::*;

fn ring() -> KeyRing {
    let mut ring = KeyRing::new();
    ring.insert(resource_key()).unwrap();
    ring.insert_offline(offline_key(), edge_policy()).unwrap();
    ring.insert(SigningKey::nodedb(&[3; 32])).unwrap();
    ring
}

#[test]
fn each_purpose_is_verified() {
    let ring = ring();
    for key in [resource_key(), offline_key()] {
        let verified = ring
            .verify(&presented(&key, &claims_of(&key)), AUDIENCE, NOW_MS)
            .unwrap();
        assert_eq!(
            (verified.key_id, verified.purpose),
            (key.id(), key.purpose())
        );
    }
    let token = mint_nodedb(&SigningKey::nodedb(&[3; 32]), 5, 4_102_444_800).unwrap();
    let verified = ring
        .verify(&Presented::parse(token.expose()).unwrap(), AUDIENCE, NOW_MS)
        .unwrap();
    assert_eq!(
        (&*verified.node_name, verified.purpose),
        ("node-5", Purpose::NodeDb)
    );
}

#[test]
fn unknown_keys_and_wrong_secrets_are_one_answer() {
    let unknown = SigningKey::from_bytes(Purpose::Resource, KeyId([9; 8]), &[0x5a; 32]);
    let wrong = SigningKey::from_bytes(Purpose::Resource, resource_key().id(), &[0x5b; 32]);
    // The key that stands in for unknown ones is public: it must admit nobody.
    let nobody = SigningKey::from_bytes(Purpose::Resource, KeyId([0; 8]), &[0; 32]);
    for key in [unknown, wrong, nobody] {
        let mut claims = claims_of(&key);
        claims.audience = Audience([0; 8]);
        let token = presented(&key, &claims);
        assert_eq!(
            ring().verify(&token, AUDIENCE, NOW_MS),
            Err(VerifyError::Invalid)
        );
    }
    let other = mint_nodedb(&SigningKey::nodedb(&[4; 32]), 5, 4_102_444_800).unwrap();
    let other = Presented::parse(other.expose()).unwrap();
    assert_eq!(
        ring().verify(&other, AUDIENCE, NOW_MS),
        Err(VerifyError::Invalid)
    );
    assert_eq!(
        KeyRing::new().verify(&other, AUDIENCE, NOW_MS),
        Err(VerifyError::Invalid)
    );
}

#[test]
fn another_founding_of_the_store_is_told_apart() {
    let key = resource_key();
    let token = presented(&key, &claims_of(&key));
    assert_eq!(
        ring().verify(&token, Audience([9; 8]), NOW_MS),
        Err(VerifyError::OtherStore)
    );
}

/// The holder of an offline key signs whatever it likes, also that the key were a resource key.
#[test]
fn an_offline_key_mints_no_resource_token() {
    let offline = offline_key();
    let posing = SigningKey::from_bytes(Purpose::Resource, offline.id(), offline.expose_bytes());
    let token = presented(&posing, &claims_of(&posing));
    assert_eq!(
        ring().verify(&token, AUDIENCE, NOW_MS),
        Err(VerifyError::WrongPurpose)
    );
}

#[test]
fn an_offline_key_mints_nothing_beyond_its_policy() {
    let key = offline_key();
    let mut claims = claims_of(&key);
    claims.node_name = "core-1".to_owned();
    let pattern = edge_policy().node_pattern;
    assert_eq!(
        ring().verify(&presented(&key, &claims), AUDIENCE, NOW_MS),
        Err(VerifyError::Policy(PolicyBreach::NodeName { pattern }))
    );
    let mut claims = claims_of(&key);
    claims.expires_at_ms += 1;
    assert_eq!(
        ring().verify(&presented(&key, &claims), AUDIENCE, NOW_MS),
        Err(VerifyError::Policy(PolicyBreach::Ttl {
            max_ttl_ms: 3_600_000
        }))
    );
}

/// Writing a wider policy into an exported key gives a key that mints, but that the store does not
/// have: there the key is derived from the policy.
#[test]
fn a_widened_key_file_is_of_no_use() {
    let wide = OfflinePolicy {
        node_pattern: "*".parse().unwrap(),
        max_ttl_ms: u64::MAX,
    };
    let file = OfflineKeyFile::new(offline_key(), wide.clone(), AUDIENCE, delivery()).unwrap();
    let token = file.mint(TokenId([1; 16]), "core-1", NOW_MS, 1000).unwrap();
    let token = Presented::parse(token.expose()).unwrap();
    let mut ring = KeyRing::new();
    let master = SigningKey::from_bytes(Purpose::Offline, KeyId([0; 8]), &[0xc3; 32]);
    ring.insert_offline(
        SigningKey::derive_offline(&master, KeyId([2; 8]), &wide),
        wide,
    )
    .unwrap();
    assert_eq!(
        ring.verify(&token, AUDIENCE, NOW_MS),
        Err(VerifyError::Invalid)
    );
}

#[test]
fn time_is_reported_and_refuses_nobody() {
    let key = resource_key();
    let claims = claims_of(&key);
    let token = presented(&key, &claims);
    for (now_ms, timing) in [
        (0, Timing::IssuedInFuture),
        (
            claims.issued_at_ms - MAX_ISSUED_AHEAD_MS - 1,
            Timing::IssuedInFuture,
        ),
        (claims.issued_at_ms - MAX_ISSUED_AHEAD_MS, Timing::Live),
        (claims.issued_at_ms, Timing::Live),
        (claims.expires_at_ms - 1, Timing::Live),
        (claims.expires_at_ms, Timing::Expired),
        (u64::MAX, Timing::Expired),
    ] {
        assert_eq!(
            ring().verify(&token, AUDIENCE, now_ms).unwrap().timing,
            timing,
            "{now_ms}"
        );
    }
}

/// Seconds that do not fit into milliseconds are the furthest future, not the past.
#[test]
fn the_furthest_nodedb_expiry_is_in_the_future() {
    let token = mint_nodedb(&SigningKey::nodedb(&[3; 32]), 5, u64::MAX).unwrap();
    let verified = ring()
        .verify(&Presented::parse(token.expose()).unwrap(), AUDIENCE, NOW_MS)
        .unwrap();
    assert_eq!(
        (verified.expires_at_ms, verified.timing),
        (u64::MAX, Timing::Live)
    );
}

#[test]
fn the_ring_keeps_one_key_a_name() {
    let mut ring = ring();
    let nodedb = SigningKey::nodedb(&[3; 32]);
    let posing = SigningKey::from_bytes(Purpose::NodeDb, resource_key().id(), &[1; 32]);
    for key in [resource_key(), nodedb.clone(), posing] {
        let id = key.id();
        assert_eq!(ring.insert(key), Err(KeyRingError::Duplicate(id)));
    }
    let offline = offline_key();
    assert_eq!(
        ring.insert(offline.clone()),
        Err(KeyRingError::Purpose(offline.id()))
    );
    assert_eq!(
        ring.insert_offline(resource_key(), edge_policy()),
        Err(KeyRingError::Purpose(resource_key().id()))
    );
    assert_eq!(ring.keys().count(), 3);
    for id in [resource_key().id(), offline.id(), nodedb.id()] {
        assert!(ring.get(id).is_some());
        assert!(ring.remove(id));
        assert!(!ring.remove(id));
        assert!(ring.get(id).is_none());
    }
}

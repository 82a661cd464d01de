//! Strings that never change, and those of NodeDB with the verdicts of its own verifier.

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::*;

fn vectors(json: &str, list: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(json).unwrap();
    let list = all[list].as_array().unwrap().clone();
    assert!(!list.is_empty());
    list
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn bytes<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    HEXLOWER
        .decode(text(vector, field).as_bytes())
        .unwrap()
        .try_into()
        .unwrap()
}

fn delivery_of(vector: &Value) -> Delivery {
    let urls = vector["urls"].as_array().unwrap();
    Delivery {
        door_pin: bytes(vector, "door_pin"),
        urls: urls
            .iter()
            .map(|url| url.as_str().unwrap().to_owned())
            .collect(),
    }
}

#[test]
fn jt1_tokens_keep_their_bytes() {
    for vector in vectors(include_str!("../../../tests/vectors/jt1.json"), "tokens") {
        let case = text(&vector, "case");
        let purpose = match text(&vector, "purpose") {
            "resource" => Purpose::Resource,
            "offline" => Purpose::Offline,
            other => panic!("{other}"),
        };
        let key = SigningKey::from_bytes(
            purpose,
            KeyId(bytes(&vector, "key_id")),
            &bytes(&vector, "secret"),
        );
        assert_eq!(
            key.fingerprint().to_string(),
            text(&vector, "fingerprint"),
            "{case}"
        );
        let claims = Claims {
            purpose,
            key_id: key.id(),
            audience: Audience(bytes(&vector, "audience")),
            token_id: TokenId(bytes(&vector, "token_id")),
            node_name: text(&vector, "node_name").to_owned(),
            issued_at_ms: vector["issued_at_ms"].as_u64().unwrap(),
            expires_at_ms: vector["expires_at_ms"].as_u64().unwrap(),
        };
        let delivery = delivery_of(&vector);
        let token = text(&vector, "token");
        assert_eq!(
            mint(&key, &claims, &delivery).unwrap().expose(),
            token,
            "{case}"
        );

        let parsed = Presented::parse(token).unwrap();
        let Presented::Jt1(jt1) = &parsed else {
            panic!("{case}")
        };
        assert_eq!(jt1.unverified_claims(), &claims, "{case}");
        assert_eq!(jt1.unverified_delivery(), &delivery, "{case}");

        let mut ring = KeyRing::new();
        match purpose {
            Purpose::Offline => {
                let policy = OfflinePolicy {
                    node_pattern: "*".parse().unwrap(),
                    max_ttl_ms: u64::MAX,
                };
                ring.insert_offline(key, policy).unwrap();
            }
            _ => ring.insert(key).unwrap(),
        }
        let verified = ring
            .verify(&parsed, claims.audience, claims.issued_at_ms)
            .unwrap();
        assert_eq!(verified.timing, Timing::Live, "{case}");
        let public_id = text(&vector, "public_id");
        assert_eq!(verified.token_id.to_string(), public_id, "{case}");
    }
}

#[test]
fn exported_keys_keep_their_bytes() {
    for vector in vectors(include_str!("../../../tests/vectors/jt1.json"), "key_files") {
        let case = text(&vector, "case");
        let master =
            SigningKey::from_bytes(Purpose::Offline, KeyId([0; 8]), &bytes(&vector, "master"));
        let policy = OfflinePolicy {
            node_pattern: text(&vector, "node_pattern").parse().unwrap(),
            max_ttl_ms: vector["max_ttl_ms"].as_u64().unwrap(),
        };
        let key = SigningKey::derive_offline(&master, KeyId(bytes(&vector, "key_id")), &policy);
        assert_eq!(key.expose_bytes(), &bytes(&vector, "secret"), "{case}");
        assert_eq!(
            key.fingerprint().to_string(),
            text(&vector, "fingerprint"),
            "{case}"
        );
        let audience = Audience(bytes(&vector, "audience"));
        let file =
            OfflineKeyFile::new(key, policy.clone(), audience, delivery_of(&vector)).unwrap();
        assert_eq!(*file.render(), text(&vector, "key_file"), "{case}");

        let parsed = OfflineKeyFile::parse(&format!(" {}\n", text(&vector, "key_file"))).unwrap();
        assert_eq!(parsed.render(), file.render(), "{case}");
        assert_eq!(parsed.policy, policy, "{case}");
        assert_eq!(parsed.audience, audience, "{case}");
        assert_eq!(parsed.delivery, delivery_of(&vector), "{case}");
    }
}

#[test]
fn nodedb_verdicts_are_shared() {
    /// Between the expiries of the vectors: 1970, 2030 and 2100.
    const IN_2026_MS: u64 = 1_795_305_600_000;

    let mut verdicts = std::collections::BTreeMap::new();
    for vector in vectors(
        include_str!("../../../tests/vectors/nodedb-tokens.json"),
        "vectors",
    ) {
        let token = text(&vector, "token_hex");
        let verdict = text(&vector, "verdict");
        *verdicts.entry(verdict.to_owned()).or_insert(0) += 1;
        let secret = SigningKey::nodedb(&bytes(&vector, "secret_hex"));
        let mut ring = KeyRing::new();
        // The right secret among others.
        ring.insert(SigningKey::nodedb(&[0x77; 32])).unwrap();
        ring.insert(secret.clone()).unwrap();
        ring.insert(SigningKey::nodedb(&[0x99; 32])).unwrap();

        match (verdict, Presented::parse(token)) {
            ("WrongLength", Err(error)) if token.is_empty() => assert_eq!(error, ParseError::Empty),
            ("WrongLength", Err(error)) => {
                assert_eq!(
                    error,
                    ParseError::WrongLength {
                        digits: token.len()
                    }
                );
            }
            ("InvalidHex", Err(error)) => assert_eq!(error, ParseError::NotHex),
            ("InvalidMac", Ok(presented)) => {
                assert_eq!(
                    ring.verify(&presented, AUDIENCE, IN_2026_MS),
                    Err(VerifyError::Invalid)
                );
            }
            ("valid" | "Expired", Ok(presented)) => {
                let verified = ring.verify(&presented, AUDIENCE, IN_2026_MS).unwrap();
                let (live, expired) = (Timing::Live, Timing::Expired);
                assert_eq!(
                    verified.timing,
                    if verdict == "valid" { live } else { expired }
                );
                assert_eq!(verified.key_id, secret.id());
                assert_eq!(verified.purpose, Purpose::NodeDb);
                assert_eq!(verified.issued_at_ms, None);
                // Each at the last millisecond of its life, and at its end.
                let end = verified.expires_at_ms;
                assert_eq!(
                    ring.verify(&presented, AUDIENCE, end - 1).unwrap().timing,
                    live
                );
                assert_eq!(
                    ring.verify(&presented, AUDIENCE, end).unwrap().timing,
                    expired
                );
                assert_eq!(presented.render().expose(), token.to_lowercase());
                if let Some(for_node) = vector["for_node"].as_str() {
                    let expiry = vector["expiry_unix_secs"].as_u64().unwrap();
                    assert_eq!(verified.node_name, format!("node-{for_node}"));
                    assert!(is_node_name(&verified.node_name));
                    assert_eq!(verified.expires_at_ms, expiry * 1000);
                    assert_eq!(
                        verified.token_id.to_string(),
                        text(&vector, "token_hash_hex")[..32]
                    );
                    let minted = mint_nodedb(&secret, for_node.parse().unwrap(), expiry).unwrap();
                    assert_eq!(minted.expose(), token);
                }
            }
            (verdict, parsed) => panic!("{verdict}: {parsed:?}"),
        }
    }
    let verdicts: Vec<_> = verdicts.into_iter().collect();
    let expected = [
        ("Expired", 2),
        ("InvalidHex", 1),
        ("InvalidMac", 2),
        ("WrongLength", 3),
        ("valid", 11),
    ];
    assert_eq!(
        verdicts,
        expected.map(|(verdict, count)| (verdict.to_owned(), count))
    );
}

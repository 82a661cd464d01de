//! What holds for every token and for every string.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_url()(host in "[a-z][a-z0-9]{0,8}(\\.[a-z]{1,5}){0,2}", port in proptest::option::of(1u16..)) -> String {
        port.map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}"))
    }
}

prop_compose! {
    fn any_token()(
        secret: [u8; 32],
        offline: bool,
        key_id: [u8; 8],
        audience: [u8; 8],
        token_id: [u8; 16],
        node_name in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        issued_at_ms in 0..MAX_TIME_MS - 1,
        ttl_ms in 1..1_000_000_000u64,
        door_pin: [u8; 32],
        urls in proptest::collection::vec(any_url(), 0..=MAX_URLS),
    ) -> (SigningKey, Claims, Delivery) {
        let purpose = if offline { Purpose::Offline } else { Purpose::Resource };
        let key = SigningKey::from_bytes(purpose, KeyId(key_id), &secret);
        let claims = Claims {
            purpose,
            key_id: key.id(),
            audience: Audience(audience),
            token_id: TokenId(token_id),
            node_name,
            issued_at_ms,
            expires_at_ms: (issued_at_ms + ttl_ms).min(MAX_TIME_MS),
        };
        (key, claims, Delivery { door_pin, urls })
    }
}

fn ring_of(key: &SigningKey) -> KeyRing {
    let mut ring = KeyRing::new();
    match key.purpose() {
        Purpose::Offline => {
            let policy = OfflinePolicy {
                node_pattern: "*".parse().unwrap(),
                max_ttl_ms: u64::MAX,
            };
            ring.insert_offline(key.clone(), policy).unwrap();
        }
        _ => ring.insert(key.clone()).unwrap(),
    }
    ring
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_minted_parses_verifies_and_renders_to_itself((key, claims, delivery) in any_token()) {
        let token = mint(&key, &claims, &delivery).unwrap();
        let parsed = Presented::parse(token.expose()).unwrap();
        prop_assert!(parsed.render().expose() == token.expose());
        let Presented::Jt1(jt1) = &parsed else { panic!() };
        prop_assert_eq!(jt1.unverified_claims(), &claims);
        prop_assert_eq!(jt1.unverified_delivery(), &delivery);
        let verified = ring_of(&key).verify(&parsed, claims.audience, claims.issued_at_ms).unwrap();
        prop_assert_eq!(verified.token_id, claims.public_id());
        prop_assert_eq!(verified.token_id, parsed.unverified_token_id());
        prop_assert_eq!(verified.timing, Timing::Live);
    }

    #[test]
    fn one_changed_character_is_refused((key, claims, delivery) in any_token(), at: prop::sample::Index, by in any::<char>()) {
        let token = mint(&key, &claims, &delivery).unwrap();
        let at = at.index(token.expose().len());
        let mut changed: Vec<char> = token.expose().chars().collect();
        prop_assume!(changed[at] != by);
        changed[at] = by;
        prop_assert!(Presented::parse(&changed.into_iter().collect::<String>()).is_err());
    }

    #[test]
    fn one_changed_character_of_the_alphabet_is_refused((key, claims, delivery) in any_token(), at: prop::sample::Index, by in "[A-Za-z0-9_-]") {
        let token = mint(&key, &claims, &delivery).unwrap();
        let at = at.index(token.expose().len());
        let changed = format!("{}{by}{}", &token.expose()[..at], &token.expose()[at + 1..]);
        prop_assume!(changed != token.expose());
        prop_assert!(Presented::parse(&changed).is_err());
    }

    #[test]
    fn a_cut_token_is_refused((key, claims, delivery) in any_token(), start: prop::sample::Index, end: prop::sample::Index) {
        let token = mint(&key, &claims, &delivery).unwrap();
        let end = end.index(token.expose().len());
        let start = start.index(end + 1);
        prop_assert!(Presented::parse(&token.expose()[start..end]).is_err());
        prop_assert!(Presented::parse(&token.expose()[end + 1..]).is_err());
    }

    /// The CRC is no protection from those who compute it anew: the MAC is.
    #[test]
    fn a_flipped_bit_under_a_fitting_crc_is_refused((key, claims, delivery) in any_token(), at: prop::sample::Index, bit in 0u8..8) {
        let token = mint(&key, &claims, &delivery).unwrap();
        let mut bytes = content(&token);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let forged = sealed(&bytes);
        if let Ok(parsed) = Presented::parse(&forged) {
            prop_assert!(parsed.render().expose() == forged);
            let verified = ring_of(&key).verify(&parsed, claims.audience, claims.issued_at_ms);
            prop_assert_eq!(verified, Err(VerifyError::Invalid));
        }
    }

    /// Bytes under a fitting CRC reach all of the parser, and what passes has one encoding.
    #[test]
    fn what_parses_renders_to_itself(
        (key, claims, delivery) in any_token(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = content(&mint(&key, &claims, &delivery).unwrap());
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(tail);
        let text = sealed(&bytes);
        if let Ok(parsed) = Presented::parse(&text) {
            prop_assert!(parsed.render().expose() == text);
        }
    }

    #[test]
    fn trailing_bits_are_refused((key, claims, delivery) in any_token()) {
        let token = mint(&key, &claims, &delivery).unwrap();
        // How many bits of the last character are behind the last whole byte.
        let spare = match token.expose().len() % 4 { 2 => 4, 3 => 2, _ => 0 };
        let symbols = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (rest, last) = token.expose().split_at(token.expose().len() - 1);
        let value = symbols.iter().position(|symbol| *symbol == last.as_bytes()[0]).unwrap();
        for bits in 1..1 << spare {
            let changed = format!("{rest}{}", char::from(symbols[value | bits]));
            prop_assert!(Presented::parse(&changed).is_err());
        }
    }

    #[test]
    fn nothing_panics(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for text in [text.clone(), format!("jt1_{text}"), sealed(&bytes), format!("jtk1_{text}")] {
            if let Ok(parsed) = Presented::parse(&text) {
                prop_assert!(parsed.render().expose() == text);
            }
            let _ = OfflineKeyFile::parse(&text);
        }
    }

    #[test]
    fn nodedb_tokens_are_the_same_in_either_case(secret: [u8; 32], node: u64, expiry: u64, upper: [bool; 96]) {
        let key = SigningKey::nodedb(&secret);
        let token = mint_nodedb(&key, node, expiry).unwrap();
        let mixed: String = token.expose().chars().zip(upper)
            .map(|(digit, upper)| if upper { digit.to_ascii_uppercase() } else { digit })
            .collect();
        let (lower, mixed) = (Presented::parse(token.expose()).unwrap(), Presented::parse(&mixed).unwrap());
        prop_assert_eq!(lower.unverified_token_id(), mixed.unverified_token_id());
        prop_assert!(mixed.render().expose() == token.expose());
        let ring = ring_of(&key);
        prop_assert_eq!(ring.verify(&lower, AUDIENCE, NOW_MS).unwrap(), ring.verify(&mixed, AUDIENCE, NOW_MS).unwrap());
    }

    #[test]
    fn a_flipped_bit_of_a_nodedb_token_is_refused(secret: [u8; 32], node: u64, expiry: u64, at in 0usize..48, bit in 0u8..8) {
        let key = SigningKey::nodedb(&secret);
        let token = mint_nodedb(&key, node, expiry).unwrap();
        let mut bytes = data_encoding::HEXLOWER.decode(token.expose().as_bytes()).unwrap();
        bytes[at] ^= 1 << bit;
        let forged = Presented::parse(&data_encoding::HEXLOWER.encode(&bytes)).unwrap();
        prop_assert_ne!(forged.unverified_token_id(), Presented::parse(token.expose()).unwrap().unverified_token_id());
        prop_assert_eq!(ring_of(&key).verify(&forged, AUDIENCE, NOW_MS), Err(VerifyError::Invalid));
    }
}

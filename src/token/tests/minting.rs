//! What is minted, what is not, and what a damaged copy is told.

use super::*;

fn parse_error(text: &str) -> ParseError {
    Presented::parse(text).unwrap_err()
}

fn token() -> JoinTokenString {
    let key = resource_key();
    mint(&key, &claims_of(&key), &delivery()).unwrap()
}

#[test]
fn claims_of_another_key_are_not_minted() {
    let (resource, offline) = (resource_key(), offline_key());
    let mut claims = claims_of(&resource);
    assert_eq!(
        mint(&offline, &claims, &delivery()).unwrap_err(),
        MintError::WrongKey
    );
    claims.key_id = offline.id();
    assert_eq!(
        mint(&offline, &claims, &delivery()).unwrap_err(),
        MintError::WrongKey
    );
    assert_eq!(
        mint_nodedb(&resource, 1, 1).unwrap_err(),
        MintError::WrongKey
    );
}

#[test]
fn what_no_token_may_say_is_not_minted() {
    let key = resource_key();
    let good = claims_of(&key);
    let refuse = |change: &dyn Fn(&mut Claims, &mut Delivery), error| {
        let (mut claims, mut delivery) = (good.clone(), delivery());
        change(&mut claims, &mut delivery);
        assert_eq!(
            mint(&key, &claims, &delivery).unwrap_err(),
            MintError::Claim(error)
        );
    };
    refuse(
        &|claims, _| claims.purpose = Purpose::NodeDb,
        ClaimError::Purpose,
    );
    refuse(
        &|claims, _| claims.node_name = "Edge".to_owned(),
        ClaimError::NodeName,
    );
    refuse(
        &|claims, _| claims.node_name = String::new(),
        ClaimError::NodeName,
    );
    refuse(
        &|claims, _| claims.expires_at_ms = claims.issued_at_ms,
        ClaimError::Times,
    );
    refuse(
        &|claims, _| claims.expires_at_ms = MAX_TIME_MS + 1,
        ClaimError::FarFuture,
    );
    refuse(
        &|_, delivery| delivery.urls = vec!["http://door".to_owned()],
        ClaimError::Url,
    );
    refuse(
        &|_, delivery| delivery.urls = vec!["https://door".to_owned(); 5],
        ClaimError::TooManyUrls,
    );
}

#[test]
fn a_token_has_1024_characters_at_most() {
    let key = resource_key();
    let claims = claims_of(&key);
    let url = |length: usize| {
        let host = format!("{0}.{0}.{0}.{0}", "a".repeat(61));
        format!("https://{}", &host[host.len() - (length - 8)..])
    };
    // 125 bytes without URLs, one a URL: 636 are left of the 765 that 1,020 characters hold.
    let of = |lengths: [usize; 4]| Delivery {
        door_pin: [6; 32],
        urls: lengths.map(url).to_vec(),
    };
    assert_eq!(
        mint(&key, &claims, &of([200, 200, 200, 36]))
            .unwrap()
            .expose()
            .len(),
        MAX_TOKEN
    );
    assert_eq!(
        mint(&key, &claims, &of([200, 200, 200, 37])).unwrap_err(),
        MintError::TooLong {
            characters: MAX_TOKEN + 2
        }
    );
}

#[test]
fn minting_is_a_pure_function() {
    assert_eq!(token().expose(), token().expose());
}

#[test]
fn another_delivery_is_the_same_token_to_the_store() {
    let key = resource_key();
    let moved = Delivery {
        door_pin: [7; 32],
        urls: vec![],
    };
    let moved = mint(&key, &claims_of(&key), &moved).unwrap();
    assert_ne!(moved.expose(), token().expose());
    let mut ring = KeyRing::new();
    ring.insert(key).unwrap();
    let verify = |token: &JoinTokenString| {
        ring.verify(&Presented::parse(token.expose()).unwrap(), AUDIENCE, NOW_MS)
            .unwrap()
    };
    assert_eq!(verify(&moved), verify(&token()));
}

#[test]
fn secrets_are_not_printed() {
    let token = token();
    let presented = Presented::parse(token.expose()).unwrap();
    assert_eq!(format!("{token:?}"), "JoinTokenString(..)");
    let Presented::Jt1(jt1) = &presented else {
        panic!()
    };
    let (claims, printed) = (jt1.unverified_claims(), jt1.unverified_delivery());
    assert_eq!(
        format!("{presented:?}"),
        format!("Jt1(ParsedToken {{ claims: {claims:?}, delivery: {printed:?}, .. }})")
    );

    let nodedb = mint_nodedb(&SigningKey::nodedb(&[3; 32]), 5, 4_102_444_800).unwrap();
    let presented = Presented::parse(nodedb.expose()).unwrap();
    assert_eq!(
        format!("{presented:?}"),
        "NodeDb(NodeDbToken { for_node: 5, expires_at_ms: 4102444800000, .. })"
    );

    let file = OfflineKeyFile::new(offline_key(), edge_policy(), AUDIENCE, delivery()).unwrap();
    let printed = format!("{file:?}");
    assert!(printed.contains("edge-*"));
    let bytes = offline_key();
    assert!(!printed.contains(&format!("{:?}", bytes.expose_bytes())));
    assert!(!printed.contains(&data_encoding::HEXLOWER.encode(bytes.expose_bytes())));
}

#[test]
fn damage_is_told_apart() {
    let token = token();
    let token = token.expose();
    let middle = token.len() / 2;
    for end in 5..token.len() {
        assert_eq!(
            parse_error(&token[..end]),
            ParseError::CutShort,
            "cut to {end}"
        );
    }
    assert_eq!(parse_error("jt1_"), ParseError::CutShort);
    let swap = |at: usize| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(parse_error(&swap(20)), ParseError::Typo);
    assert_eq!(parse_error(&swap(token.len() - 1)), ParseError::Typo);
    assert_eq!(parse_error(&format!("{token}A")), ParseError::Trailing);
    assert_eq!(
        parse_error(&format!("{token}{}", &token[4..])),
        ParseError::Trailing
    );
    let (head, tail) = token.split_at(middle);
    for broken in [
        format!("{head}\n{tail}"),
        format!("{head} {tail}"),
        format!("{head}ö{tail}"),
        format!("{head}={tail}"),
    ] {
        assert_eq!(
            parse_error(&broken),
            ParseError::Character {
                position: middle + 1
            }
        );
    }
    // White space around it is the business of whoever reads the file.
    assert_eq!(
        parse_error(&format!("{token}\n")),
        ParseError::Character {
            position: token.len() + 1
        }
    );
    assert!(Presented::parse_trimmed(&format!("\t {token}\r\n")).is_ok());
}

/// A fitting CRC is no licence: whoever computes it anew still cannot say what no token may say.
#[test]
fn malformed_claims_are_refused_under_a_fitting_crc() {
    const ISSUED: usize = 33;
    const EXPIRES: usize = 41;
    const NAME: usize = 49;
    const PIN: usize = NAME + 1 + "edge-1".len();
    const URLS: usize = PIN + 32;
    const HOST: usize = URLS + 2 + "https://".len();
    let whole = content(&token());
    assert_eq!(&whole[NAME..PIN], b"\x06edge-1");
    assert_eq!(&whole[HOST..HOST + 4], b"door");
    let refuse = |at: usize, bytes: &[u8], error: ParseError| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(parse_error(&sealed(&changed)), error, "{bytes:?} at {at}");
    };
    for purpose in [0, 3, 4, 255] {
        refuse(0, &[purpose], ClaimError::Purpose.into());
    }
    for name in [
        b"Edge-1",
        b"edge_1",
        b"-dge-1",
        b"edge-\x00",
        b"\xff\xff\xff\xff\xff\xff",
    ] {
        refuse(NAME + 1, name, ClaimError::NodeName.into());
    }
    refuse(ISSUED, &whole[EXPIRES..NAME], ClaimError::Times.into());
    refuse(EXPIRES, &0u64.to_be_bytes(), ClaimError::Times.into());
    refuse(
        EXPIRES,
        &(MAX_TIME_MS + 1).to_be_bytes(),
        ClaimError::FarFuture.into(),
    );
    refuse(
        EXPIRES,
        &u64::MAX.to_be_bytes(),
        ClaimError::FarFuture.into(),
    );
    refuse(HOST - 3, b"X", ClaimError::Url.into());
    refuse(HOST, b"Door", ClaimError::Url.into());
    refuse(HOST, b"a@b/", ClaimError::Url.into());
    refuse(HOST, b"\xff\xff\xff\xff", ClaimError::Url.into());
    refuse(URLS, &[0], ParseError::Trailing);
    refuse(URLS, &[2], ParseError::CutShort);
    // Five URLs, each of them good.
    let mut five = whole[..URLS].to_vec();
    five.push(5);
    (0..5).for_each(|_| five.extend(b"\x09https://a"));
    five.extend([0; 32]);
    assert_eq!(parse_error(&sealed(&five)), ClaimError::TooManyUrls.into());
    assert_eq!(parse_error(&sealed(&[])), ParseError::CutShort);
}

fn base64(text: &str) -> String {
    data_encoding::BASE64.encode(text.as_bytes())
}

#[test]
fn other_strings_are_told_what_they_are() {
    let file = OfflineKeyFile::new(offline_key(), edge_policy(), AUDIENCE, delivery()).unwrap();
    let token = token();
    let future = token.expose().replacen("jt1_", "jt2_", 1);
    for (text, error) in [
        ("", ParseError::Empty),
        (&future, ParseError::UnknownVersion(2)),
        ("jt17_x", ParseError::UnknownVersion(17)),
        ("jt0_x", ParseError::UnknownVersion(0)),
        ("jt01_x", ParseError::NotAToken),
        ("jt99999_x", ParseError::NotAToken),
        ("JT1_x", ParseError::NotAToken),
        ("jt1", ParseError::NotAToken),
        ("hello", ParseError::NotAToken),
        ("ab", ParseError::WrongLength { digits: 2 }),
        (&"é".repeat(48), ParseError::NotHex),
        (&"a".repeat(1025), ParseError::TooLong),
        (&format!("jt1_{}", "A".repeat(1021)), ParseError::TooLong),
        (&file.render(), ParseError::SigningKey),
        (&base64(&token.expose()[..5]), ParseError::Base64),
        (&base64(token.expose()), ParseError::Base64),
        (&base64(&"jt1_A".repeat(200)), ParseError::Base64),
        (
            &base64(&format!("{}\n", "0f".repeat(48))),
            ParseError::Base64,
        ),
        (&base64(&"0F".repeat(48)), ParseError::Base64),
        (&base64(&"é".repeat(48)), ParseError::NotAToken),
        (&base64(&file.render()), ParseError::SigningKey),
    ] {
        assert_eq!(parse_error(text), error);
    }
    assert_eq!(
        OfflineKeyFile::parse(&base64(&file.render())).unwrap_err(),
        KeyFileError::Base64
    );
    assert_eq!(
        ParseError::UnknownVersion(2).to_string(),
        "this is a token of version jt2, and this program reads jt1: use the release that the token's issuer has"
    );
}

#[test]
fn an_exported_key_mints_what_its_policy_allows() {
    let file = OfflineKeyFile::new(offline_key(), edge_policy(), AUDIENCE, delivery()).unwrap();
    let mint = |node: &str, ttl_ms| file.mint(TokenId([9; 16]), node, NOW_MS, ttl_ms);
    let token = mint("edge-9", 3_600_000).unwrap();
    let mut ring = KeyRing::new();
    ring.insert_offline(offline_key(), edge_policy()).unwrap();
    let presented = Presented::parse(token.expose()).unwrap();
    let verified = ring.verify(&presented, AUDIENCE, NOW_MS).unwrap();
    assert_ne!(verified.token_id, TokenId([9; 16]), "it depends on the key");
    assert_eq!(
        verified,
        Verified {
            token_id: presented.unverified_token_id(),
            key_id: KeyId([2; 8]),
            purpose: Purpose::Offline,
            node_name: "edge-9".to_owned(),
            issued_at_ms: Some(NOW_MS),
            expires_at_ms: NOW_MS + 3_600_000,
            timing: Timing::Live,
        }
    );
    let pattern = edge_policy().node_pattern;
    assert_eq!(
        mint("core-1", 1).unwrap_err(),
        PolicyBreach::NodeName { pattern }.into()
    );
    assert_eq!(
        mint("edge-1", 3_600_001).unwrap_err(),
        PolicyBreach::Ttl {
            max_ttl_ms: 3_600_000
        }
        .into()
    );
    assert_eq!(
        mint("edge_1", 1).unwrap_err(),
        MintError::Claim(ClaimError::NodeName).into()
    );
    assert_eq!(
        mint("edge-1", 0).unwrap_err(),
        MintError::Claim(ClaimError::Times).into()
    );
    assert_eq!(
        mint("edge-1", u64::MAX).unwrap_err(),
        MintError::Claim(ClaimError::FarFuture).into()
    );
}

#[test]
fn damaged_key_files_are_refused() {
    let whole = OfflineKeyFile::new(offline_key(), edge_policy(), AUDIENCE, delivery())
        .unwrap()
        .render();
    let error = |text: &str| OfflineKeyFile::parse(text).unwrap_err();
    for end in 5..whole.len() {
        assert_eq!(error(&whole[..end]), KeyFileError::CutShort);
    }
    assert_eq!(error(""), KeyFileError::NotAKey);
    assert_eq!(error(token().expose()), KeyFileError::NotAKey);
    assert_eq!(error(&format!("{}A", *whole)), KeyFileError::Trailing);
    assert_eq!(
        error(&format!("{}{}", *whole, "A".repeat(MAX_KEY_FILE))),
        KeyFileError::TooLong
    );
    assert_eq!(
        error(&whole.replacen("jtk1_", "jtk1_ ", 1)),
        KeyFileError::Character { position: 6 }
    );
    for at in 5..whole.len() {
        let mut bytes = whole.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(
            OfflineKeyFile::parse(std::str::from_utf8(&bytes).unwrap()).is_err(),
            "{at}"
        );
    }
    let wrong_purpose = OfflineKeyFile::new(resource_key(), edge_policy(), AUDIENCE, delivery());
    assert_eq!(wrong_purpose.unwrap_err(), KeyFileError::Purpose);
    let no_ttl = OfflinePolicy {
        max_ttl_ms: 0,
        ..edge_policy()
    };
    let no_ttl = OfflineKeyFile::new(offline_key(), no_ttl, AUDIENCE, delivery());
    assert_eq!(no_ttl.unwrap_err(), KeyFileError::Ttl);
}

#[test]
fn the_longest_key_file_parses() {
    let host = format!("{0}.{0}.{0}.{0}", "a".repeat(61));
    let url = format!("https://{}", &host[..MAX_URL - 8]);
    assert_eq!(url.len(), MAX_URL);
    let longest = Delivery {
        door_pin: [6; 32],
        urls: vec![url; MAX_URLS],
    };
    let policy = OfflinePolicy {
        node_pattern: "a".repeat(63).parse().unwrap(),
        max_ttl_ms: u64::MAX,
    };
    let whole = OfflineKeyFile::new(offline_key(), policy, AUDIENCE, longest)
        .unwrap()
        .render();
    assert!(whole.len() <= MAX_KEY_FILE);
    assert!(OfflineKeyFile::parse(&whole).is_ok());
}

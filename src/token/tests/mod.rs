//! Tests of the room as a whole: vectors of each format, and properties of all tokens.

mod minting;
mod properties;
mod vectors;
mod verifying;

use data_encoding::BASE64URL_NOPAD;

use super::*;

pub(super) const AUDIENCE: Audience = Audience([8; 8]);
pub(super) const NOW_MS: u64 = 1_767_225_600_000;

/// A resource key, always the same.
pub(super) fn resource_key() -> SigningKey {
    SigningKey::from_bytes(Purpose::Resource, KeyId([1; 8]), &[0x5a; 32])
}

/// A policy that allows `edge-*` for an hour.
pub(super) fn edge_policy() -> OfflinePolicy {
    OfflinePolicy {
        node_pattern: "edge-*".parse().unwrap(),
        max_ttl_ms: 3_600_000,
    }
}

/// An offline key of [`edge_policy`], always the same.
pub(super) fn offline_key() -> SigningKey {
    let master = SigningKey::from_bytes(Purpose::Offline, KeyId([0; 8]), &[0xc3; 32]);
    SigningKey::derive_offline(&master, KeyId([2; 8]), &edge_policy())
}

/// Claims for `edge-1`, issued now for an hour.
pub(super) fn claims_of(key: &SigningKey) -> Claims {
    Claims {
        purpose: key.purpose(),
        key_id: key.id(),
        audience: AUDIENCE,
        token_id: TokenId([4; 16]),
        node_name: "edge-1".to_owned(),
        issued_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 3_600_000,
    }
}

/// A pin and one URL.
pub(super) fn delivery() -> Delivery {
    Delivery {
        door_pin: [6; 32],
        urls: vec!["https://door.example.org:8443".to_owned()],
    }
}

/// A token of these claims that parses, whatever they say about the key.
pub(super) fn presented(key: &SigningKey, claims: &Claims) -> Presented {
    Presented::parse(mint(key, claims, &delivery()).unwrap().expose()).unwrap()
}

/// A token's bytes without its CRC.
pub(super) fn content(token: &JoinTokenString) -> Vec<u8> {
    let mut bytes = BASE64URL_NOPAD
        .decode(&token.expose().as_bytes()[4..])
        .unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

/// A string whose CRC fits, whatever is in it.
pub(super) fn sealed(content: &[u8]) -> String {
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"jt1_");
    crc.update(content);
    let whole = [content, &crc.finalize().to_be_bytes()].concat();
    format!("jt1_{}", BASE64URL_NOPAD.encode(&whole))
}

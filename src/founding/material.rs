//! The items of a founding, made and read.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::identity::Identity;
use super::item::{Item, ItemName};
use crate::pki::{Authority, CaRole, PkiError};
use crate::token::{Fingerprint, Purpose, RandomError, SigningKey};

const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";
const KEY_ID: &str = "id";
const KEY: &str = "key";

/// Everything that signs for one store.
#[derive(Debug)]
pub struct Material {
    /// The CA of the door's certificates; tokens pin it.
    pub door: Arc<Authority>,
    /// The CA of members' certificates.
    pub members: Arc<Authority>,
    /// The CA of the replicas' certificates.
    pub peers: Arc<Authority>,
    /// Mints for `JoinToken` resources.
    pub resource_key: SigningKey,
    /// The master of all exported offline keys; it mints nothing itself.
    pub offline_master: SigningKey,
}

/// One item, ready for use.
#[derive(Debug)]
pub(super) enum Piece {
    Authority(Box<Authority>),
    Key(SigningKey),
}

/// Why an item could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Why the content of an item is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A part is missing or no text.
    #[error("its part {0:?} is missing or no text")]
    Part(&'static str),
    /// A CA that cannot be used.
    #[error(transparent)]
    Authority(#[from] PkiError),
    /// A signing key that cannot be read.
    #[error("its part {0:?} is not {1} lower-case hexadecimal digits")]
    Hex(&'static str, usize),
}

impl Piece {
    /// Makes the item, in memory.
    pub(super) fn make(name: ItemName, of: &Identity, now_ms: u64) -> Result<Self, MakeError> {
        Ok(match name.role() {
            Some(role) => {
                let made = Authority::generate(role, &of.trust_domain, now_ms)?;
                Piece::Authority(Box::new(made))
            }
            None => Piece::Key(SigningKey::generate(purpose(name))?),
        })
    }

    /// As a vault keeps it.
    pub(super) fn to_item(&self, of: &Identity) -> Item {
        let parts = match self {
            Piece::Authority(ca) => [
                (CERTIFICATE, Zeroizing::new(ca.cert_pem().into_bytes())),
                (
                    PRIVATE_KEY,
                    Zeroizing::new(ca.key_pem().as_bytes().to_vec()),
                ),
            ],
            Piece::Key(key) => [
                (KEY_ID, Zeroizing::new(key.id().to_string().into_bytes())),
                (KEY, hex(key.expose_bytes())),
            ],
        };
        Item {
            store_id: of.store_id,
            epoch: of.epoch,
            parts: BTreeMap::from(parts.map(|(name, content)| (name.to_owned(), content))),
        }
    }

    /// From what a vault kept, checked: a CA must be the one for its role and trust domain.
    pub(super) fn from_item(
        name: ItemName,
        item: &Item,
        of: &Identity,
    ) -> Result<Self, ContentError> {
        let part = |part: &'static str| {
            let content = item.parts.get(part);
            let text = content.and_then(|content| std::str::from_utf8(content).ok());
            text.map(str::trim_end).ok_or(ContentError::Part(part))
        };
        if let Some(role) = name.role() {
            let ca = Authority::from_pem(part(CERTIFICATE)?, part(PRIVATE_KEY)?)?
                .expecting(role, &of.trust_domain)?;
            return Ok(Piece::Authority(Box::new(ca)));
        }
        let id = part(KEY_ID)?
            .parse()
            .map_err(|_| ContentError::Hex(KEY_ID, 16))?;
        let mut secret = Zeroizing::new([0; 32]);
        let digits = part(KEY)?.as_bytes();
        // decode_mut panics if the lengths do not fit.
        if digits.len() != 64 || HEXLOWER.decode_mut(digits, secret.as_mut_slice()).is_err() {
            return Err(ContentError::Hex(KEY, 64));
        }
        Ok(Piece::Key(SigningKey::from_bytes(
            purpose(name),
            id,
            &secret,
        )))
    }

    /// What the store records of it: of a CA the SHA-256 of its certificate.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        match self {
            Piece::Authority(ca) => Fingerprint(ca.fingerprint()),
            Piece::Key(key) => key.fingerprint(),
        }
    }
}

impl Material {
    /// All five, each under its name. `None` if one is missing or of the other kind.
    pub(super) fn of(mut pieces: BTreeMap<ItemName, Piece>) -> Option<Self> {
        let mut ca = |name| match pieces.remove(&name)? {
            Piece::Authority(ca) => Some(Arc::new(*ca)),
            Piece::Key(_) => None,
        };
        let door = ca(ItemName::DoorCa)?;
        let members = ca(ItemName::MembersCa)?;
        let peers = ca(ItemName::PeersCa)?;
        let mut key = |name| match pieces.remove(&name)? {
            Piece::Key(key) => Some(key),
            Piece::Authority(_) => None,
        };
        Some(Self {
            door,
            members,
            peers,
            resource_key: key(ItemName::ResourceKey)?,
            offline_master: key(ItemName::OfflineMaster)?,
        })
    }

    /// The CA for a role.
    pub fn authority(&self, role: CaRole) -> &Authority {
        match role {
            CaRole::Door => &self.door,
            CaRole::Members => &self.members,
            CaRole::Peers => &self.peers,
        }
    }
}

/// Of a signing key's item.
const fn purpose(name: ItemName) -> Purpose {
    match name {
        ItemName::OfflineMaster => Purpose::Offline,
        _ => Purpose::Resource,
    }
}

fn hex(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut digits = Zeroizing::new(vec![0; HEXLOWER.encode_len(bytes.len())]);
    HEXLOWER.encode_mut(bytes, &mut digits);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::TrustDomain;

    const NOW: u64 = 1_790_000_000_000;

    fn identity() -> Identity {
        Identity::draw(TrustDomain::parse("prod.example.com").unwrap(), 1).unwrap()
    }

    #[test]
    fn every_item_comes_back_from_its_parts() {
        let of = identity();
        for name in ItemName::ALL {
            let made = Piece::make(name, &of, NOW).unwrap();
            let item = made.to_item(&of);
            assert_eq!((item.store_id, item.epoch), (of.store_id, 1));
            let read = Piece::from_item(name, &item, &of).unwrap();
            assert_eq!(read.fingerprint(), made.fingerprint());
            assert_eq!(read.to_item(&of), item);
        }
    }

    #[test]
    fn an_item_in_anothers_place_is_refused() {
        let of = identity();
        let door = Piece::make(ItemName::DoorCa, &of, NOW).unwrap();
        let item = door.to_item(&of);
        let error = Piece::from_item(ItemName::MembersCa, &item, &of).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is the CA for door, not for members"
        );
        let error = Piece::from_item(ItemName::ResourceKey, &item, &of).unwrap_err();
        assert_eq!(error.to_string(), "its part \"id\" is missing or no text");
        let other = Identity {
            trust_domain: TrustDomain::parse("other").unwrap(),
            ..of
        };
        assert!(Piece::from_item(ItemName::DoorCa, &item, &other).is_err());
    }

    #[test]
    fn damaged_keys_are_refused_without_showing_them() {
        let of = identity();
        let made = Piece::make(ItemName::ResourceKey, &of, NOW).unwrap();
        let good = made.to_item(&of);
        assert!(
            !format!("{good:?} {made:?}").contains(&*String::from_utf8_lossy(&good.parts[KEY]))
        );
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"G".repeat(64)] {
            let mut item = good.clone();
            let bad = Zeroizing::new(bad.as_bytes().to_vec());
            item.parts.insert(KEY.to_owned(), bad);
            let error = Piece::from_item(ItemName::ResourceKey, &item, &of).unwrap_err();
            assert!(matches!(error, ContentError::Hex(KEY, 64)));
        }
    }
}

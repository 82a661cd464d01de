//! What is made while a store is founded, each item once.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::pki::CaRole;
use crate::token::StoreId;

/// The five items. Their names are those of folders, of Secrets (with the operator's prefix), and
/// of the roles in the store's record of its founding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemName {
    /// The CA of the door.
    DoorCa,
    /// The CA of what joiners receive.
    MembersCa,
    /// The key that all exported offline keys are derived from.
    OfflineMaster,
    /// The CA of the replicas.
    PeersCa,
    /// The first key that mints for `JoinToken` resources.
    ResourceKey,
}

impl ItemName {
    /// All of them, in the order of their names, in which they are made.
    pub const ALL: [ItemName; 5] = [
        ItemName::DoorCa,
        ItemName::MembersCa,
        ItemName::OfflineMaster,
        ItemName::PeersCa,
        ItemName::ResourceKey,
    ];

    /// The name as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            ItemName::DoorCa => "door-ca",
            ItemName::MembersCa => "members-ca",
            ItemName::OfflineMaster => "offline-master",
            ItemName::PeersCa => "peers-ca",
            ItemName::ResourceKey => "resource-key",
        }
    }

    /// The role, if it is a CA.
    pub const fn role(self) -> Option<CaRole> {
        match self {
            ItemName::DoorCa => Some(CaRole::Door),
            ItemName::MembersCa => Some(CaRole::Members),
            ItemName::PeersCa => Some(CaRole::Peers),
            ItemName::OfflineMaster | ItemName::ResourceKey => None,
        }
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One item as a vault keeps it. `Debug` shows whose it is and the names of its parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// The store that it was made for.
    pub store_id: StoreId,
    /// The epoch in which it was made.
    pub epoch: u64,
    /// The contents by name: `tls.crt` and `tls.key` (PEM) of a CA, `id` and `key` (hexadecimal)
    /// of a signing key. Names are file names and the keys of a Secret's data.
    pub parts: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("store_id", &self.store_id)
            .field("epoch", &self.epoch)
            .field("parts", &self.parts.keys())
            .finish()
    }
}

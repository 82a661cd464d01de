//! Why a store is not founded or not opened, and what to do about it.

use std::path::PathBuf;

use super::item::ItemName;
use super::material::ContentError;
use super::vault::{Founding, Stranger, VaultError};
use crate::pki::PkiError;
use crate::store::{OpenError, StoreError};
use crate::token::{Fingerprint, KeyId, RandomError, StoreId};

/// Why no message may advise to put an older copy of the data folder in its place.
pub(super) const OLDER_COPY: &str =
    "since an older copy would admit again whoever was admitted after it was made";

/// How to go on without the data folder.
pub(super) const FOUND_ANEW: &str =
    "in which no token of the old one is valid and used JoinTokens stay used";

/// How the store is named of which statuses of an earlier release tell.
pub const UNNAMED: &str = "unnamed";

/// Why a store is not founded or not opened. Nothing was made anew in the place of anything.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// An empty data folder beside the mark of a founding.
    #[error(
        "{place} says that store {id} was founded, but this replica's data folder is empty: mount the volume that it had, as it was last, {OLDER_COPY}. \
         Only if that is lost for good: `jointoken store snapshot restore` makes a new store of a snapshot, and \
         `jointoken store found --replace-lost {id}` founds one that knows nothing, {FOUND_ANEW}",
        id = .founding.store_id
    )]
    EmptyFolder {
        /// Where the founding object is.
        place: String,
        /// What it says.
        founding: Founding,
    },
    /// The first of a group's list found nothing, and was not told to found.
    #[error(
        "this replica is the first of its group's list, its data folder is empty and there are no keys in {0}. If there is no group yet, start it once with --new-group; if there is one, put its keys there"
    )]
    NotToldToFound(String),
    /// The founding object names another founding than the data folder.
    #[error(
        "{place} names store {} in epoch {}, but the data folder belongs to store {} in epoch {}: {}",
        .found.store_id, .found.epoch, .ours.store_id, .ours.epoch, why_another(found, ours)
    )]
    OtherFounding {
        /// Where the founding object is.
        place: String,
        /// What it says.
        found: Founding,
        /// What the data folder says.
        ours: Founding,
    },
    /// Another founding came first, between this one's first look and its mark or its first key.
    #[error(
        "{place} names store {}: another replica founded it first, and this one has founded nothing. Empty this one's data folder. \
         If it is to be in that store's group, start it again then: it waits until it is let in. A lone one needs another place for its keys",
        .found.store_id
    )]
    Outrun {
        /// Where the founding object, or the first key, is.
        place: String,
        /// What it says.
        found: Founding,
    },
    /// The founding object has vanished.
    #[error(
        "{place} is missing: it was made when the store was founded. Is this the namespace that it was founded in? Then create it again with the data store-id: \"{}\" and epoch: \"{}\" (while no replica runs, the next start says how to tell that the volumes are those in use last)",
        .ours.store_id, .ours.epoch
    )]
    ObjectMissing {
        /// Where it should be.
        place: String,
        /// What it should say.
        ours: Founding,
    },
    /// JoinTokens that the operator would serve are another store's, which may be alive.
    #[error("no store is founded here: {}. {}", told_of(.0), divide(.0))]
    Strangers(Vec<Stranger>),
    /// The one that is to found a group has nothing yet, and there are some of a group's keys.
    #[error(
        "{place} is of store {found}, which another replica founds just now or has begun to found: this one founds nothing. Let that one go on, then start this one again: \
         it waits until it is let in. Only if that one's data folder is lost for good: remove its keys first"
    )]
    Begun {
        /// Where one of the keys is.
        place: String,
        /// The store that it was made for.
        found: StoreId,
    },
    /// While founding: there is an item of another store already.
    #[error(
        "{place} already holds the {item} of store {found}, so no new one is founded here. If this replica is to have that store, its data folder is not there: mount the volume that it had, as it was last, {OLDER_COPY}. \
         If that is lost: `jointoken store recover` makes a new store of another replica's folder, `jointoken store snapshot restore` of a snapshot; both need these keys. A store beside that one needs another place for its keys. \
         Only if store {found} is gone for good with all that could be recovered: move its keys away and start again. That founds a new store, {FOUND_ANEW}, and machines that were admitted have to join again"
    )]
    Taken {
        /// Which item.
        item: ItemName,
        /// Where it is.
        place: String,
        /// The store that it was made for.
        found: StoreId,
    },
    /// After founding: an item has vanished.
    #[error(
        "the {item} is missing ({place}): it was made when store {store_id} was founded and is not made anew. Put it back from the backup of the keys"
    )]
    Missing {
        /// Which item.
        item: ItemName,
        /// Where it should be.
        place: String,
        /// This store.
        store_id: StoreId,
    },
    /// After founding: another store's item lies in the place of this one's.
    #[error(
        "the {item} in {place} is of store {found}, and this is store {expected} (KeyOfOtherStore): put the right one back from the backup of the keys. If the store was restored, recovered or founded anew since, one of the two is still the former store's. If these keys are: move them aside, and the folder `keys` that the command made in the data folder to their place. If the data folder is: empty it; the replica comes back as a new one"
    )]
    OfOtherStore {
        /// Which item.
        item: ItemName,
        /// Where it is.
        place: String,
        /// The store that it was made for.
        found: StoreId,
        /// This store.
        expected: StoreId,
    },
    /// After founding: the item is not the one that the store recorded.
    #[error(
        "the {item} in {place} is not the one that the store was founded with (fingerprint {found}, recorded is {expected}): put that one back from the backup of the keys"
    )]
    Replaced {
        /// Which item.
        item: ItemName,
        /// Where it is.
        place: String,
        /// What the store recorded.
        expected: Fingerprint,
        /// What is there.
        found: Fingerprint,
    },
    /// An item that cannot be used.
    #[error(
        "the {item} in {place} cannot be used, it was damaged or edited ({source}): put it back from the backup of the keys"
    )]
    Damaged {
        /// Which item.
        item: ItemName,
        /// Where it is.
        place: String,
        /// What is wrong with it.
        source: ContentError,
    },
    /// Another trust domain is configured than the one founded for.
    #[error(
        "the store was founded for the trust domain {founded:?}, and {configured:?} is configured: set it back, it is fixed for the life of a store"
    )]
    TrustDomain {
        /// As founded.
        founded: String,
        /// As configured.
        configured: String,
    },
    /// The folder says that the store was founded; the store does not.
    #[error(
        "the data folder belongs to store {0}, but the log in it does not begin with that store's founding: it was put together from several. Put the log of {0} back as it was last, {OLDER_COPY}"
    )]
    NoRecord(StoreId),
    /// The store records another key under this name, or will not have it.
    #[error(
        "the store knows another signing key by the name {0}, or none may be added: put back the keys that it was founded with"
    )]
    Key(KeyId),
    /// A vault, the founding object or the identity could not be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The folder says that the store was founded, and the store is not in it.
    #[error(
        "the data folder belongs to store {store_id}, but that store is not in {} any more, and none is made anew: put it back as it was last, {OLDER_COPY}. \
         If it is lost for good and this replica is one of a group, start it with an empty data folder and the group's keys: it comes back as a new member. \
         A lone one: start with an empty data folder and without the old keys: that founds a new store, {FOUND_ANEW}",
        .path.display()
    )]
    StoreMissing {
        /// This store.
        store_id: StoreId,
        /// Where it should be.
        path: PathBuf,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store did not take the founding.
    #[error("the founding could not be recorded: {0}")]
    Store(#[from] StoreError),
    /// A CA could not be made.
    #[error("the {item} could not be made: {source}")]
    Authority {
        /// Which item.
        item: ItemName,
        /// Why.
        source: PkiError,
    },
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Of a later epoch is what a restore has left: the former store's replicas come back with their data, and must not.
fn why_another(found: &Founding, ours: &Founding) -> &'static str {
    match found.epoch > ours.epoch {
        true => {
            "the store was restored, recovered or founded anew since, and what the folder holds is of the former store, which nobody may use any more. \
             Stop this replica, move what is in its data folder away and start it: it comes back as a new one. \
             If nothing was restored, it is in the wrong place, or has the wrong volume"
        }
        false => "this replica is in the wrong place, or has the wrong volume",
    }
}

/// How many other stores are named in one message.
const NAMED: usize = 3;

fn told_of(strangers: &[Stranger]) -> String {
    let told = strangers.iter().take(NAMED).map(|stranger| {
        let store = match stranger.store_id {
            Some(store_id) => format!("of store {store_id}"),
            None => "of a store that an earlier release did not name".to_owned(),
        };
        let more = match stranger.count.saturating_sub(1) {
            0 => String::new(),
            more => format!(", like {more} more,"),
        };
        format!("{}{more} is {store}", stranger.place)
    });
    let mut told: Vec<String> = told.collect();
    if let Some(more) = strangers.len().checked_sub(NAMED).filter(|more| *more > 0) {
        told.push(format!("{more} more stores are told of"));
    }
    told.join("; ")
}

fn divide(strangers: &[Stranger]) -> String {
    let names = strangers.iter().take(NAMED).map(|stranger| {
        stranger
            .store_id
            .map_or_else(|| UNNAMED.to_owned(), |id| id.to_string())
    });
    let take_over: Vec<String> = names.map(|name| format!("--take-over {name}")).collect();
    format!(
        "Another operator serves them: give this one its own JoinTokens with --class or --namespace. Only if that store is gone for good, start this one with {}, \
         which ends the tokens of that store that are still unused",
        take_over.join(" ")
    )
}

impl FoundingError {
    /// The keys, or the mark of the founding, are not what they were when the store was founded. Otherwise
    /// they could not be looked at, or something else is wrong.
    pub const fn is_about_keys(&self) -> bool {
        match self {
            Self::OtherFounding { .. }
            | Self::ObjectMissing { .. }
            | Self::Missing { .. }
            | Self::OfOtherStore { .. }
            | Self::Replaced { .. }
            | Self::Damaged { .. } => true,
            Self::Vault(error) => error.is_unfit,
            _ => false,
        }
    }
}

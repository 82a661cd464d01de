//! A store that does not begin with an empty log but with a state: what a restore makes of a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::lifecycle::State;

use super::disk::Disk;
use super::identity::{self, Identity};
use super::log::{self, Place};
use super::snapshot::{Image, Snapshots, StoredSnapshot};
use super::types::{LeaderId, LogId, Member, Membership, SnapshotMeta, StoredMembership};
use super::{OpenError, folder};

/// The term of whoever has written the entry that the store begins with. The first leader has a later one.
const TERM: u64 = 1;

/// What a store begins with.
#[derive(Debug)]
pub struct Seed<'a> {
    /// Whose folder it is to be: its store's id and epoch are those in the state, its node is new.
    pub identity: Identity,
    /// The state, which is already that of the new store.
    pub state: &'a State,
    /// The place in the log that it is of.
    pub index: u64,
    /// Random; goes into the checksums of the log.
    pub salt: u64,
}

/// Makes the folder of a lone replica that goes on from this state, in an empty folder. The identity is written last:
/// without it the folder is no store's. What it returned for is on the disk. Blocks.
///
/// The folder looks like one whose log was purged up to its snapshot, which says that this replica is the only voter:
/// opening it is nothing special.
///
/// # Errors
/// If the folder has an identity, is in use, or cannot be written.
pub fn seed(disk: &Arc<dyn Disk>, dir: &Path, seed: &Seed<'_>) -> Result<(), OpenError> {
    let Identity {
        store_id, node_id, ..
    } = seed.identity;
    if identity::read(&**disk, dir)?.is_some() {
        return Err(OpenError::io(dir)(io::ErrorKind::AlreadyExists.into()));
    }
    let last = LogId::new(
        LeaderId {
            term: TERM,
            node_id,
        },
        seed.index,
    );
    let lock = Arc::new(folder::lock(&**disk, dir)?);
    let place = Place {
        disk: disk.clone(),
        dir: folder::subfolder(&**disk, dir, "log")?,
        store_id,
        // Nothing but the beginning is written here.
        segment_bytes: u64::MAX,
        salt: seed.salt,
    };
    log::begin_after(&place, last).map_err(OpenError::io(&place.dir))?;
    let members = BTreeMap::from([(node_id, Member::default())]);
    let membership = Membership::new(vec![[node_id].into()], members)
        .map_err(|error| OpenError::Start(error.to_string()))?;
    let snapshots_dir = folder::subfolder(&**disk, dir, "snapshots")?;
    let snapshots = Snapshots::new(disk.clone(), snapshots_dir.clone(), store_id, lock);
    let snapshot = StoredSnapshot {
        meta: SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), membership),
        },
        image: Image {
            state: Arc::new(seed.state.encode()),
            removed: BTreeSet::new(),
        },
    };
    snapshots
        .save(&snapshot)
        .map_err(OpenError::io(&snapshots_dir))?;
    // It locks the folder itself.
    drop(snapshots);
    identity::create(&**disk, dir, &seed.identity)
}

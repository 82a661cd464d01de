//! The machine's side of a join: key, request, door, answer, bundle.
//!
//! [`join`] makes the key and writes it before anything else (so that a second run is the same
//! machine asking again), verifies the door inside the handshake and the clock before the token
//! leaves the machine, asks until it has an answer, writes the bundle so that it is whole or not
//! there, and acknowledges it.
//!
//! This room must not know the store.

mod asking;
mod attempt;
mod connection;
mod door_address;
mod error;
mod folder;
mod standing;
mod trust;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::net::Proxies;
use crate::token::Presented;

pub use door_address::{DoorAddress, DoorAddressError};
pub use error::{JoinError, JoinFailure};
pub use folder::BundleInfo;
pub use trust::{PinError, pin_from_hex, pin_of_ca_pem};

use asking::{Asking, Plan};
use folder::Folder;
use standing::Standing;

/// What a join needs to know.
pub struct Join {
    /// What lets the machine in.
    pub token: Presented,
    /// Where key and bundle go.
    pub folder: PathBuf,
    /// Doors to ask instead of those that the token names.
    pub urls: Vec<DoorAddress>,
    /// SHA-256 of the public key of the door's CA, for tokens that do not carry it.
    pub pin: Option<[u8; 32]>,
    /// What leads to the doors, where something has to.
    pub proxies: Proxies,
    /// How long to go on asking.
    pub timeout: Duration,
    pub clock: Arc<dyn Clock>,
    /// Told, in one line, why it takes longer.
    pub waiting: Box<dyn Fn(&str) + Send + Sync>,
    /// Told, in one line, what was not as it should be and is now.
    pub warning: Box<dyn Fn(&str) + Send + Sync>,
}

/// The machine is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub info: BundleInfo,
    pub folder: PathBuf,
    /// The bundle was there already; nobody was asked.
    pub already: bool,
    /// The answer could not be acknowledged, and why. It can be given again for a day, then no more.
    pub unacknowledged: Option<String>,
}

/// Joins.
///
/// # Errors
/// [`JoinError`], each with what to do and a [`JoinFailure`]. Whatever it is, the key stays in the
/// folder, and the same command again is the same machine asking again.
pub async fn join(join: Join) -> Result<Joined, JoinError> {
    let plan = Plan::of(&join)?;
    let folder = Folder::open(&join.folder)?;
    let (key, fresh) = folder.key(&join.warning)?;
    let token_id = join.token.unverified_token_id().to_string();
    let standing = match fresh {
        true => Standing::Nothing,
        false => folder.standing(&token_id, &key, join.clock.now_ms()),
    };
    if let Standing::Joined { info, is_whole } = standing {
        if !is_whole {
            folder.mend(&info, &join.warning);
        }
        return Ok(Joined {
            info,
            folder: join.folder,
            already: true,
            unacknowledged: None,
        });
    }
    let csr = key.csr_pem().map_err(JoinError::key)?;
    folder.write_csr(&csr)?;
    let asking = Asking::new(&join, plan, &key, csr)?;
    let admitted = asking.admission().await;
    let (answer, connection) = admitted.map_err(|error| standing.explain(error, &join.folder))?;
    let kept = folder.write_bundle(&answer, &key);
    let info = kept.map_err(|error| folder.not_kept(error))?;
    let acknowledged = asking.acknowledge(connection).await;
    let unacknowledged = acknowledged.err().map(|error| error.to_string());
    Ok(Joined {
        info,
        folder: join.folder,
        already: false,
        unacknowledged,
    })
}

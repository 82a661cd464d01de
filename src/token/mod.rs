//! What a token says and how it is minted, parsed and verified.
//!
//! Two formats are accepted, told apart by their shape: ours (`jt1_…`, [`mint`]) and the join
//! tokens of NodeDB ([`mint_nodedb`]). [`Presented`] is what somebody claims to hold, [`Verified`]
//! is what a [`KeyRing`] has found it to be. [`SigningKey`]s mint; [`OfflineKeyFile`] is the form
//! in which one leaves the store.
//!
//! Parsing is strict: every token has one encoding, and no error repeats any part of what was
//! parsed. Tokens and keys are wiped when dropped and never printed.
//!
//! This room must not know the time of day, Kubernetes or Raft: whoever verifies hands the time in.

mod claims;
mod codec;
mod error;
mod ids;
mod jt1;
mod key;
mod key_file;
mod nodedb;
mod pattern;
mod presented;
mod random;
mod ring;
mod secret_string;
#[cfg(test)]
mod tests;

pub use claims::{
    ClaimError, Claims, Delivery, DoorUrlFault, MAX_TIME_MS, MAX_URL, MAX_URLS, door_url_fault,
    is_door_url, is_node_name,
};
pub use error::{MintError, ParseError};
pub use ids::{Audience, Fingerprint, JoinerId, KeyId, ParseIdError, Purpose, StoreId, TokenId};
pub use jt1::{ParsedToken, mint};
pub use key::{NodeDbSecretError, SigningKey};
pub use key_file::{KeyFileError, MAX_KEY_FILE, OfflineKeyFile, OfflineMintError};
pub use nodedb::{NodeDbToken, mint_nodedb};
pub use pattern::{NodePattern, OfflinePolicy, PatternError, PolicyBreach};
pub use presented::{MAX_TOKEN, Presented};
pub use random::RandomError;
pub use ring::{KeyRing, KeyRingError, MAX_ISSUED_AHEAD_MS, Timing, Verified, VerifyError};
pub use secret_string::JoinTokenString;

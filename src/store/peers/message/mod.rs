//! What replicas say to each other, as bytes. Written by hand, with explicit numbers, as the log is: neither a renamed
//! field nor a new version of openraft can change what is on the wire.
//!
//! ```text
//! request: [version, store id, from node, to node (0: whoever is there), kind, body…]
//! answer:  [version, node that answers, kind, body…]
//! ```

mod answer;
mod pulse;
mod request;
#[cfg(test)]
mod tests;

use crate::store::codec::{Malformed, Reader, Writer};
use crate::store::types::NodeId;

pub(crate) use answer::{Answer, Refusal, Reply};
pub(crate) use pulse::Pulse;
#[cfg(debug_assertions)]
pub(super) use request::is_of_raft;
pub(crate) use request::{Append, Ask, Piece, Request};

/// Raised when what is said changes in a way that the release before cannot read.
const VERSION: u64 = 1;

/// Whoever is reached at the address.
pub(crate) const ANYBODY: NodeId = 0;

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is of another release")]
    Version,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

fn put(w: &mut Writer, it: impl FnOnce(&mut Writer)) -> &mut Writer {
    it(w);
    w
}

fn at_end(r: &Reader<'_>) -> Result<(), Malformed> {
    match r.at_end() {
        true => Ok(()),
        false => Err(Malformed::new("something follows")),
    }
}

fn check_version(r: &mut Reader<'_>) -> Result<(), Unreadable> {
    match r.number()? {
        VERSION => Ok(()),
        _ => Err(Unreadable::Version),
    }
}

//! The life of a token: a pure state machine, `apply(state, command) -> outcome`.
//!
//! Total, synchronous, deterministic. This room must not know clocks, randomness, async, or the
//! serialisation formats of others: all it ever reads is the state and the command.
//!
//! [`command`] says what may be asked and [`outcome`] what it comes to; `apply/` decides, a file
//! for each row of the table; `state/` keeps records, issuances and due times in little memory;
//! `image/` turns the state into bytes and back.

mod apply;
pub mod command;
mod hash;
mod image;
mod limits;
pub mod outcome;
pub mod record;
mod restored;
mod state;

pub use command::{Command, NamespaceLimits, Operation, Settings, Typed};
pub use hash::StateHash;
pub use image::ImageError;
pub use limits::SenselessSetting;
pub use outcome::{Applied, HouseChange, Outcome, Transition};
pub use record::{Issuance, IssuanceEntry, Phase, Reason, Record};
pub use restored::{Restore, RestoreRefusal, Restored};
pub use state::{InvariantViolation, State};

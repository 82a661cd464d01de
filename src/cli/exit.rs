//! How a command ends: the exit codes, which scripts and supervisors rely on.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for another reason, such as a full disk
  2  usage: wrong arguments, an input that is missing or cannot be read
  3  invalid token, signing key or snapshot: cut short, a typo, of another store or version
  4  the token has expired
  5  the token was used already
  6  the door is not the one that the token names; the token was not sent
  7  try again: somebody else's claim is running, or a clock is off by over 5 minutes
  8  refused by a policy, or revoked";

/// Why a command did not do what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Anything that has no code of its own.
    Failed = 1,
    /// Wrong arguments, or an input that is missing.
    Usage = 2,
    /// The token or the signing key is none.
    Invalid = 3,
    /// The token has expired.
    Expired = 4,
    /// The token was used already.
    Used = 5,
    /// The door cannot prove that it is the one that the token names.
    DoorNotTrusted = 6,
    /// Later it may work, as it is.
    TryAgain = 7,
    /// The server, or the key's policy, does not allow it.
    Refused = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command's failure: one clear line for the user, which says what to do and holds no token,
/// key or secret, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The line, without `error:` before it.
    pub message: String,
    /// It has been said already.
    pub is_said: bool,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            is_said: false,
        }
    }

    /// Wrong arguments, or an input that is missing.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }
}

//! Why a machine did not join, what to do about it, and the exit code.

use std::io;
use std::path::PathBuf;

use crate::bootstrap::wire::Code;
use crate::pki::PkiError;
use crate::pki::verify::DoorRefusal;
use crate::token::ParseError;

use super::DoorAddress;

/// A join that did not come off. Displayed, it is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The string is no token. It was not sent anywhere.
    #[error("{0}")]
    Token(#[from] ParseError),
    /// Nothing tells where the door is.
    #[error("this token does not say where the door is; give --url https://host[:port]")]
    NoUrl,
    /// Nothing tells the right door from a wrong one.
    #[error(
        "this token does not say which door to trust; give --ca-file with the door's CA certificate, or --ca-pin with the SHA-256 of its public key"
    )]
    NoPin,
    /// Two pins that differ.
    #[error(
        "the token pins another CA than --ca-pin or --ca-file names; leave the option out, unless somebody has exchanged the token"
    )]
    PinDiffers,
    /// Another process is at it.
    #[error("another join is running in {}; wait for it, or use another --out", .0.display())]
    Busy(PathBuf),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The key in the folder is none that can be used.
    #[error(
        "{} holds no usable private key ({source}); move it away, and a new one is made", path.display()
    )]
    KeyFile { path: PathBuf, source: PkiError },
    /// Making a key, CSR or certificate failed.
    #[error("the machine's key could not be made or used: {0}")]
    Key(PkiError),
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(rustls::Error),
    /// The door is not the one that the token pins. The token was not sent.
    #[error(
        "{door} is not to be trusted: {refusal}; the token was not sent. Check the URL; TLS must reach the door unbroken, so a proxy in between must pass it through"
    )]
    Untrusted {
        door: DoorAddress,
        refusal: DoorRefusal,
    },
    /// Nothing but the dates of the door's certificate does not fit. The token was not sent.
    #[error(
        "{door}: {refusal}; the token was not sent. Set the clock that is wrong, then try again"
    )]
    Dates {
        door: DoorAddress,
        refusal: DoorRefusal,
    },
    /// The two clocks differ by too much. The token was not sent.
    #[error(
        "the clock here and that of {door} are {} apart; the token was not sent. Set the clock that is wrong, then try again", minutes(*apart_ms)
    )]
    Clock { door: DoorAddress, apart_ms: u64 },
    /// The door answered, but not like a door.
    #[error(
        "{door} gave an answer that cannot be used ({what}); is it of another version? Run the same command again when that is mended: the key stays, so it is the same machine asking"
    )]
    BadAnswer {
        door: DoorAddress,
        what: &'static str,
    },
    /// The door said no, or not now.
    #[error("{door} refused: {message}")]
    Refused {
        door: DoorAddress,
        /// `None`: a code that this program does not know.
        code: Option<Code>,
        message: String,
        /// Asking again may help, after so many seconds.
        retry_after_seconds: Option<u64>,
    },
    /// The door could not be reached, or the connection broke.
    #[error("cannot reach {door}: {what}")]
    Unreachable { door: DoorAddress, what: String },
    /// The time for asking is over.
    #[error(
        "not admitted within {seconds} s; run the same command again (the key stays, so it is the same machine asking). Last: {last}"
    )]
    TimedOut { seconds: u64, last: Box<JoinError> },
}

/// The kinds of failure that whoever runs a join tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinFailure {
    /// Something on this machine: a file, a key.
    Local,
    /// Something that must be given is missing.
    Usage,
    /// It is no token that the door knows.
    InvalidToken,
    /// The token's time is over.
    Expired,
    /// The token has admitted somebody.
    Used,
    /// The door is not the right one. The token was not sent.
    DoorNotTrusted,
    /// It is the right door, and what it answered cannot be used.
    BadAnswer,
    /// Not now, or a clock is wrong.
    TryAgain,
    /// By policy, or the token was revoked.
    Refused,
}

impl JoinError {
    pub(super) fn key(error: PkiError) -> Self {
        Self::Key(error)
    }

    pub(super) fn tls(error: rustls::Error) -> Self {
        Self::Tls(error)
    }

    /// What kind of failure it is: the command's exit code follows from it.
    pub fn kind(&self) -> JoinFailure {
        match self {
            Self::File { .. } | Self::KeyFile { .. } | Self::Key(_) | Self::Tls(_) => {
                JoinFailure::Local
            }
            Self::NoUrl | Self::NoPin | Self::PinDiffers => JoinFailure::Usage,
            Self::Token(_) => JoinFailure::InvalidToken,
            Self::Untrusted { .. } => JoinFailure::DoorNotTrusted,
            Self::BadAnswer { .. } => JoinFailure::BadAnswer,
            Self::Busy(_) | Self::Dates { .. } | Self::Clock { .. } | Self::Unreachable { .. } => {
                JoinFailure::TryAgain
            }
            Self::TimedOut { last, .. } => match last.kind() {
                JoinFailure::DoorNotTrusted => JoinFailure::DoorNotTrusted,
                _ => JoinFailure::TryAgain,
            },
            Self::Refused { code, .. } => match code {
                Some(code) => kind_of(*code),
                None if self.is_temporary() => JoinFailure::TryAgain,
                None => JoinFailure::Refused,
            },
        }
    }

    /// Whether the same request may be answered otherwise a moment later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused {
                code,
                retry_after_seconds,
                ..
            } => retry_after_seconds.is_some() || *code == Some(Code::Internal),
            _ => false,
        }
    }

    /// How long the door wants to be left alone.
    pub(super) const fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::Refused {
                retry_after_seconds,
                ..
            } => *retry_after_seconds,
            _ => None,
        }
    }

    /// Whether another door may do better: this one is not to be trusted, or its clock is off.
    pub(super) const fn is_of_this_door(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. }
                | Self::Dates { .. }
                | Self::Clock { .. }
                | Self::BadAnswer { .. }
        )
    }
}

/// A new code does not compile until it is sorted in here.
const fn kind_of(code: Code) -> JoinFailure {
    match code {
        Code::InvalidToken | Code::TokenOfOtherStore | Code::TokenUnknown => {
            JoinFailure::InvalidToken
        }
        Code::TokenExpired => JoinFailure::Expired,
        Code::TokenUsed => JoinFailure::Used,
        Code::ClaimConflict
        | Code::RateLimited
        | Code::NoLeader
        | Code::OutcomeUnknown
        | Code::ClockAhead
        | Code::Unavailable
        | Code::RequestTimeout
        | Code::Internal => JoinFailure::TryAgain,
        Code::TokenRevoked
        | Code::TokenAborted
        | Code::NotAllowedHere
        | Code::KeyNotAllowed
        | Code::NodeNameNotAllowed
        | Code::TtlTooLong
        | Code::IssuedInFuture
        | Code::TokenRefused
        | Code::NotAdmitted
        | Code::InvalidCsr
        | Code::CsrKeyDiffers
        | Code::ClientCertificateRequired
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::InvalidRequest
        | Code::BodyTooLarge => JoinFailure::Refused,
    }
}

fn minutes(apart_ms: u64) -> String {
    let seconds = apart_ms / 1000;
    if seconds < 2 * 3600 {
        format!("{} minutes", seconds / 60)
    } else if seconds < 2 * 86_400 {
        format!("{} hours", seconds / 3600)
    } else {
        format!("{} days", seconds / 86_400)
    }
}

//! Why a machine did not join, what to do about it, and the exit code.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::bootstrap::wire::Code;
use crate::net::{TunnelError, file_words};
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
    #[error("cannot {action} {}: {}", path.display(), file_words(source))]
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
    /// The certificate in the folder is of a key that is gone. No key is made in its place.
    #[error(
        "{} has a certificate, tls.crt, and its key is gone: a new key would not fit it. Put tls.key back; if there is none, move tls.crt away and join with a new token", .0.display()
    )]
    LostKey(PathBuf),
    /// Others can read the key, and it is not for us to change that.
    #[error(
        "{} can be read by other users, and it belongs to user {owner}, not to the one that runs this: have its owner run `chmod 600` on it, or move it away and join with a new token", path.display()
    )]
    KeyIsOpen { path: PathBuf, owner: u32 },
    /// The machine is admitted, and its answer could not be written.
    #[error(
        "the machine is admitted, but what it was given could not be kept: {source}. Keep {} and run the same command again when that is mended: the door gives the same answer to this key again", key.display()
    )]
    NotKept {
        key: PathBuf,
        source: Box<JoinError>,
    },
    /// This folder's key has been admitted with this token, and what it was given is gone.
    #[error(
        "this machine has joined with this token before, and {} of it is gone or damaged; the door does not give it again. Put it back, or join with a new token: the key in the folder may stay", file.display()
    )]
    Lost { file: PathBuf },
    /// This folder's certificate is of this token, and of another key than the folder's.
    #[error(
        "this machine has joined with this token before, and {} is not the key that it did so with. Put that key back, or join with a new token", key.display()
    )]
    KeyReplaced { key: PathBuf },
    /// This folder's certificate is of this token, and its time is over.
    #[error(
        "this machine has joined with this token before, and its certificate ended at {not_after}: join with a new token; the key in the folder may stay"
    )]
    Ended { not_after: String },
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
        "the clock here says {} and that of {door} {}: it is {} {} (at most 5 minutes are allowed); the token was not sent. Set the clock that is wrong, then try again",
        time(*here_ms), time(*theirs_ms), span(here_ms.abs_diff(*theirs_ms)), if here_ms < theirs_ms { "behind" } else { "ahead" }
    )]
    Clock {
        door: DoorAddress,
        here_ms: u64,
        theirs_ms: u64,
    },
    /// What answers is nothing that could be the door. The token was not sent.
    #[error(
        "{door} is not the door: {what}; the token was not sent. Check the host and the port of the URL"
    )]
    NotADoor { door: DoorAddress, what: String },
    /// The proxy does not lead to the door.
    #[error("cannot reach {door}: {source}")]
    Proxy {
        door: DoorAddress,
        source: TunnelError,
    },
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
            Self::File { .. }
            | Self::KeyFile { .. }
            | Self::LostKey(_)
            | Self::KeyIsOpen { .. }
            | Self::NotKept { .. }
            | Self::Key(_)
            | Self::Tls(_) => JoinFailure::Local,
            Self::Lost { .. } | Self::KeyReplaced { .. } | Self::Ended { .. } => JoinFailure::Used,
            Self::NoUrl | Self::NoPin | Self::PinDiffers => JoinFailure::Usage,
            Self::Token(_) => JoinFailure::InvalidToken,
            Self::Untrusted { .. } | Self::NotADoor { .. } => JoinFailure::DoorNotTrusted,
            Self::Proxy {
                source: TunnelError::Refused(_),
                ..
            } => JoinFailure::Refused,
            Self::Proxy { .. } => JoinFailure::Usage,
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
            Self::Unreachable { .. } | Self::Dates { .. } | Self::Clock { .. } => true,
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

    /// Whether another door may do better: this one is not to be trusted, or nothing leads to it.
    pub(super) const fn is_of_this_door(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. }
                | Self::NotADoor { .. }
                | Self::Proxy { .. }
                | Self::BadAnswer { .. }
        )
    }

    /// Whether a clock is wrong: that of this machine may be set any moment.
    pub(super) const fn is_of_a_clock(&self) -> bool {
        matches!(self, Self::Dates { .. } | Self::Clock { .. })
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

fn time(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1000).ok();
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(
            || "a time after the year 9999".to_owned(),
            |at| at.to_string(),
        )
}

fn span(apart_ms: u64) -> String {
    let seconds = apart_ms / 1000;
    if seconds < 2 * 3600 {
        format!("{} minutes {} seconds", seconds / 60, seconds % 60)
    } else if seconds < 2 * 86_400 {
        format!("{} hours", seconds / 3600)
    } else {
        format!("{} days", seconds / 86_400)
    }
}

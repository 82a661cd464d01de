//! What the door tells those who count and those who audit.

use std::net::IpAddr;
use std::time::Duration;

use crate::token::{JoinerId, TokenId};

use super::limits::Limit;
use super::wire::Code;

/// Watches the door. Called in the midst of requests: it must return at once.
pub trait DoorObserver: Send + Sync + 'static {
    /// A request is refused. Called before the reply, so that no refusal goes unrecorded. Those
    /// of [`Class::TryAgain`] are not refusals.
    fn refused(&self, refusal: &Refused) {
        let _ = refusal;
    }

    /// A request has its answer, or never will.
    fn answered(&self, answered: &Answered) {
        let _ = answered;
    }

    /// A connection was hung up on: its address has its part of all connections, or it had proven
    /// nothing and another needed its place.
    fn turned_away(&self, address: IpAddr) {
        let _ = address;
    }

    /// A limit of the door's was reached.
    fn limit_reached(&self, limit: Limit) {
        let _ = limit;
    }

    /// A connection ended before there was a request: no TLS, a wrong version, too slow.
    fn handshake_failed(&self, address: IpAddr) {
        let _ = address;
    }
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    Join,
    Ack,
    /// The members' CA.
    Ca,
    /// The description of the door.
    Document,
    /// Any other path, or a method that a path does not take.
    Other,
}

impl Route {
    /// Its name, for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Ack => "ack",
            Self::Ca => "ca",
            Self::Document => "document",
            Self::Other => "other",
        }
    }

    /// Whether it is for anybody, who need not prove anything.
    pub const fn is_anonymous(self) -> bool {
        matches!(self, Self::Ca | Self::Document | Self::Other)
    }
}

/// What became of a request. Few enough for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A machine was admitted.
    Admitted,
    /// An admitted machine had its answer again.
    Redelivered,
    /// An admitted machine has acknowledged its answer.
    Acknowledged,
    /// It was for what anybody may have.
    Served,
    /// It was no proper request, or lacked a proper key.
    Malformed,
    /// It had no valid token.
    Unproven,
    /// It had a valid token and may not use it.
    Refused,
    /// Not now: a claim is held, a limit reached, the store without a leader.
    TryAgain,
    /// A fault of the server's.
    Failed,
    /// The caller went away before there was an answer.
    Abandoned,
}

impl Class {
    /// Its name, for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Redelivered => "redelivered",
            Self::Acknowledged => "acknowledged",
            Self::Served => "served",
            Self::Malformed => "malformed",
            Self::Unproven => "unproven",
            Self::Refused => "refused",
            Self::TryAgain => "try_again",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A refusal, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub route: Route,
    pub code: Code,
    pub class: Class,
    /// Where the request came from, as the door saw it.
    pub address: IpAddr,
    /// The key that the peer proved to hold.
    pub joiner: Option<JoinerId>,
    /// The token, once it was verified (or, for an acknowledgement, named).
    pub token_id: Option<TokenId>,
}

/// The end of a request, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub route: Route,
    pub class: Class,
    /// `None` for success and for a caller who went away.
    pub code: Option<Code>,
    pub token_id: Option<TokenId>,
    pub joiner: Option<JoinerId>,
    /// From the whole body's arrival to the answer.
    pub duration: Duration,
}

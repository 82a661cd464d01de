//! Everything that the controller does to the world, as one closed set.

use futures::future::BoxFuture;

use crate::api::{EventReason, JoinToken, JoinTokenStatus};
use crate::lifecycle::command::Register;
use crate::lifecycle::outcome::RegisterOutcome;
use crate::lifecycle::{Reason, Record};
use crate::token::TokenId;

use super::error::Error;
use super::secret::SecretContent;

/// One write to the API server or one proposal to the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    AddFinalizer,
    RemoveFinalizer,
    Register(Box<Register>),
    /// Has the store know of an issuance that a status tells of, as one that has ended.
    Import(Box<Register>),
    /// Ends the token, if it is live.
    Abort(TokenId, Reason),
    /// Ends the token, or bars the machine that was admitted.
    Revoke(TokenId, Reason),
    CreateSecret {
        name: String,
        content: SecretContent,
    },
    /// Only if it is still the one with this uid.
    DeleteSecret {
        name: String,
        uid: String,
    },
    WriteStatus(Box<JoinTokenStatus>),
    Publish(Notice),
}

impl Effect {
    /// It goes to the store.
    pub const fn is_proposal(&self) -> bool {
        matches!(
            self,
            Self::Register(_) | Self::Import(_) | Self::Abort(..) | Self::Revoke(..)
        )
    }

    /// Its name, for a metric's label.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "add_finalizer",
            Self::RemoveFinalizer => "remove_finalizer",
            Self::Register(_) => "register",
            Self::Import(_) => "import",
            Self::Abort(..) => "abort",
            Self::Revoke(..) => "revoke",
            Self::CreateSecret { .. } => "create_secret",
            Self::DeleteSecret { .. } => "delete_secret",
            Self::WriteStatus(_) => "write_status",
            Self::Publish(_) => "publish",
        }
    }
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub reason: EventReason,
    pub note: String,
}

/// What an effect came to.
#[derive(Debug)]
pub enum Effected {
    Done,
    /// The resource as it is now.
    Resource(Box<JoinToken>),
    Registered(RegisterOutcome),
    /// The record of a token that was ended, if it has one.
    Ended(Option<Box<Record>>),
    /// Somebody has changed the thing meanwhile: look at everything again.
    Outdated,
}

/// Carries effects out. The one way by which the controller changes anything, so that a test can
/// count them and stop after any.
pub trait Effects: Send + Sync + 'static {
    /// Does this for the resource. A resource that was read carries the version that the effect rests on.
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>>;
}

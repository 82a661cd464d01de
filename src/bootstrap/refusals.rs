//! What other rooms refuse, as the door's errors.

use crate::lifecycle::Reason;
use crate::lifecycle::outcome::Refusal;
use crate::pki::CsrError;
use crate::store::StoreError;
use crate::token::{PolicyBreach, VerifyError};

use super::DoorError;

impl From<StoreError> for DoorError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CsrError> for DoorError {
    fn from(error: CsrError) -> Self {
        Self::Csr(error)
    }
}

impl From<VerifyError> for DoorError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid | VerifyError::WrongPurpose => Self::InvalidToken,
            VerifyError::OtherStore => Self::TokenOfOtherStore,
            VerifyError::Policy(PolicyBreach::NodeName { .. }) => Self::NodeName,
            VerifyError::Policy(PolicyBreach::Ttl { max_ttl_ms }) => Self::TtlTooLong {
                limit_ms: max_ttl_ms,
            },
        }
    }
}

impl From<Refusal> for DoorError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TtlTooLong { limit_ms } => Self::TtlTooLong { limit_ms },
            Refusal::IssuedInFuture => Self::IssuedInFuture,
            Refusal::NotFounded => Self::NotReady,
            Refusal::UnknownKey(_)
            | Refusal::KeyPurpose(_)
            | Refusal::Empty
            | Refusal::FieldTooLong
            | Refusal::NamespaceFull { .. }
            | Refusal::IdInUse => Self::Unrecordable(refusal),
        }
    }
}

impl From<Reason> for DoorError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Revoked => Self::TokenRevoked,
            Reason::Deleted
            | Reason::Superseded
            | Reason::Attempts
            | Reason::Restored
            | Reason::Operator => Self::TokenAborted(reason),
        }
    }
}

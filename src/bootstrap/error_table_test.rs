//! The whole table, as callers see it.

use axum::http::header;
use axum::response::IntoResponse;

use super::DoorError;
use super::observer::Class;
use super::wire::Code;
use crate::lifecycle::Reason;
use crate::lifecycle::outcome::{Binding, Refusal};
use crate::pki::CsrError;
use crate::store::StoreError;
use crate::token::VerifyError;

#[test]
fn every_error_has_its_status_code_and_class() {
    use Class::{Failed, Malformed, Refused, TryAgain, Unproven};
    let aborted = DoorError::from(Reason::Deleted);
    let table = [
        (DoorError::NoSuchRoute, 404, Code::NotFound, Malformed),
        (
            DoorError::WrongMethod,
            405,
            Code::MethodNotAllowed,
            Malformed,
        ),
        (
            DoorError::Malformed { line: 1, column: 2 },
            400,
            Code::InvalidRequest,
            Malformed,
        ),
        (DoorError::BrokenBody, 400, Code::InvalidRequest, Malformed),
        (DoorError::BodyTooLarge, 413, Code::BodyTooLarge, Malformed),
        (DoorError::BodyTooSlow, 408, Code::RequestTimeout, Malformed),
        (
            DoorError::NoClientCertificate,
            401,
            Code::ClientCertificateRequired,
            Malformed,
        ),
        (
            DoorError::Csr(CsrError::Malformed),
            400,
            Code::InvalidCsr,
            Malformed,
        ),
        (
            DoorError::CsrKeyDiffers,
            400,
            Code::CsrKeyDiffers,
            Malformed,
        ),
        (DoorError::InvalidToken, 401, Code::InvalidToken, Unproven),
        (DoorError::TokenInBase64, 401, Code::InvalidToken, Unproven),
        (
            VerifyError::Invalid.into(),
            401,
            Code::InvalidToken,
            Unproven,
        ),
        (
            VerifyError::WrongPurpose.into(),
            401,
            Code::InvalidToken,
            Unproven,
        ),
        (
            VerifyError::OtherStore.into(),
            403,
            Code::TokenOfOtherStore,
            Refused,
        ),
        (DoorError::TokenUnknown, 403, Code::TokenUnknown, Refused),
        (DoorError::TokenExpired, 410, Code::TokenExpired, Refused),
        (DoorError::TokenUsed, 410, Code::TokenUsed, Refused),
        (Reason::Revoked.into(), 410, Code::TokenRevoked, Refused),
        (aborted, 410, Code::TokenAborted, Refused),
        (
            DoorError::ClaimConflict { for_ms: 1 },
            409,
            Code::ClaimConflict,
            TryAgain,
        ),
        (
            DoorError::NotAllowed(Binding::SourceAddress),
            403,
            Code::NotAllowedHere,
            Refused,
        ),
        (
            DoorError::NotAllowed(Binding::PublicKey),
            403,
            Code::KeyNotAllowed,
            Refused,
        ),
        (DoorError::NodeName, 403, Code::NodeNameNotAllowed, Refused),
        (
            Refusal::TtlTooLong { limit_ms: 1 }.into(),
            403,
            Code::TtlTooLong,
            Refused,
        ),
        (
            Refusal::IssuedInFuture.into(),
            403,
            Code::IssuedInFuture,
            Refused,
        ),
        (Refusal::IdInUse.into(), 403, Code::TokenRefused, Refused),
        (Refusal::NotFounded.into(), 503, Code::Unavailable, TryAgain),
        (DoorError::NotAdmitted, 403, Code::NotAdmitted, Refused),
        (
            DoorError::RateLimited { for_ms: 1 },
            429,
            Code::RateLimited,
            TryAgain,
        ),
        (StoreError::NoLeader.into(), 503, Code::NoLeader, TryAgain),
        (
            StoreError::Unknown.into(),
            503,
            Code::OutcomeUnknown,
            TryAgain,
        ),
        (StoreError::Clock.into(), 503, Code::ClockAhead, TryAgain),
        (StoreError::KeysAmiss.into(), 503, Code::Unavailable, Failed),
        (StoreError::Stopped.into(), 503, Code::Unavailable, TryAgain),
        (DoorError::ClaimLost, 503, Code::OutcomeUnknown, TryAgain),
        (DoorError::SigningFailed, 503, Code::Unavailable, Failed),
        (DoorError::TooSlow, 503, Code::OutcomeUnknown, TryAgain),
        (DoorError::Internal, 500, Code::Internal, Failed),
    ];
    for (error, status, code, class) in table {
        assert_eq!((error.code(), error.class()), (code, class), "{error:?}");
        let response = error.clone().into_response();
        assert_eq!(response.status().as_u16(), status, "{error:?}");
        // 503, 409 and 429 say when to come back, nothing else does.
        let says_when = response.headers().get(header::RETRY_AFTER);
        let seconds: Option<u64> = says_when.map(|v| v.to_str().unwrap().parse().unwrap());
        assert_eq!(
            seconds.is_some(),
            matches!(status, 503 | 409 | 429),
            "{error:?}"
        );
        assert_ne!(seconds, Some(0), "{error:?}");
    }
}

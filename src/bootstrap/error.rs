//! The one table of errors: what went wrong, and what the caller sees of it.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::lifecycle::Reason;
use crate::lifecycle::outcome::{Binding, Refusal};
use crate::pki::CsrError;
use crate::store::StoreError;

use super::observer::Class;
use super::wire::{Code, ErrorBody};

/// Everything that can keep a request from succeeding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorError {
    NoSuchRoute,
    WrongMethod,
    /// The body is not the JSON expected; where it stopped being so.
    Malformed {
        line: usize,
        column: usize,
    },
    /// The body could not be read to its end.
    BrokenBody,
    BodyTooLarge,
    BodyTooSlow,
    NoClientCertificate,
    Csr(CsrError),
    CsrKeyDiffers,
    /// Not parsed, or of no key of the ring, or of another kind than its key.
    InvalidToken,
    /// The token is as a Secret holds it: the machine forgot to decode it.
    TokenInBase64,
    TokenOfOtherStore,
    TokenUnknown,
    TokenExpired,
    TokenUsed,
    TokenRevoked,
    TokenAborted(Reason),
    /// Another joiner holds the claim for at most so long.
    ClaimConflict {
        for_ms: u64,
    },
    NotAllowed(Binding),
    /// The signing key's policy or the namespace's does not have the node name.
    NodeName,
    TtlTooLong {
        limit_ms: u64,
    },
    IssuedInFuture,
    /// The store cannot record such a token.
    Unrecordable(Refusal),
    NotAdmitted,
    RateLimited {
        for_ms: u64,
    },
    Store(StoreError),
    /// The store is not founded, or its records changed while the request ran.
    NotReady,
    /// The claim was lost to another request while the certificate was made.
    ClaimLost,
    /// The members' CA cannot sign now.
    SigningFailed,
    /// The request took longer than a request may.
    TooSlow,
    /// A panic was caught.
    Internal,
}

/// A row of the table.
struct Row {
    status: StatusCode,
    code: Code,
    class: Class,
    message: Cow<'static, str>,
    retry_after_ms: Option<u64>,
}

impl DoorError {
    /// What programs are told.
    pub fn code(&self) -> Code {
        self.row().code
    }

    /// What kind of failure it is, for metrics.
    pub fn class(&self) -> Class {
        self.row().class
    }

    /// Whether nothing else that the caller may ask will do: his token is not good, or no more.
    pub(super) fn ends_the_connection(&self) -> bool {
        self.class() == Class::Refused && *self != Self::NotAdmitted
    }

    /// The table. No message repeats anything of what was sent.
    fn row(&self) -> Row {
        use Class::{Failed, Malformed, Refused, TryAgain, Unproven};
        use StatusCode as S;
        match self {
            Self::NoSuchRoute => row(
                S::NOT_FOUND,
                Code::NotFound,
                Malformed,
                "there is nothing at this path; /openapi.json describes what there is",
            ),
            Self::WrongMethod => row(
                S::METHOD_NOT_ALLOWED,
                Code::MethodNotAllowed,
                Malformed,
                "this path takes another method; see /openapi.json",
            ),
            Self::Malformed { line, column } => row(
                S::BAD_REQUEST,
                Code::InvalidRequest,
                Malformed,
                format!(
                    "the body is not the JSON that this path takes (line {line}, column {column}); see /openapi.json"
                ),
            ),
            Self::BrokenBody => row(
                S::BAD_REQUEST,
                Code::InvalidRequest,
                Malformed,
                "the body broke off or is not valid HTTP",
            ),
            Self::BodyTooLarge => row(
                S::PAYLOAD_TOO_LARGE,
                Code::BodyTooLarge,
                Malformed,
                "the body is longer than any request: the limit is 16 KiB",
            ),
            Self::BodyTooSlow => row(
                S::REQUEST_TIMEOUT,
                Code::RequestTimeout,
                Malformed,
                "the body did not arrive in time",
            ),
            Self::NoClientCertificate => row(
                S::UNAUTHORIZED,
                Code::ClientCertificateRequired,
                Malformed,
                "show a self-signed certificate of the machine's own key as TLS client certificate; if one was shown, something between here and the machine ends TLS, and it must pass it through",
            ),
            Self::Csr(error) => row(
                S::BAD_REQUEST,
                Code::InvalidCsr,
                Malformed,
                error.to_string(),
            ),
            Self::CsrKeyDiffers => row(
                S::BAD_REQUEST,
                Code::CsrKeyDiffers,
                Malformed,
                "the CSR is of another key than the client certificate; make both of the machine's own key",
            ),
            Self::InvalidToken => row(
                S::UNAUTHORIZED,
                Code::InvalidToken,
                Unproven,
                "the token is not valid here; ask whoever gave it to you for another",
            ),
            Self::TokenInBase64 => row(
                S::UNAUTHORIZED,
                Code::InvalidToken,
                Unproven,
                "the token is in base64, as Secrets hold it; decode it before it is used",
            ),
            Self::TokenOfOtherStore => row(
                S::FORBIDDEN,
                Code::TokenOfOtherStore,
                Refused,
                "the token was made for another store, or for this one before it was restored; ask for a new one",
            ),
            Self::TokenUnknown => row(
                S::FORBIDDEN,
                Code::TokenUnknown,
                Refused,
                "the store has no record of this token, or has forgotten it; ask for a new one",
            ),
            Self::TokenExpired => row(
                S::GONE,
                Code::TokenExpired,
                Refused,
                "the token has expired; ask for a new one",
            ),
            Self::TokenUsed => row(
                S::GONE,
                Code::TokenUsed,
                Refused,
                "the token has been used; if not by this machine, somebody else has it: tell whoever gave it to you, and ask for a new one",
            ),
            Self::TokenRevoked => row(
                S::GONE,
                Code::TokenRevoked,
                Refused,
                "the token was revoked; ask whoever gave it to you why",
            ),
            Self::TokenAborted(reason) => row(
                S::GONE,
                Code::TokenAborted,
                Refused,
                format!(
                    "the token was ended before it was used ({}); ask for a new one",
                    reason.as_str()
                ),
            ),
            Self::ClaimConflict { for_ms } => retry(
                S::CONFLICT,
                Code::ClaimConflict,
                TryAgain,
                "another machine, or this one with another key, is using the token at this moment; if it does not succeed, the token can be used again",
                // It may be given back at any moment, so nobody waits for its very end.
                (*for_ms).min(10_000),
            ),
            Self::NotAllowed(Binding::SourceAddress) => row(
                S::FORBIDDEN,
                Code::NotAllowedHere,
                Refused,
                "the token may not be used from this address",
            ),
            Self::NotAllowed(Binding::PublicKey) => row(
                S::FORBIDDEN,
                Code::KeyNotAllowed,
                Refused,
                "the token may only be used with another key than this machine's",
            ),
            Self::NodeName => row(
                S::FORBIDDEN,
                Code::NodeNameNotAllowed,
                Refused,
                "a machine of the token's node name may not be admitted by its signing key or in its namespace",
            ),
            Self::TtlTooLong { limit_ms } => row(
                S::FORBIDDEN,
                Code::TtlTooLong,
                Refused,
                format!(
                    "the token lives longer than it may; make one of at most {} seconds",
                    limit_ms / 1000
                ),
            ),
            Self::IssuedInFuture => row(
                S::FORBIDDEN,
                Code::IssuedInFuture,
                Refused,
                "the token says that it was issued in the future; set the clock of the machine that made it, and make another",
            ),
            Self::Unrecordable(_) => row(
                S::FORBIDDEN,
                Code::TokenRefused,
                Refused,
                "the store does not accept this token or the key that made it; ask for a new one",
            ),
            Self::NotAdmitted => row(
                S::FORBIDDEN,
                Code::NotAdmitted,
                Refused,
                "this machine's key was not admitted by that token",
            ),
            Self::RateLimited { for_ms } => retry(
                S::TOO_MANY_REQUESTS,
                Code::RateLimited,
                TryAgain,
                "too many requests; slow down",
                *for_ms,
            ),
            Self::Store(StoreError::NoLeader) => retry(
                S::SERVICE_UNAVAILABLE,
                Code::NoLeader,
                TryAgain,
                "the store has no leader at the moment; ask again with the same key",
                1_000,
            ),
            Self::Store(StoreError::Unknown) => retry(
                S::SERVICE_UNAVAILABLE,
                Code::OutcomeUnknown,
                TryAgain,
                "the store did not answer in time, and whether you were admitted is not known; ask again with the same key",
                1_000,
            ),
            Self::Store(StoreError::Clock) => retry(
                S::SERVICE_UNAVAILABLE,
                Code::ClockAhead,
                TryAgain,
                "the store's clock is ahead of the servers'; nothing is issued until time has caught up",
                30_000,
            ),
            Self::Store(StoreError::KeysAmiss) => retry(
                S::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                Failed,
                "the server's keys are not in order, and it admits nobody until they are; ask again later with the same key",
                30_000,
            ),
            Self::Store(StoreError::Stopped) | Self::NotReady => retry(
                S::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                TryAgain,
                "the server is starting or stopping; ask again",
                2_000,
            ),
            Self::ClaimLost => retry(
                S::SERVICE_UNAVAILABLE,
                Code::OutcomeUnknown,
                TryAgain,
                "the token changed hands while the certificate was made; ask again with the same key",
                1_000,
            ),
            Self::SigningFailed => retry(
                S::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                Failed,
                "the certificate could not be signed; the token is unused, ask again",
                10_000,
            ),
            Self::TooSlow => retry(
                S::SERVICE_UNAVAILABLE,
                Code::OutcomeUnknown,
                TryAgain,
                "the request took too long, and whether you were admitted is not known; ask again with the same key",
                1_000,
            ),
            Self::Internal => row(
                S::INTERNAL_SERVER_ERROR,
                Code::Internal,
                Failed,
                "a fault in the server; ask again with the same key, and tell the server's operator",
            ),
        }
    }
}

impl IntoResponse for DoorError {
    fn into_response(self) -> Response {
        let row = self.row();
        let ends_the_connection = self.ends_the_connection();
        let retry_after_seconds = row.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1));
        let body = ErrorBody {
            code: row.code,
            message: row.message.into_owned(),
            retry_after_seconds,
        };
        let mut response = (row.status, Json(body)).into_response();
        if let Some(seconds) = retry_after_seconds {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if ends_the_connection {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

fn row(status: StatusCode, code: Code, class: Class, message: impl Into<Cow<'static, str>>) -> Row {
    Row {
        status,
        code,
        class,
        message: message.into(),
        retry_after_ms: None,
    }
}

fn retry(
    status: StatusCode,
    code: Code,
    class: Class,
    message: &'static str,
    after_ms: u64,
) -> Row {
    Row {
        retry_after_ms: Some(after_ms),
        ..row(status, code, class, message)
    }
}

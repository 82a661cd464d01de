//! What goes over the wire between a joiner and the door: JSON, described in `docs/openapi.json`.
//!
//! These types are a promise to programs of other versions: fields are added, never changed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// Where a joiner asks to be admitted.
pub const JOIN_PATH: &str = "/v1/join";
/// Where an admitted joiner says that it has its answer.
pub const ACK_PATH: &str = "/v1/ack";
/// Where anybody learns which CA the members' certificates chain to.
pub const CA_PATH: &str = "/v1/ca";
/// Where the description of all this is.
pub const OPENAPI_PATH: &str = "/openapi.json";

/// A string that is wiped when dropped and never printed.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Keeps `text`.
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The string itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A machine asks to be admitted. It shows, as its TLS client certificate, a self-signed
/// certificate of the key that the CSR is of.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JoinRequest {
    /// The join token. Whoever holds it may try to join.
    #[schema(value_type = String, format = Password, max_length = 1024)]
    pub token: SecretText,
    /// A certificate signing request (PKCS#10, PEM) of the machine's key: P-256, P-384, Ed25519
    /// or RSA of 2048 to 4096 bits. Of its content only the public key counts.
    pub csr: String,
}

/// The machine is admitted. Asked again with the same token and key, the answer holds the very
/// same certificate, until it is acknowledged or its time for that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinResponse {
    /// The token's public name, 32 hexadecimal digits. It names this admission from now on.
    pub token_id: String,
    /// The name of the machine.
    pub node_name: String,
    /// The machine's certificate, then what it takes to chain it to `ca`. PEM.
    pub certificate: String,
    /// The CA that members' certificates chain to. PEM, one certificate or several.
    pub ca: String,
    /// What all names in certificates end in.
    pub trust_domain: String,
    /// When the certificate ends, RFC 3339 in UTC.
    pub not_after: String,
    /// Files that members need beside the certificate, by name.
    pub files: BTreeMap<String, String>,
}

/// An admitted machine has stored its answer: it will not be given again. The machine proves by
/// its TLS client certificate that it is the one that was admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AckRequest {
    /// The token's public name, as the answer had it.
    pub token_id: String,
}

/// Redelivery has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AckResponse {
    /// The token's public name.
    pub token_id: String,
}

/// The CA that members' certificates chain to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaResponse {
    /// What all names in certificates end in.
    pub trust_domain: String,
    /// PEM, one certificate or several.
    pub ca: String,
}

/// Every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What programs go by.
    pub code: Code,
    /// What people read: what is wrong and what to do.
    pub message: String,
    /// After how many seconds to ask again, with the same key; as in the header `Retry-After`.
    /// Absent: asking again does not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// Why a request is not answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No such path.
    NotFound,
    /// The path takes another method.
    MethodNotAllowed,
    /// The body is not the JSON that this path takes.
    InvalidRequest,
    /// The body is longer than any request.
    BodyTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// No client certificate was shown, so nothing proves who asks.
    ClientCertificateRequired,
    /// The CSR cannot be read, is of a key that is not admitted, or does not verify.
    InvalidCsr,
    /// The CSR is of another key than the client certificate.
    CsrKeyDiffers,
    /// Not a token that this store's keys have made. Nothing more is said without a valid token.
    InvalidToken,
    /// The token is of another store, or of this one before it was restored.
    TokenOfOtherStore,
    /// The store has no record of the token, and only a record could let it in.
    TokenUnknown,
    /// The token's time is over.
    TokenExpired,
    /// The token has admitted a machine, or this machine has acknowledged its answer.
    TokenUsed,
    /// The token, or the machine that it admitted, was revoked.
    TokenRevoked,
    /// The token was ended before it was used: its resource was deleted or superseded, its
    /// claims were used up, or the store was restored.
    TokenAborted,
    /// Another machine is using the token at this moment.
    ClaimConflict,
    /// The token may not be used from this address.
    NotAllowedHere,
    /// The token may not be used with this key.
    KeyNotAllowed,
    /// The signing key or the namespace may not have machines of this name.
    NodeNameNotAllowed,
    /// The token lives longer than its signing key or the store allows.
    TtlTooLong,
    /// The token says that it was issued in the future.
    IssuedInFuture,
    /// The token cannot be recorded.
    TokenRefused,
    /// The machine that asks was not admitted by this token.
    NotAdmitted,
    /// Too many requests.
    RateLimited,
    /// No replica leads the store at the moment.
    NoLeader,
    /// It is not known whether the request was carried out; the same one again finds out.
    OutcomeUnknown,
    /// The store's clock is ahead: nothing may be issued until time has caught up.
    ClockAhead,
    /// The server is starting or stopping, or a key or CA is missing.
    Unavailable,
    /// A fault in the server.
    Internal,
}

impl fmt::Display for Code {
    /// As it is on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

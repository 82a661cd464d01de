//! What a certificate contains: three CAs, names, signing requests, signing, and the checks
//! made inside a TLS handshake.
//!
//! This room knows no store, no Kubernetes, no clock and no async: every time is an argument, in
//! milliseconds since the epoch. What it promises:
//!
//! - the **door's**, the **members'** and the **peers'** CA have three keys, each certificate
//!   names its CA's role, and a CA signs only what belongs to its role;
//! - of a joiner's request only the public key counts, and the proof that its private key is held;
//! - nothing that a member is issued has the door's URI ([`door_uri`]), and no two places (a
//!   namespace, an offline key) share a name;
//! - a joiner decides whether it trusts the door within the handshake ([`verify::DoorVerifier`]);
//! - of two replicas each proves the other its address within the handshake ([`verify::PeerVerifier`]).
//!
//! Read `names`, `authority`, `csr`, `member`, `fresh`, `door`, `joiner`, `peer`, `verify`, in this order.

mod authority;
mod certificate;
mod csr;
mod der;
mod door;
mod error;
mod fresh;
mod joiner;
mod member;
mod names;
mod peer;
mod public_key;
mod secret_key;
pub mod verify;

pub use authority::{AUTHORITY_LIFETIME_MS, Authority, CaRole};
pub use certificate::{
    BACKDATE_MS, certificate_pem, is_signed_by, not_after_ms_of_cert, spki_sha256_of_cert,
};
pub use csr::{JoinerCsr, MAX_CSR_BYTES};
pub use door::{DoorIdentity, door_uri};
pub use error::{CsrError, KeyError, NameError, PkiError};
pub use joiner::JoinerKey;
pub use member::{MemberIdentity, MemberNames, issue_member};
pub use names::{MAX_TRUST_DOMAIN, NodeName, TrustDomain, peer_host};
pub use peer::PeerIdentity;
pub use public_key::KeyKind;

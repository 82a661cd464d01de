//! What can go wrong with certificates and keys. No variant carries key material.

use thiserror::Error;

use super::CaRole;

/// A name that cannot stand in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not a label as RFC 1123 has it.
    #[error(
        "{what} {value:?} is not a DNS label: use 1 to 63 characters a-z, 0-9 or '-', beginning and ending with a letter or a digit"
    )]
    NotALabel {
        /// What the name is of: `node name`, `namespace`, ….
        what: &'static str,
        /// The name as it was given, cut to 80 characters.
        value: String,
    },
    /// Labels joined by dots, but too long altogether.
    #[error("{what} is {length} characters long; at most {limit} fit")]
    TooLong {
        /// What the name is of.
        what: &'static str,
        /// Its length in characters.
        length: usize,
        /// The most that fits.
        limit: usize,
    },
    /// Not the address of a peer.
    #[error(
        "{value:?} is not the address of a peer: write host:port, the host as a DNS name in lower case, an IPv4 address or an IPv6 address in brackets, the port from 1 to 65535, and nothing else"
    )]
    NotAPeerAddress {
        /// The address as it was given, cut to 80 characters.
        value: String,
    },
    /// An id that is not lower-case hexadecimal of a sensible length.
    #[error("{what} is not {digits} lower-case hexadecimal digits")]
    NotHex {
        /// What the id is of.
        what: &'static str,
        /// How many digits it must have.
        digits: &'static str,
    },
}

/// Why a public key is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The bytes are no SubjectPublicKeyInfo in DER's one encoding.
    #[error("the public key cannot be read")]
    Malformed,
    /// An algorithm or curve that is not admitted.
    #[error(
        "this kind of public key is not admitted; use P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits"
    )]
    Kind,
    /// RSA of another size.
    #[error("an RSA key of {bits} bits is not admitted; use 2048 to 4096")]
    RsaSize {
        /// Bits of the modulus.
        bits: usize,
    },
}

/// Why a certificate signing request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Longer than [`super::MAX_CSR_BYTES`].
    #[error("the CSR has {0} bytes; at most {max} are read", max = super::MAX_CSR_BYTES)]
    TooLarge(usize),
    /// Neither PKCS#10 in DER nor one PEM block of it.
    #[error("this is not a certificate signing request (PKCS#10, PEM or DER)")]
    Malformed,
    /// The key is of a kind or size that is not admitted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Signed with an algorithm that is not accepted (SHA-1, say).
    #[error(
        "the CSR's signature algorithm is not accepted; sign it with SHA-256, SHA-384, SHA-512 or Ed25519"
    )]
    SignatureAlgorithm,
    /// The signature does not fit the key in the request: no proof of possession.
    #[error("the CSR's signature does not verify: its maker did not hold the private key")]
    Signature,
}

/// What else can fail in this room.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PkiError {
    /// Not one PEM block of the kind expected.
    #[error("{0} is not one PEM block of the expected kind")]
    Pem(&'static str),
    /// A certificate that cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Certificate(&'static str),
    /// A private key that cannot be read.
    #[error("the private key cannot be read (PKCS#8, SEC1 or PKCS#1, unencrypted)")]
    PrivateKey,
    /// A key of a kind that is not admitted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A bad name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate may not sign certificates.
    #[error("the certificate is not a CA (it needs CA:TRUE and, if it names usages, keyCertSign)")]
    NotACa,
    /// A CA that does not say which of the three it is.
    #[error(
        "the CA names no role: it needs exactly one URI SAN jointoken://<trust domain>/ca/<door|members|peers>"
    )]
    NoRole,
    /// One role's CA where another's belongs.
    #[error("this is the CA for {found}, not for {expected}")]
    WrongRole {
        /// The role that was needed.
        expected: CaRole,
        /// The role that the CA names.
        found: CaRole,
    },
    /// A CA of another trust domain.
    #[error("the CA is of trust domain {found}, not {expected}")]
    WrongTrustDomain {
        /// The trust domain that was needed.
        expected: String,
        /// The one that the CA names.
        found: String,
    },
    /// The CA has expired or is not valid yet at the given time.
    #[error(
        "the CA for {role} is not valid now: it is valid from {} to {}", date(*not_before_ms), date(*not_after_ms)
    )]
    AuthorityDates {
        /// Which CA.
        role: CaRole,
        /// Start of its validity.
        not_before_ms: u64,
        /// End of its validity.
        not_after_ms: u64,
    },
    /// A time that X.509 cannot say, or a lifetime of nothing.
    #[error("the time or lifetime cannot be put into a certificate")]
    Time,
    /// A certificate for the door without a name or address to reach it by.
    #[error("the door needs at least one DNS name or IP address in its certificate")]
    NoDoorName,
    /// Peers are to be checked against no CA at all.
    #[error("there is no peers' CA to check peers against")]
    NoPeersCa,
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
    /// Key generation or signing failed in the cryptographic library.
    #[error("the cryptographic library refused: {0}")]
    Crypto(String),
}

/// As people read it: RFC 3339 in UTC, to the second; the plain number beyond what calendars hold.
pub(super) fn date(ms: u64) -> String {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{ms} ms after 1970"), |time| time.to_string())
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        // rcgen's messages name what it could not do, never the bytes it was given.
        PkiError::Crypto(error.to_string())
    }
}

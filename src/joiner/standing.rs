//! What a folder holds of one token already: the certificate itself tells, whatever became of `info.json`.

use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::pki::{JoinerKey, MemberNames, is_signed_by, not_after_ms_of_cert, spki_sha256_of_cert};

use super::folder::{BundleFile, BundleInfo, Folder};
use super::{JoinError, JoinFailure};

/// How a folder stands to a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The machine has joined. `is_whole`: `info.json` says so too.
    Joined { info: BundleInfo, is_whole: bool },
    /// The key was admitted, and this file of what it was given is gone or damaged.
    Lacks(BundleFile),
    /// The certificate is of this token and of another key.
    KeyReplaced,
    /// The certificate is of this token, and its time is over.
    Ended { not_after: String },
    /// Nothing here speaks of the token.
    Nothing,
}

impl Folder {
    /// How this folder, with this key in it, stands to the token.
    pub(super) fn standing(&self, token_id: &str, key: &JoinerKey, now_ms: u64) -> Standing {
        let info = self.content(BundleFile::Info);
        let info: Option<BundleInfo> = info.and_then(|text| serde_json::from_str(&text).ok());
        let info = info.filter(|info| info.token_id == token_id);
        let chain = certificates(self.content(BundleFile::Certificate).as_deref());
        let Some(of_leaf) = of_leaf(&chain).filter(|leaf| leaf.info.token_id == token_id) else {
            let key = hex(key.public_key_sha256());
            let was_admitted = info.is_some_and(|info| info.public_key_sha256 == key);
            return match was_admitted {
                true => Standing::Lacks(BundleFile::Certificate),
                false => Standing::Nothing,
            };
        };
        if of_leaf.info.public_key_sha256 != hex(key.public_key_sha256()) {
            return Standing::KeyReplaced;
        }
        if of_leaf.not_after_ms <= now_ms {
            let not_after = of_leaf.info.not_after;
            return Standing::Ended { not_after };
        }
        let cas = certificates(self.content(BundleFile::Ca).as_deref());
        if !is_signed_by(&chain, &cas) {
            return Standing::Lacks(BundleFile::Ca);
        }
        Standing::Joined {
            is_whole: info.is_some(),
            info: info.unwrap_or(of_leaf.info),
        }
    }
}

impl Standing {
    /// The door says only that the token has been used. The folder may know by whom.
    pub(super) fn explain(self, error: JoinError, folder: &Path) -> JoinError {
        if error.kind() != JoinFailure::Used {
            return error;
        }
        match self {
            Self::Lacks(file) => JoinError::Lost {
                file: folder.join(file.name()),
            },
            Self::KeyReplaced => JoinError::KeyReplaced {
                key: folder.join("tls.key"),
            },
            Self::Ended { not_after } => JoinError::Ended { not_after },
            Self::Joined { .. } | Self::Nothing => error,
        }
    }
}

/// What a certificate says.
struct Leaf {
    info: BundleInfo,
    not_after_ms: u64,
}

fn of_leaf(chain: &[CertificateDer<'_>]) -> Option<Leaf> {
    let leaf = chain.first()?;
    let names = MemberNames::of_cert(leaf)?;
    let not_after_ms = not_after_ms_of_cert(leaf).ok()?;
    let seconds = i64::try_from(not_after_ms / 1000).ok()?;
    Some(Leaf {
        info: BundleInfo {
            token_id: names.token_id,
            node_name: names.node.to_string(),
            trust_domain: names.trust_domain.to_string(),
            not_after: Timestamp::from_second(seconds).ok()?.to_string(),
            public_key_sha256: hex(spki_sha256_of_cert(leaf).ok()?),
        },
        not_after_ms,
    })
}

fn certificates(pem: Option<&String>) -> Vec<CertificateDer<'static>> {
    let text = pem.map(String::as_bytes).unwrap_or_default();
    let all: Result<_, _> = CertificateDer::pem_slice_iter(text).collect();
    all.unwrap_or_default()
}

fn hex(bytes: [u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(&bytes)
}

//! The folder where a machine's key and bundle are.
//!
//! Every file is written beside its place, synced, and moved there. `info.json` comes last: where
//! it speaks of a token, the bundle of that token is whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::bootstrap::wire::JoinResponse;
use crate::pki::JoinerKey;

use super::JoinError;

const KEY: &str = "tls.key";
const CSR: &str = "csr.pem";
const CERTIFICATE: &str = "tls.crt";
const CA: &str = "ca.crt";
const INFO: &str = "info.json";

/// Longer than any file that is written here.
const MAX_FILE: u64 = 1024 * 1024;

/// What is known of a membership beside its certificates: the content of `info.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleInfo {
    /// The token's public name, which names the admission too.
    pub token_id: String,
    pub node_name: String,
    pub trust_domain: String,
    /// When the certificate ends, RFC 3339 in UTC.
    pub not_after: String,
    /// SHA-256 of the machine's public key, by which the servers know it.
    pub public_key_sha256: String,
}

/// What a machine was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BundleFile {
    Certificate,
    Ca,
    Info,
}

impl BundleFile {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Certificate => CERTIFICATE,
            Self::Ca => CA,
            Self::Info => INFO,
        }
    }
}

/// The folder, held for this process alone.
pub(super) struct Folder {
    path: PathBuf,
    /// The folder itself, open and locked; synced so that the names in it last.
    handle: File,
}

impl Folder {
    /// Opens the folder, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, JoinError> {
        let error = |action| file_error(action, path);
        make(path).map_err(error("make the folder"))?;
        let handle = File::open(path).map_err(error("open the folder"))?;
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                handle,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(JoinError::Busy(path.to_owned())),
            Err(errno) => Err(error("lock the folder")(errno.into())),
        }
    }

    /// The machine's key: the one that is there, or a new one (then the second value is true),
    /// which is on disk before this returns. None is made beside a certificate: it would not fit.
    pub(super) fn key(&self, warning: &dyn Fn(&str)) -> Result<(JoinerKey, bool), JoinError> {
        self.keep_private(warning)?;
        if let Some(pem) = self.read(KEY)? {
            let key = JoinerKey::from_pem(&pem);
            return key
                .map(|key| (key, false))
                .map_err(|source| JoinError::KeyFile {
                    path: self.path.join(KEY),
                    source,
                });
        }
        if self.read(CERTIFICATE)?.is_some() {
            return Err(JoinError::LostKey(self.path.clone()));
        }
        let key = JoinerKey::generate().map_err(JoinError::key)?;
        self.write(KEY, key.to_pem().as_bytes(), 0o600)?;
        Ok((key, true))
    }

    /// Sees to it that nobody else can use the key that is there. Its group may read it: somebody has given it to a service so.
    fn keep_private(&self, warning: &dyn Fn(&str)) -> Result<(), JoinError> {
        const OTHERS: u32 = 0o037;
        let path = self.path.join(KEY);
        let error = file_error("look at", &path);
        let file = match File::open(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(&error)?,
        };
        let metadata = file.metadata().map_err(error)?;
        let mode = metadata.permissions().mode();
        if !metadata.is_file() || mode & OTHERS == 0 {
            return Ok(());
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(JoinError::KeyIsOpen {
                path,
                owner: metadata.uid(),
            });
        }
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(file_error("set the mode of", &path))?;
        warning(&format!(
            "{} had mode {:04o}, so that other users of this machine could use the key; it has 0600 now. Whoever may have read it can pose as this machine: if that is anybody, revoke the token and join with a new key",
            path.display(),
            mode & 0o7777
        ));
        Ok(())
    }

    /// Writes `info.json` again. Whoever cannot write it has joined nevertheless.
    pub(super) fn mend(&self, info: &BundleInfo, warning: &dyn Fn(&str)) {
        let path = self.path.join(INFO);
        match self.write_info(info) {
            Ok(()) => warning(&format!(
                "{} was missing or damaged; it was written again from the certificate",
                path.display()
            )),
            Err(error) => warning(&format!("the machine has joined, but {error}")),
        }
    }

    /// The answer is lost for now.
    pub(super) fn not_kept(&self, error: JoinError) -> JoinError {
        JoinError::NotKept {
            key: self.path.join(KEY),
            source: Box::new(error),
        }
    }

    /// A file's content, if it is there and can be read.
    pub(super) fn content(&self, file: BundleFile) -> Option<Zeroizing<String>> {
        self.read(file.name()).ok().flatten()
    }

    pub(super) fn write_csr(&self, pem: &str) -> Result<(), JoinError> {
        self.write(CSR, pem.as_bytes(), 0o644)
    }

    /// Writes what the door answered.
    pub(super) fn write_bundle(
        &self,
        answer: &JoinResponse,
        key: &JoinerKey,
    ) -> Result<BundleInfo, JoinError> {
        let info = BundleInfo {
            token_id: answer.token_id.clone(),
            node_name: answer.node_name.clone(),
            trust_domain: answer.trust_domain.clone(),
            not_after: answer.not_after.clone(),
            public_key_sha256: data_encoding::HEXLOWER.encode(&key.public_key_sha256()),
        };
        // With an earlier bundle's info.json still there, a crash in between would leave the
        // files of two bundles and a claim that they are one.
        self.remove(INFO)?;
        self.write(CERTIFICATE, answer.certificate.as_bytes(), 0o644)?;
        self.write(CA, answer.ca.as_bytes(), 0o644)?;
        self.write_info(&info)?;
        Ok(info)
    }

    fn write_info(&self, info: &BundleInfo) -> Result<(), JoinError> {
        let mut json = serde_json::to_string_pretty(info)
            .map_err(|error| file_error("write", &self.path.join(INFO))(error.into()))?;
        json.push('\n');
        self.write(INFO, json.as_bytes(), 0o644)
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, JoinError> {
        let path = self.path.join(name);
        let error = file_error("read", &path);
        let length = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_FILE => {
                return Err(error(io::Error::other("it is too long")));
            }
            Ok(metadata) => metadata.len(),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error(source)),
        };
        let file = File::open(&path).map_err(&error)?;
        // A buffer that grows would leave copies of a key behind.
        let capacity = usize::try_from(length).unwrap_or_default() + 1;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE), &mut text).map_err(error)?;
        Ok(Some(text))
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), JoinError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.new"));
        let write = || -> io::Result<()> {
            // What a crash left there may have other permissions.
            remove_if_there(&beside)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            self.handle.sync_all()
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&beside);
            file_error("write", &path)(source)
        })
    }

    fn remove(&self, name: &str) -> Result<(), JoinError> {
        let path = self.path.join(name);
        remove_if_there(&path)
            .and_then(|()| self.handle.sync_all())
            .map_err(file_error("remove", &path))
    }
}

/// Makes the folder and those that it lies in, as far as they are missing. Each is synced into the
/// one that it lies in: a key that a power failure takes away after the admission has used the token.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => sync_parent(path),
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => match path.parent() {
            // Some file systems, such as /proc, say "not found" of what cannot be made in a folder that is there.
            Some(parent) if error.kind() == io::ErrorKind::NotFound && !parent.is_dir() => {
                make(parent)?;
                make(path)
            }
            _ => Err(error),
        },
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    File::open(parent)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn file_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JoinError {
    let path = path.to_owned();
    move |source| JoinError::File {
        action,
        path: path.clone(),
        source,
    }
}

//! Where tokens and secrets come from: a file, standard input or the environment. Never the
//! command line, which every user of the machine can read and shells keep.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::exit::{Exit, Failure};
use crate::net::file_words;
use crate::store::file_trouble;
use crate::telemetry::redact;
use crate::token::{KeyFileError, MAX_KEY_FILE, MAX_TOKEN, OfflineKeyFile, Presented, SigningKey};

/// The variable of the environment that holds a token.
const TOKEN_VARIABLE: &str = "JOINTOKEN_TOKEN";
/// The variable of the environment that holds an exported signing key.
const KEY_VARIABLE: &str = "JOINTOKEN_KEY";
/// What a new file is filled with until there is a secret to write: more than any is long.
const ROOM: [u8; 4096] = [b'\n'; 4096];
const _: () = assert!(MAX_KEY_FILE < ROOM.len() && MAX_TOKEN < ROOM.len());
/// White space that files may have around what they hold, in bytes.
const AROUND: usize = 64;

/// Where a command's token is.
#[derive(Debug, clap::Args)]
pub struct TokenInput {
    /// File that holds the token, - for standard input [default: the environment's
    /// JOINTOKEN_TOKEN, else standard input]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Catches a token on the command line, which clap would repeat in its error.
    #[arg(hide = true, value_name = "TOKEN")]
    misplaced: Option<OsString>,
}

impl TokenInput {
    /// Reads and parses the token.
    pub fn read(&self) -> Result<Presented, Failure> {
        if self.misplaced.is_some() {
            return Err(Failure::usage(
                "a token is not taken from the command line, where every user of the machine can read it: give --token-file FILE or pipe it to standard input",
            ));
        }
        let content = match (&self.token_file, variable(TOKEN_VARIABLE)) {
            (Some(path), _) => read(path, "the token", MAX_TOKEN)?,
            (None, Some(token)) => token,
            (None, None) if io::stdin().is_terminal() => {
                return Err(Failure::usage(format_args!(
                    "there is no token: give --token-file FILE, set {TOKEN_VARIABLE}, or pipe it to standard input"
                )));
            }
            (None, None) => read(Path::new("-"), "the token", MAX_TOKEN)?,
        };
        parse_token(&content)
    }

    /// Whether [`TokenInput::read`] takes standard input, so that nothing else can.
    pub fn is_stdin(&self) -> bool {
        match &self.token_file {
            Some(path) => is_stdin(path),
            None => variable(TOKEN_VARIABLE).is_none(),
        }
    }
}

/// The token in this file.
pub fn read_token(path: &Path) -> Result<Presented, Failure> {
    parse_token(&read(path, "the token", MAX_TOKEN)?)
}

fn parse_token(content: &[u8]) -> Result<Presented, Failure> {
    if content.trim_ascii().is_empty() {
        return Err(Failure::usage(
            "there is no token: what should hold it is empty",
        ));
    }
    // What is no text is no token: the parser refuses the characters that stand in.
    let text = Zeroizing::new(String::from_utf8_lossy(content).into_owned());
    Presented::parse_trimmed(&text).map_err(|error| Failure::new(Exit::Invalid, error))
}

/// The exported signing key in this file, or else in the environment.
pub fn read_key(path: Option<&Path>) -> Result<OfflineKeyFile, Failure> {
    let content = match (path, variable(KEY_VARIABLE)) {
        (Some(path), _) => read(path, "the signing key", MAX_KEY_FILE)?,
        (None, Some(key)) => key,
        (None, None) => {
            return Err(Failure::usage(format_args!(
                "there is no signing key: give --key-file FILE or set {KEY_VARIABLE}"
            )));
        }
    };
    let key = std::str::from_utf8(&content)
        .map_err(|_| KeyFileError::NotAKey)
        .and_then(OfflineKeyFile::parse);
    key.map_err(|error| Failure::new(Exit::Invalid, error))
}

/// The NodeDB secret in this file.
pub fn read_nodedb_secret(path: &Path) -> Result<SigningKey, Failure> {
    let content = read(path, "the NodeDB secret", 64)?;
    SigningKey::parse_nodedb(&content).map_err(|error| Failure::new(Exit::Invalid, error))
}

/// A new file for a secret, which its owner alone can read. It is made before the secret is, with room for any of its kind, so
/// that no secret is made that cannot be kept; unless something is written to it, it goes away again.
pub struct NewFile<'a> {
    file: File,
    path: &'a Path,
    what: &'static str,
    is_written: bool,
}

impl<'a> NewFile<'a> {
    /// Makes the file, full of nothing, unless there is one.
    pub fn create(path: &'a Path, what: &'static str) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => Failure::usage(format_args!(
                    "{} exists already: remove it first, or give another name",
                    path.display()
                )),
                ErrorKind::NotFound => cannot_write(Exit::Usage, path, what, &error),
                _ => cannot_write(Exit::Failed, path, what, &error),
            })?;
        let mut new = Self {
            file,
            path,
            what,
            is_written: false,
        };
        let reserved = (new.file.write_all(&ROOM)).and_then(|()| new.file.sync_all());
        reserved.map_err(|error| cannot_write(Exit::Failed, path, what, &error))?;
        Ok(new)
    }

    /// Writes the secret, as a line, and syncs it.
    pub fn write(mut self, content: &str) -> Result<(), Failure> {
        let written = self.put(content);
        // Half a secret is of no use to anybody.
        self.is_written = written.is_ok();
        written.map_err(|error| cannot_write(Exit::Failed, self.path, self.what, &error))
    }
}

impl NewFile<'_> {
    fn put(&mut self, content: &str) -> io::Result<()> {
        self.file.rewind()?;
        writeln!(self.file, "{content}")?;
        let end = self.file.stream_position()?;
        self.file.set_len(end)?;
        self.file.sync_all()
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

fn cannot_write(exit: Exit, path: &Path, what: &str, error: &io::Error) -> Failure {
    let why = file_trouble(error, path);
    let path = path.display();
    Failure::new(exit, format_args!("cannot write {what} to {path}: {why}"))
}

/// Whether this looks like a token, a signing key or a NodeDB secret.
fn is_secret(text: &OsStr) -> bool {
    let text = text.to_string_lossy();
    redact(&text).starts_with("(a ") || is_hexadecimal(&text)
}

/// Whether this is as long as a token or a secret of NodeDB.
pub fn is_hexadecimal(text: &str) -> bool {
    matches!(text.len(), 64 | 96) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether this path stands for standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads at most `limit` bytes and the white space around them. More is cut off, which the
/// parsers see as too long: no file is too big to be refused.
fn read(path: &Path, what: &str, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let limit = limit + AROUND;
    // With room to spare: growing would leave a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(limit + AROUND));
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    let result = if is_stdin(path) {
        io::stdin().lock().take(most).read_to_end(&mut content)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut content))
    };
    match result {
        Ok(_) => Ok(content),
        // What it is helps more than that there is no such file.
        Err(_) if is_secret(path.as_os_str()) => Err(Failure::usage(format_args!(
            "this takes the name of a file for {what}, and what was given looks like the secret itself: put that into a file which its owner alone can read, and give the name of the file"
        ))),
        Err(error) if is_stdin(path) => Err(Failure::usage(format_args!(
            "cannot read {what} from standard input: {}",
            file_words(&error)
        ))),
        Err(error) => Err(Failure::usage(format_args!(
            "cannot read {what} from {}: {}",
            path.display(),
            file_trouble(&error, path)
        ))),
    }
}

/// A variable of the environment; an empty one is none.
fn variable(name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let value = std::env::var_os(name)?.into_encoded_bytes();
    (!value.is_empty()).then(|| Zeroizing::new(value))
}

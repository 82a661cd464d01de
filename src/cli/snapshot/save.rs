//! `jointoken store snapshot save`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::part_file::PartFile;
use crate::cli::admin::{Replica, failure};
use crate::cli::exit::{EXIT_CODES, Exit, Failure};
use crate::cli::output::Output;

/// Saves a snapshot of a running replica's store to a file
///
/// Asks the replica whose admin socket this is, so it runs where the replica runs. The snapshot holds the whole state as of
/// one entry of the log, and whatever was acknowledged before is in it. It holds no key: keep a backup of the keys beside
/// it, since neither is of use without the other. The file gets its name when it is whole and synced.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store snapshot save --admin-socket /var/lib/jointoken/admin.sock --out jointoken.snapshot

{EXIT_CODES}"))]
pub struct Args {
    #[command(flatten)]
    replica: Replica,
    /// The file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replaces the file if there is one
    #[arg(long)]
    force: bool,
}

/// What was saved.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Saved<'a> {
    file: &'a Path,
    store_id: String,
    epoch: u64,
    index: u64,
    bytes: u64,
    sha256: String,
}

impl fmt::Display for Saved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "saved the store {} (epoch {}, up to entry {}) to {}, {} bytes, sha256 {}\nit holds no key: keep a backup of the keys beside it",
            self.store_id,
            self.epoch,
            self.index,
            self.file.display(),
            self.bytes,
            self.sha256
        )
    }
}

/// Saves it.
pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let out = &args.out;
    let exists = || {
        Failure::usage(format_args!(
            "{} exists already: give another name, or --force to replace it",
            out.display()
        ))
    };
    if !args.force && out.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let cannot_write = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        kind => {
            let exit = match kind {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Exit::Usage,
                _ => Exit::Failed,
            };
            Failure::new(
                exit,
                format_args!("cannot write the snapshot to {}: {error}", out.display()),
            )
        }
    };
    let mut file = PartFile::create(out).map_err(cannot_write)?;
    let bytes = (args.replica.client().snapshot(&mut file).await).map_err(failure)?;
    file.sync().map_err(cannot_write)?;
    // A snapshot that cannot be read is of no use to anybody, and found out too late.
    let (backup, sha256) = super::read(file.path()).map_err(|broken| {
        let message = format_args!("what the replica sent is not whole: {}", broken.message);
        Failure::new(Exit::TryAgain, message)
    })?;
    file.put(args.force).map_err(cannot_write)?;
    output.print(&Saved {
        file: out,
        store_id: backup.founded().store_id.to_string(),
        epoch: backup.founded().epoch,
        index: backup.index(),
        bytes,
        sha256,
    })
}

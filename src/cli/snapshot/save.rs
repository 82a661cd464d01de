//! `jointoken store snapshot save`.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::part_file::PartFile;
use crate::cli::admin::{Replica, failure};
use crate::cli::exit::{EXIT_CODES, Exit, Failure};
use crate::cli::output::{self, Output};
use crate::net::file_words;
use crate::store::{Backup, file_trouble};

/// Saves a snapshot of a running replica's store to a file
///
/// Asks the replica whose admin socket this is, so it runs where the replica runs. The snapshot holds the whole state as of
/// one entry of the log, and whatever was acknowledged before is in it. It holds no key: keep a backup of the keys beside
/// it, since neither is of use without the other. The file gets its name when it is whole and synced.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store snapshot save --admin-socket /var/lib/jointoken/admin.sock --out jointoken.snapshot
  kubectl exec -n jointoken-system jointoken-0 -- jointoken store snapshot save --out - > jointoken.snapshot

{EXIT_CODES}"))]
pub struct Args {
    #[command(flatten)]
    replica: Replica,
    /// The file, readable by its owner alone; - for standard output
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
    #[serde(serialize_with = "output::path")]
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
    if args.out == Path::new("-") {
        to_stdout(&args.replica).await
    } else {
        to_file(&args, output).await
    }
}

/// Whole or not at all, as far as that goes on a pipe.
async fn to_stdout(replica: &Replica) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        return Err(Failure::usage(
            "a snapshot is no text: give a file, or send it where it is to be kept",
        ));
    }
    let mut bytes = Vec::new();
    (replica.client().snapshot(&mut bytes).await).map_err(failure)?;
    Backup::decode(&bytes).map_err(broken)?;
    stdout
        .write_all(&bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            let why = file_words(&error);
            let message = format_args!("cannot write to standard output: {why}");
            Failure::new(Exit::Failed, message)
        })
}

async fn to_file(args: &Args, output: Output) -> Result<(), Failure> {
    let out = &args.out;
    if !args.force && out.symlink_metadata().is_ok() {
        return Err(exists(out));
    }
    let cannot_write = |error| cannot_write(out, &error);
    let mut file = PartFile::create(out).map_err(cannot_write)?;
    let bytes = (args.replica.client().snapshot(&mut file).await).map_err(failure)?;
    file.sync().map_err(cannot_write)?;
    // A snapshot that cannot be read is of no use to anybody, and found out too late.
    let (backup, sha256) = super::read(file.path()).map_err(|failure| broken(failure.message))?;
    file.put(args.force).map_err(cannot_write)?;
    output.report(&Saved {
        file: out,
        store_id: backup.founded().store_id.to_string(),
        epoch: backup.founded().epoch,
        index: backup.index(),
        bytes,
        sha256,
    });
    Ok(())
}

fn broken(error: impl fmt::Display) -> Failure {
    let message = format_args!("what the replica sent is not whole: {error}");
    Failure::new(Exit::TryAgain, message)
}

fn exists(out: &Path) -> Failure {
    Failure::usage(format_args!(
        "{} exists already: give another name, or --force to replace it",
        out.display()
    ))
}

fn cannot_write(out: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::AlreadyExists => return exists(out),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Exit::Usage,
        _ => Exit::Failed,
    };
    let why = file_trouble(error, out);
    let message = format_args!("cannot write the snapshot to {}: {why}", out.display());
    Failure::new(exit, message)
}

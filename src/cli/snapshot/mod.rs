//! `jointoken store snapshot`.

mod clock;
mod contents;
mod inspect;
mod part_file;
pub(super) mod recover;
mod restore;
mod save;

use std::path::Path;

use clap::Subcommand;
use data_encoding::HEXLOWER;

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::store::{Backup, file_trouble};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Save(save::Args),
    Inspect(inspect::Args),
    Restore(restore::Args),
}

/// Runs the subcommand.
pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Save(args) => save::run(args, output).await,
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Restore(args) => restore::run(args, output).await,
    }
}

/// The snapshot in a file, and the file's SHA-256 as it says itself.
fn read(path: &Path) -> Result<(Backup, String), Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::usage(format_args!(
            "cannot read the snapshot {}: {}",
            path.display(),
            file_trouble(&error, path)
        ))
    })?;
    let backup = Backup::decode(&bytes).map_err(|error| {
        Failure::new(Exit::Invalid, format_args!("{}: {error}", path.display()))
    })?;
    let checksum = checksum(&bytes);
    Ok((backup, checksum))
}

/// The SHA-256 at the end of a snapshot's bytes.
fn checksum(bytes: &[u8]) -> String {
    let checksum = bytes.last_chunk::<32>().map_or(&[][..], |last| last);
    HEXLOWER.encode(checksum)
}

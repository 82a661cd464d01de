//! `jointoken store snapshot inspect`.

use std::path::PathBuf;

use super::contents::Contents;
use crate::cli::exit::{EXIT_CODES, Failure};
use crate::cli::output::Output;

/// Says what a snapshot is and holds, and whether it is whole
///
/// Reads all of the file and checks it as `restore` does: format, checksum, and that what is in it fits together.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store snapshot inspect jointoken.snapshot
  jointoken store snapshot inspect jointoken.snapshot --output json

{EXIT_CODES}"))]
pub struct Args {
    /// The snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints it.
pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let (backup, sha256) = super::read(&args.file)?;
    output.print(&Contents::of(&backup, sha256))
}

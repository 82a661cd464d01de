//! `jointoken version`.

use std::fmt;

use serde::Serialize;

use super::exit::Failure;
use super::output::Output;

/// Prints the version, and the token formats that it reads
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    token_formats: [&'static str; 2],
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "jointoken {}", self.version)?;
        write!(f, "token formats: {}", self.token_formats.join(", "))
    }
}

/// Prints it.
pub async fn run(_: Args, output: Output) -> Result<(), Failure> {
    output.print(&Version {
        version: env!("CARGO_PKG_VERSION"),
        token_formats: ["jt1", "nodedb"],
    })
}

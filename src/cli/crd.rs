//! `jointoken crd`.

use super::exit::{Exit, Failure};
use super::output::{self, Output};
use crate::api;

/// Prints the CustomResourceDefinition of JoinToken
///
/// It is the one that this release's operator expects: install or upgrade it first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  jointoken crd | kubectl apply --server-side -f -
  jointoken crd --output json")]
pub struct Args {}

/// Prints it as YAML, or as JSON.
pub async fn run(_: Args, output: Output) -> Result<(), Failure> {
    match output {
        Output::Text => output::print(&api::crd_yaml()),
        Output::Json => {
            let json = serde_json::to_string_pretty(&api::crd())
                .map_err(|error| Failure::new(Exit::Failed, error))?;
            output::print(&json)
        }
    }
}

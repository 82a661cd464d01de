//! `jointoken openapi`.

use super::exit::Failure;
use super::output::{self, Output};
use crate::bootstrap;

/// Prints the OpenAPI document of the door, which the door serves itself at /openapi.json
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it, which is JSON in any case.
pub async fn run(_: Args, _: Output) -> Result<(), Failure> {
    output::print(bootstrap::openapi_json())
}

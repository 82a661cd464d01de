//! `jointoken key`.

use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::admin::{Replica, failure};
use super::duration::HumanDuration;
use super::exit::{EXIT_CODES, Failure};
use super::input;
use super::output::{self, Output};
use crate::admin::{ExportKeyRequest, KeysResponse};
use crate::token::NodePattern;

/// Exports signing keys for minting without a server, and lists those that the store knows
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(ExportArgs),
    List(ListArgs),
}

/// Shows the signing keys that the store knows, never the keys themselves
///
/// Tokens of these keys are accepted, as far as their limits go, unless a key was retired by a restore. There is no way yet to take one key back: should one
/// leak, its tokens can be aborted one by one (`jointoken token abort`), and whoever has it can mint more until the
/// store is founded anew.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken key list --admin-socket /var/lib/jointoken/admin.sock
  jointoken key list --output json

{EXIT_CODES}"))]
struct ListArgs {
    #[command(flatten)]
    replica: Replica,
}

/// The keys, one a line.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed(KeysResponse);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<18}{:<10}{:<12}NODE NAMES",
            "KEY", "PURPOSE", "MAX TTL"
        )?;
        for key in &self.0.keys {
            let max_ttl = key.max_ttl_seconds.map_or_else(
                || "-".to_owned(),
                |s| HumanDuration::from_seconds(s).to_string(),
            );
            let pattern = key.node_pattern.as_deref().unwrap_or("-");
            let retired = if key.retired { " (retired)" } else { "" };
            write!(
                f,
                "\n{:<18}{:<10}{max_ttl:<12}{pattern}{retired}",
                key.key_id, key.purpose
            )?;
        }
        Ok(())
    }
}

/// Makes a new offline signing key, for `jointoken create`
///
/// Asks the replica whose admin socket this is, so it runs where the replica runs (in its pod:
/// `kubectl exec -n jointoken-system jointoken-0 -- jointoken key export …`). Whoever has the key can mint tokens for every node name
/// that the pattern allows, each living at most as long as --max-ttl; the door enforces both,
/// whatever the token says. Each export is a key of its own.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken key export --admin-socket /var/lib/jointoken/admin.sock --pattern 'edge-*' --max-ttl 1d --out edge.key

{EXIT_CODES}"))]
struct ExportArgs {
    #[command(flatten)]
    replica: Replica,
    /// Node names that the key may mint for: * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    pattern: NodePattern,
    /// The longest that a token of this key may live: 15m, 1h, 7d
    #[arg(long, value_name = "TIME")]
    max_ttl: HumanDuration,
    /// New file for the key, readable by its owner alone [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was exported. The key itself is in it only when it goes to standard output.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exported<'a> {
    key_id: &'a str,
    pattern: &'a str,
    max_ttl_seconds: u64,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "output::maybe_path"
    )]
    key_file: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl fmt::Display for Exported<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "offline key {} for node names {}, tokens of at most {} s; whoever has it can mint",
            self.key_id, self.pattern, self.max_ttl_seconds
        )
    }
}

/// Runs the subcommand.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Export(args) => export(args, output).await,
        Command::List(args) => list(args, output).await,
    }
}

async fn list(args: ListArgs, output: Output) -> Result<(), Failure> {
    let keys = args.replica.client().keys().await.map_err(failure)?;
    output.print(&Listed(keys))
}

async fn export(args: ExportArgs, output: Output) -> Result<(), Failure> {
    if args.max_ttl.as_seconds() == 0 {
        return Err(Failure::usage(
            "--max-ttl is zero: such a key could not mint anything",
        ));
    }
    // First, with the room that it takes: a key that cannot be kept is not asked for, since each takes a place in the store for good.
    let file = match &args.out {
        Some(path) => Some(input::NewFile::create(path, "the signing key")?),
        None => None,
    };
    let request = ExportKeyRequest {
        node_pattern: args.pattern.to_string(),
        max_ttl_seconds: args.max_ttl.as_seconds(),
    };
    let answer = args
        .replica
        .client()
        .export_key(&request)
        .await
        .map_err(failure)?;
    let exported = Exported {
        key_id: &answer.key_id,
        pattern: &request.node_pattern,
        max_ttl_seconds: request.max_ttl_seconds,
        key_file: args.out.as_ref(),
        key: args.out.is_none().then_some(answer.key_file.as_str()),
    };
    let lost = |failure| lost(&answer.key_id, failure);
    match (file, output) {
        (Some(file), _) => {
            file.write(&answer.key_file).map_err(lost)?;
            output.report(&exported);
            Ok(())
        }
        (None, Output::Json) => output::print_whole(&output.render(&exported)?).map_err(lost),
        (None, Output::Text) => {
            output::print_whole(&answer.key_file).map_err(lost)?;
            output::note(&exported);
            Ok(())
        }
    }
}

/// The store knows a key that could not be handed over.
fn lost(key_id: &str, failure: Failure) -> Failure {
    Failure::new(
        failure.exit,
        format_args!(
            "{}; the store knows this key by now, as {key_id}, and nobody has it whole: it mints nothing, export another",
            failure.message
        ),
    )
}

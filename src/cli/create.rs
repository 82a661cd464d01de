//! `jointoken create`.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::duration::HumanDuration;
use super::exit::{EXIT_CODES, Exit, Failure};
use super::output::{self, Output};
use super::{input, time};
use crate::clock::{Clock, SystemClock};
use crate::token::{
    ClaimError, JoinTokenString, MintError, OfflineKeyFile, OfflineMintError, Presented, TokenId,
    is_door_url, is_node_name,
};

/// An hour.
const DEFAULT_TTL_MS: u64 = 3_600_000;

/// Makes a token without a server, from an exported signing key
///
/// The key says for which store, node names and lengths of time it may mint; what is outside is
/// refused here, before a token is made, and by the store, whatever is written into the key. The store learns of the token when it
/// is first used: keep what this prints if you may want to revoke it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken create --key-file edge.key --node edge-7 --out edge-7.token
  jointoken create --key-file edge.key --node edge-7 --ttl 15m | ssh edge-7 'jointoken join --out /etc/member'

{EXIT_CODES}"))]
pub struct Args {
    /// File that holds the exported signing key, - for standard input [default: the
    /// environment's JOINTOKEN_KEY]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Name of the node that the token admits, a DNS label
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    node: String,
    /// How long the token is valid from now on: 90s, 15m, 1h, 7d [default: 1h, or as long as the
    /// key allows if that is less]
    #[arg(long, value_name = "TIME")]
    ttl: Option<HumanDuration>,
    /// URL of the door, https://host:port; up to four, in the order to try [default: those in
    /// the key]
    #[arg(long = "url", value_name = "URL", value_parser = url)]
    urls: Vec<String>,
    /// New file for the token, readable by its owner alone [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn node_name(text: &str) -> Result<String, ClaimError> {
    is_node_name(text)
        .then(|| text.to_owned())
        .ok_or(ClaimError::NodeName)
}

fn url(text: &str) -> Result<String, ClaimError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    is_door_url(text)
        .then(|| text.to_owned())
        .ok_or(ClaimError::Url)
}

/// What was made. The token itself is in it only when it goes to standard output.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    token_id: String,
    node: &'a str,
    key_id: String,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl fmt::Display for Created<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires_at = self.expires_at.as_deref().unwrap_or("an unknown time");
        write!(
            f,
            "token {} for node {}, by key {}, expires at {expires_at}",
            self.token_id, self.node, self.key_id
        )
    }
}

/// Mints the token and writes it.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut key = input::read_key(args.key_file.as_deref())?;
    if !args.urls.is_empty() {
        key.delivery.urls.clone_from(&args.urls);
    }
    let file = match &args.out {
        Some(path) => Some(input::NewFile::create(path, "the token")?),
        None => None,
    };
    let token = mint(&key, &args)?;
    // Parsed back, so that what is said of the token is what the token says.
    let minted =
        Presented::parse(token.expose()).map_err(|error| Failure::new(Exit::Failed, error))?;
    let created = Created {
        token_id: minted.unverified_token_id().to_string(),
        node: &args.node,
        key_id: key.key().id().to_string(),
        expires_at: time::rfc3339(minted.unverified_expires_at_ms()),
        token_file: args.out.as_ref(),
        token: args.out.is_none().then_some(token.expose()),
    };
    match (file, output) {
        (Some(file), _) => {
            file.write(token.expose())?;
            output.print(&created)
        }
        (None, Output::Json) => output.print(&created),
        (None, Output::Text) => {
            output::print(token.expose())?;
            output::note(&created);
            Ok(())
        }
    }
}

fn mint(key: &OfflineKeyFile, args: &Args) -> Result<JoinTokenString, Failure> {
    let token_id = TokenId::random().map_err(|error| Failure::new(Exit::Failed, error))?;
    let now_ms = SystemClock.now_ms();
    let ttl_ms = match args.ttl {
        Some(ttl) => ttl.as_ms(),
        None => DEFAULT_TTL_MS.min(key.policy.max_ttl_ms),
    };
    let minted = key.mint(token_id, &args.node, now_ms, ttl_ms);
    minted.map_err(|error| {
        let exit = match &error {
            OfflineMintError::Policy(_) => Exit::Refused,
            OfflineMintError::Mint(
                MintError::Claim(_) | MintError::TooLong { .. } | MintError::WrongKey,
            ) => Exit::Usage,
        };
        Failure::new(exit, error)
    })
}

//! `jointoken create`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::duration::HumanDuration;
use super::exit::{EXIT_CODES, Exit, Failure};
use super::output::{self, Output};
use super::{input, time};
use crate::clock::{Clock, SystemClock};
use crate::token::{
    ClaimError, DoorUrlFault, JoinTokenString, MintError, OfflineKeyFile, OfflineMintError,
    Presented, TokenId, door_url_fault, is_node_name,
};

/// An hour.
const DEFAULT_TTL_MS: u64 = 3_600_000;
/// 1 January 2026, before there was a release: no clock that is right says less.
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// By so much clocks may differ, as at the door.
const MAX_APART_MS: u64 = 5 * 60 * 1000;

/// Makes a token without a server, from an exported signing key
///
/// The key says for which store, node names and lengths of time it may mint; what is outside is
/// refused here, before a token is made, and by the store, whatever is written into the key. The store learns of the token when it
/// is first used: keep what this prints if you may want to revoke it.
///
/// The token is valid from this machine's time on. A clock that says a time before 2026, or before
/// the key's file was written, is wrong, and no token is made by it.
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

fn url(text: &str) -> Result<String, DoorUrlFault> {
    let text = text.strip_suffix('/').unwrap_or(text);
    door_url_fault(text).map_or_else(|| Ok(text.to_owned()), Err)
}

/// What was made. The token itself is in it only when it goes to standard output.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    token_id: String,
    node: &'a str,
    key_id: String,
    expires_at: Option<String>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "output::maybe_path"
    )]
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
    let now_ms = SystemClock.now_ms();
    if let Some(wrong) = clock_fault(now_ms, args.key_file.as_deref().and_then(written_ms)) {
        return Err(Failure::new(Exit::TryAgain, wrong));
    }
    if !args.urls.is_empty() {
        key.delivery.urls.clone_from(&args.urls);
    }
    let file = match &args.out {
        Some(path) => Some(input::NewFile::create(path, "the token")?),
        None => None,
    };
    let token = mint(&key, &args, now_ms)?;
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
            output.report(&created);
            Ok(())
        }
        // The token is in it: nobody has it who cannot read this.
        (None, Output::Json) => output::print_whole(&output.render(&created)?),
        (None, Output::Text) => {
            output::print_whole(token.expose())?;
            output::note(&created);
            Ok(())
        }
    }
}

/// When this file was written, if it is one.
fn written_ms(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Why a token that is made at this time would be dead when the machine's clock is set.
fn clock_fault(now_ms: u64, key_written_ms: Option<u64>) -> Option<String> {
    let shown = |at_ms| time::rfc3339(at_ms / 1000 * 1000).unwrap_or_default();
    let end = "a token made now would have expired when the clock is right. Set the clock, then try again";
    if now_ms < EARLIEST_MS {
        return Some(format!(
            "this machine's clock says {}, which is long past: {end}",
            shown(now_ms)
        ));
    }
    let written_ms = key_written_ms?;
    (written_ms > now_ms.saturating_add(MAX_APART_MS)).then(|| {
        format!(
            "this machine's clock says {}, and the key's file was written at {}: {end} (or `touch` the file, if its date is what is wrong)",
            shown(now_ms),
            shown(written_ms)
        )
    })
}

fn mint(key: &OfflineKeyFile, args: &Args, now_ms: u64) -> Result<JoinTokenString, Failure> {
    let token_id = TokenId::random().map_err(|error| Failure::new(Exit::Failed, error))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_mints_nothing() {
        const NOW: u64 = 1_790_000_000_000;
        for (now_ms, written_ms) in [
            (NOW, None),
            (NOW, Some(0)),
            (NOW, Some(NOW)),
            (NOW, Some(NOW + MAX_APART_MS)),
            (EARLIEST_MS, None),
        ] {
            assert_eq!(clock_fault(now_ms, written_ms), None, "{now_ms}");
        }
        let fault = clock_fault(8_500, None).unwrap();
        assert!(fault.contains("clock says 1970-01-01T00:00:08Z"), "{fault}");
        let fault = clock_fault(NOW, Some(NOW + MAX_APART_MS + 1)).unwrap();
        assert!(
            fault.contains("says 2026-09-21T14:13:20Z") && fault.contains("2026-09-21T14:18:20Z"),
            "{fault}"
        );
    }
}

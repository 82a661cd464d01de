//! `jointoken inspect`.

use std::fmt;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::exit::{EXIT_CODES, Exit, Failure};
use super::input::{self, TokenInput};
use super::output::Output;
use super::time;
use crate::clock::{Clock, SystemClock};
use crate::token::{Audience, KeyRing, Presented, Purpose, Timing, VerifyError};

/// Says what a token says, and whether a key made it; never shows the token
///
/// Without a key, what is printed is what the token claims: anybody can write that. With the
/// exported signing key or the NodeDB secret that made the token it is verified as the door would,
/// except that only the store knows whether the token was used or revoked. Tokens of JoinToken
/// resources are verified by their store alone: its keys are not exported.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken inspect --token-file edge-7.token
  kubectl get secret edge-7-join-token -o jsonpath='{{.data.token}}' | base64 -d | jointoken inspect
  jointoken inspect --token-file edge-7.token --key-file edge.key --output json

{EXIT_CODES}"))]
pub struct Args {
    #[command(flatten)]
    token: TokenInput,
    /// File that holds the exported signing key to verify with, - for standard input
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File that holds the NodeDB secret to verify with (32 bytes, raw or hexadecimal), - for
    /// standard input; may be given more than once
    #[arg(long = "nodedb-secret-file", value_name = "FILE")]
    nodedb_secret_files: Vec<PathBuf>,
}

/// What a token says. Fields are kept from release to release.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    format: &'static str,
    purpose: &'static str,
    token_id: String,
    node: String,
    issued_at: Option<String>,
    expires_at: Option<String>,
    timing: &'static str,
    audience: Option<String>,
    key_id: Option<String>,
    urls: Vec<String>,
    door_pin: Option<String>,
    /// Nothing if there was no key to verify with.
    verified: Option<bool>,
    /// How the expiry lies to now; for people alone.
    #[serde(skip)]
    expires: String,
    #[serde(skip)]
    verdict: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<10}{value}");
        line("format", &format!("{}, {}", self.format, self.purpose))?;
        line("token id", &self.token_id)?;
        line("node", &self.node)?;
        if let Some(issued_at) = &self.issued_at {
            line("issued", issued_at)?;
        }
        line("expires", &self.expires)?;
        if let Some(audience) = &self.audience {
            line("store", audience)?;
        }
        if let Some(key_id) = &self.key_id {
            line("key", key_id)?;
        }
        for url in &self.urls {
            line("door", url)?;
        }
        if let Some(pin) = &self.door_pin {
            line("door pin", pin)?;
        }
        line("verified", &self.verdict)
    }
}

/// Prints what the token says, then fails if it does not verify or if its time is over.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let now_ms = SystemClock.now_ms();
    let readers = args.nodedb_secret_files.iter().chain(&args.key_file);
    let stdin = readers.filter(|path| input::is_stdin(path)).count();
    if stdin + usize::from(args.token.is_stdin()) > 1 {
        return Err(Failure::usage(
            "standard input holds one thing: give a file for the token or for the key",
        ));
    }
    let token = args.token.read()?;
    let verified = verify(&args, &token, now_ms)?;
    let timing = Timing::at(
        now_ms,
        token.unverified_issued_at_ms(),
        token.unverified_expires_at_ms(),
    );
    let verdict = match &verified {
        Some(Ok(())) => "yes, by the key given".to_owned(),
        Some(Err(unverified)) => format!("no: {}", unverified.message),
        None if token.unverified_purpose() == Purpose::Resource => {
            "not here: its store alone can, when it is used".to_owned()
        }
        None => "not yet: give the key that made it".to_owned(),
    };
    output.print(&report(&token, timing, now_ms, verified.as_ref(), verdict))?;
    if let Some(Err(unverified)) = verified {
        return Err(unverified);
    }
    match timing {
        Timing::Live => Ok(()),
        Timing::Expired => Err(Failure::new(Exit::Expired, "the token has expired")),
        Timing::IssuedInFuture => Err(Failure::new(
            Exit::TryAgain,
            format_args!(
                "the token is issued more than 5 minutes in the future: this machine's clock says {}. Check it, and the one of the token's issuer",
                time::rfc3339(now_ms / 1000 * 1000).unwrap_or_default()
            ),
        )),
    }
}

/// Verifies by the keys given: nothing if there is none.
fn verify(
    args: &Args,
    token: &Presented,
    now_ms: u64,
) -> Result<Option<Result<(), Failure>>, Failure> {
    let mut ring = KeyRing::new();
    // A NodeDB token says no audience: any will do.
    let mut audience = Audience([0; 8]);
    let mut keys_of_its_kind = 0;
    if let Some(path) = &args.key_file {
        let file = input::read_key(Some(path))?;
        audience = file.audience;
        keys_of_its_kind += usize::from(matches!(token, Presented::Jt1(_)));
        ring.insert_offline(file.key().clone(), file.policy.clone())
            .map_err(Failure::usage)?;
    }
    for path in &args.nodedb_secret_files {
        keys_of_its_kind += usize::from(matches!(token, Presented::NodeDb(_)));
        ring.insert(input::read_nodedb_secret(path)?)
            .map_err(Failure::usage)?;
    }
    if ring.keys().next().is_none() {
        return Ok(None);
    }
    if keys_of_its_kind == 0 {
        let needed = match token {
            Presented::Jt1(_) => "--key-file with the exported signing key",
            Presented::NodeDb(_) => "--nodedb-secret-file",
        };
        return Ok(Some(Err(Failure::new(
            Exit::Invalid,
            format_args!("the key given is for tokens of another kind: this one needs {needed}"),
        ))));
    }
    let verified = ring.verify(token, audience, now_ms);
    Ok(Some(verified.map(|_| ()).map_err(|error| failure(&error))))
}

fn report(
    token: &Presented,
    timing: Timing,
    now_ms: u64,
    verified: Option<&Result<(), Failure>>,
    verdict: String,
) -> Report {
    let expires_at_ms = token.unverified_expires_at_ms();
    let expires_at = time::rfc3339(expires_at_ms);
    let expires = match &expires_at {
        Some(at) => format!("{at} ({})", time::distance(expires_at_ms, now_ms)),
        None => "after the year 9999".to_owned(),
    };
    let delivery = token.unverified_delivery();
    Report {
        format: match token {
            Presented::Jt1(_) => "jt1",
            Presented::NodeDb(_) => "nodedb",
        },
        purpose: token.unverified_purpose().as_str(),
        token_id: token.unverified_token_id().to_string(),
        node: token.unverified_node_name(),
        issued_at: token.unverified_issued_at_ms().and_then(time::rfc3339),
        expires_at,
        timing: match timing {
            Timing::Live => "live",
            Timing::Expired => "expired",
            Timing::IssuedInFuture => "issuedInFuture",
        },
        audience: token
            .unverified_audience()
            .map(|audience| audience.to_string()),
        key_id: token.unverified_key_id().map(|id| id.to_string()),
        urls: delivery
            .map(|delivery| delivery.urls.clone())
            .unwrap_or_default(),
        door_pin: delivery.map(|delivery| HEXLOWER.encode(&delivery.door_pin)),
        verified: verified.map(Result::is_ok),
        expires,
        verdict,
    }
}

fn failure(error: &VerifyError) -> Failure {
    let exit = match error {
        VerifyError::Invalid | VerifyError::OtherStore | VerifyError::WrongPurpose => Exit::Invalid,
        VerifyError::Policy(_) => Exit::Refused,
    };
    match error {
        VerifyError::Invalid => Failure::new(
            exit,
            "the token does not verify: the key given did not make it",
        ),
        error => Failure::new(exit, error),
    }
}

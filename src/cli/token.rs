//! `jointoken token`.

use std::fmt;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use super::admin::{Replica, failure};
use super::exit::{EXIT_CODES, Exit, Failure};
use super::input;
use super::output::Output;
use crate::admin::{
    EndRequest, EndResponse, Ended, ForgetRequest, TokenView, TokensQuery, TokensResponse,
};
use crate::token::{KeyId, Presented, TokenId};

/// Looks at the tokens that a running replica knows, and ends them by hand
///
/// A token is named by its id, which is no secret: `jointoken inspect`, the JoinToken's status, the log and
/// the machine's certificate have it. For tokens of JoinTokens prefer the resource: `spec.revoked`, or deleting it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Abort(EndArgs),
    Revoke(RevokeArgs),
    Forget(ForgetArgs),
}

/// Shows the tokens that the store knows, in order of their ids
///
/// Tokens minted offline are known once they were used or ended. What has ended is forgotten after a while.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken token list --phase Issued --namespace default
  jointoken token list --limit 1000 --output json

{EXIT_CODES}"))]
struct ListArgs {
    #[command(flatten)]
    replica: Replica,
    /// Only tokens in this phase
    #[arg(long, value_enum, ignore_case = true)]
    phase: Option<PhaseArg>,
    /// Only tokens of JoinTokens in this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only tokens of JoinTokens of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only tokens for this machine; of those minted offline, those that it has claimed or was admitted by
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only tokens by this signing key
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only those after this token: the next page
    #[arg(long, value_name = "TOKEN ID")]
    after: Option<TokenId>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum PhaseArg {
    Issued,
    InFlight,
    Consumed,
    Expired,
    Aborted,
}

/// Shows all that the store knows of a token
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken token show db684fa8c97a5f7ca5afa6541e68412d

{EXIT_CODES}"))]
struct ShowArgs {
    #[command(flatten)]
    replica: Replica,
    /// The token's id
    #[arg(value_name = "TOKEN ID")]
    token_id: TokenId,
}

/// Ends a token before it is used
///
/// Also one that the store has never seen, such as one minted offline: it is marked, and will admit nobody. A token
/// that was used already is left as it is, and the command ends with code 5: revoke it to bar the machine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken token abort db684fa8c97a5f7ca5afa6541e68412d
  jointoken token abort --token-file edge-7.token

{EXIT_CODES}"))]
struct EndArgs {
    #[command(flatten)]
    replica: Replica,
    /// The token's id
    #[arg(
        value_name = "TOKEN ID",
        required_unless_present = "token_file",
        conflicts_with = "token_file"
    )]
    token_id: Option<TokenId>,
    /// File that holds the token itself, - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// When the token expires by itself (RFC 3339); only for NodeDB's tokens that the store has not seen
    #[arg(long, value_name = "TIME", conflicts_with = "token_file")]
    expires_at: Option<Timestamp>,
}

/// Ends a token, or bars the machine that it admitted
///
/// A token that was not used ends, as with `abort`. If a machine was admitted by it, the machine gets no further
/// certificate; the one that it has goes on being valid until it expires.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken token revoke db684fa8c97a5f7ca5afa6541e68412d

{EXIT_CODES}"))]
struct RevokeArgs {
    #[command(flatten)]
    which: EndArgs,
}

/// Has the store forget what became of a JoinToken
///
/// The store remembers each name, so that applying an old manifest again admits nobody a second time. After this, applying it
/// issues a new token for the same revision. Delete the resource first; a token that may still be used is refused.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken token forget --namespace default --name edge-7

{EXIT_CODES}"))]
struct ForgetArgs {
    #[command(flatten)]
    replica: Replica,
    /// The JoinToken's namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: String,
    /// The JoinToken's name
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// Runs the subcommand.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::List(args) => list(args, output).await,
        Command::Show(args) => {
            let token = args.replica.client().token(args.token_id).await;
            output.print(&Shown(token.map_err(failure)?))
        }
        Command::Abort(args) => end(args, false, output).await,
        Command::Revoke(args) => end(args.which, true, output).await,
        Command::Forget(args) => forget(args, output).await,
    }
}

async fn list(args: ListArgs, output: Output) -> Result<(), Failure> {
    let query = TokensQuery {
        phase: args.phase.map(|phase| format!("{phase:?}")),
        namespace: args.namespace,
        name: args.name,
        node: args.node,
        key: args.key.map(|id| id.to_string()),
        after: args.after.map(|id| id.to_string()),
        limit: args.limit.into(),
    };
    let tokens = args.replica.client().tokens(&query).await;
    output.print(&Listed(tokens.map_err(failure)?))
}

async fn end(args: EndArgs, is_revocation: bool, output: Output) -> Result<(), Failure> {
    let (token_id, request) = match (args.token_id, &args.token_file) {
        (Some(token_id), _) => {
            let expires_at = args.expires_at.map(|at| u64::try_from(at.as_millisecond()));
            let expires_at_ms = expires_at.transpose().map_err(|_| {
                Failure::usage("--expires-at lies before 1970: give the token's own expiry")
            })?;
            let request = EndRequest {
                is_ours: false,
                expires_at_ms,
            };
            (token_id, request)
        }
        (None, Some(file)) => {
            let token = input::read_token(file)?;
            let request = EndRequest {
                is_ours: matches!(token, Presented::Jt1(_)),
                expires_at_ms: Some(token.unverified_expires_at_ms()),
            };
            (token.unverified_token_id(), request)
        }
        (None, None) => return Err(Failure::usage("give the token's id, or --token-file")),
    };
    let client = args.replica.client();
    let answer = match is_revocation {
        true => client.revoke(token_id, &request).await,
        false => client.abort(token_id, &request).await,
    };
    let answer = answer.map_err(failure)?;
    if answer.ended == Ended::AlreadyConsumed {
        return Err(Failure::new(
            Exit::Used,
            "the token was used already, and the machine is in: `jointoken token revoke` gives it no further certificate",
        ));
    }
    output.report(&EndedToken {
        token_id: token_id.to_string(),
        answer,
    });
    Ok(())
}

async fn forget(args: ForgetArgs, output: Output) -> Result<(), Failure> {
    let request = ForgetRequest {
        namespace: args.namespace,
        name: args.name,
    };
    args.replica
        .client()
        .forget(&request)
        .await
        .map_err(failure)?;
    output.report(&Forgotten(request));
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(TokensResponse);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<34}{:<10}{:<22}{:<16} JOINTOKEN OR KEY",
            "TOKEN ID", "PHASE", "EXPIRES", "NODE"
        )?;
        for token in &self.0.tokens {
            write!(
                f,
                "\n{:<34}{:<10}{:<22}{:<16} {}",
                token.token_id,
                token.phase,
                to_the_second(token.expires_at.as_deref()),
                token.node.as_deref().unwrap_or("-"),
                origin(token)
            )?;
        }
        match &self.0.next {
            Some(next) => write!(f, "\nthere are more: --after {next}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(TokenView);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = &self.0;
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<12}{value}");
        line("token id", &token.token_id)?;
        match &token.aborted {
            Some(reason) => line("phase", &format!("{} ({reason})", token.phase))?,
            None => line("phase", &token.phase)?,
        }
        line("of", &origin(token))?;
        if let Some(node) = &token.node {
            line("node", node)?;
        }
        line("issued", token.issued_at.as_deref().unwrap_or("unknown"))?;
        line("expires", token.expires_at.as_deref().unwrap_or("never"))?;
        if let Some(ended_at) = &token.ended_at {
            line("ended", ended_at)?;
        }
        line("attempts", &token.attempts.to_string())?;
        if let Some(claim) = &token.claim {
            let until = claim.until.as_deref().unwrap_or("unknown");
            line(
                "claimed",
                &format!("by key {} until {until}", claim.public_key_sha256),
            )?;
        }
        if let Some(member) = &token.member {
            line("member", &format!("key {}", member.public_key_sha256))?;
            line("from", member.address.as_deref().unwrap_or("unknown"))?;
            if let Some(reason) = &member.barred {
                line("barred", reason)?;
            }
        }
        let contested = match token.contested {
            true => "yes: another key presented it after its use",
            false => "no",
        };
        write!(f, "{:<12}{contested}", "contested")
    }
}

/// Whose token it is.
fn origin(token: &TokenView) -> String {
    match (&token.namespace, &token.name, token.revision, &token.key_id) {
        (Some(namespace), Some(name), Some(revision), _) => match token.reissue {
            Some(reissue) if reissue > 0 => {
                format!("{namespace}/{name} revision {revision}, reissue {reissue}")
            }
            _ => format!("{namespace}/{name} revision {revision}"),
        },
        (_, _, _, Some(key)) => {
            format!(
                "{} key {key}",
                token.purpose.as_deref().unwrap_or("unknown")
            )
        }
        _ => "ended before it was seen".into(),
    }
}

/// A time without its fraction, for a table.
fn to_the_second(time: Option<&str>) -> String {
    let Some(time) = time else {
        return "unknown".into();
    };
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndedToken {
    token_id: String,
    #[serde(flatten)]
    answer: EndResponse,
}

impl fmt::Display for EndedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token_id = &self.token_id;
        let phase = self.answer.token.as_ref().map(|token| &*token.phase);
        match (self.answer.ended, phase) {
            (Ended::Barred, _) => write!(
                f,
                "the machine that joined by {token_id} gets no further certificate"
            ),
            (Ended::Tombstone, _) => write!(
                f,
                "{token_id} was not known to the store; it will admit nobody"
            ),
            (_, Some("Expired")) => write!(f, "{token_id} had expired already; it admits nobody"),
            _ => write!(f, "{token_id} admits nobody"),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Forgotten(ForgetRequest);

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ForgetRequest { namespace, name } = &self.0;
        write!(
            f,
            "{namespace}/{name} is forgotten: delete the resource if it is still there; applied after that, it has a new token issued"
        )
    }
}

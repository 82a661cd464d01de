//! `jointoken store`.

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::admin::{Replica, failure};
use super::exit::{EXIT_CODES, Failure};
use super::found;
use super::members;
use super::output::Output;
use super::snapshot;
use super::upgrade;
use crate::admin::AcceptClockResponse;

/// Looks after the store: its replicas, its clock, snapshots for backups, upgrades, and what to do when it is lost
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The clock that the store goes by
    Clock {
        #[command(subcommand)]
        command: ClockCommand,
    },
    Members(members::Args),
    Upgrade(upgrade::Args),
    /// Snapshots of the store: saves, inspects, restores them
    Snapshot {
        #[command(subcommand)]
        command: snapshot::Command,
    },
    Recover(snapshot::recover::Args),
    Found(found::Args),
}

#[derive(Debug, Subcommand)]
enum ClockCommand {
    Accept(AcceptArgs),
}

/// Has the replica follow its machine's clock, however far it stepped
///
/// A running replica does not follow a step of more than 30 seconds ahead until the kernel says that the clock is
/// synchronised and a minute has passed: a wrong clock would expire every token, and time never runs backwards
/// in the store. Until then it says so in its log and carries on the time from before. Check the clock, then run this.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  jointoken store clock accept --admin-socket /var/lib/jointoken/admin.sock

{EXIT_CODES}"))]
struct AcceptArgs {
    #[command(flatten)]
    replica: Replica,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Accepted(AcceptClockResponse);

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.step_seconds {
            Some(seconds) => write!(f, "the clock is followed again; it was {seconds} s ahead")?,
            None => f.write_str("the clock is followed already")?,
        }
        match self.0.store_ahead_seconds {
            Some(seconds) => write!(
                f,
                "; the store's is {seconds} s ahead of it: nothing is registered or claimed until time has caught up. `jointoken store recover --reset-clock` sets it back"
            ),
            None => Ok(()),
        }
    }
}

/// Runs the subcommand.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Clock {
            command: ClockCommand::Accept(args),
        } => accept_clock(args, output).await,
        Command::Members(args) => members::run(args, output).await,
        Command::Upgrade(args) => upgrade::run(args, output).await,
        Command::Snapshot { command } => snapshot::run(command, output).await,
        Command::Found(args) => found::run(args, output).await,
        Command::Recover(args) => snapshot::recover::run(args, output).await,
    }
}

async fn accept_clock(args: AcceptArgs, output: Output) -> Result<(), Failure> {
    let accepted = args.replica.client().accept_clock().await;
    output.report(&Accepted(accepted.map_err(failure)?));
    Ok(())
}

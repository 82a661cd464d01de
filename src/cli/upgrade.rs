//! `jointoken store upgrade`.

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::admin::{Replica, failure};
use super::exit::{EXIT_CODES, Failure};
use super::output::Output;
use crate::admin::RulesResponse;

/// Shows which rules the store goes by, or puts later ones in force
///
/// Replicas of two releases go by the rules that both know. When every replica runs the later release and that is to stay so, finalize:
/// from then on no replica can go back to the release before. After a day it happens by itself.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    replica: Replica,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts the latest rules in force that every replica knows; there is no way back
    Finalize {
        #[command(flatten)]
        replica: Replica,
    },
}

/// Runs the subcommand.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        None => {
            let rules = args.replica.client().rules().await;
            output.print(&Shown(rules.map_err(failure)?))
        }
        Some(Command::Finalize { replica }) => {
            let rules = replica.client().finalize_upgrade().await;
            output.report(&Shown(rules.map_err(failure)?));
            Ok(())
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(RulesResponse);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RulesResponse {
            in_force,
            known_to_all,
            unheard,
        } = &self.0;
        write!(f, "rules {in_force} are in force, ")?;
        match (known_to_all > in_force, unheard.is_empty()) {
            (false, true) => f.write_str("and not every replica knows later ones"),
            (true, true) => write!(
                f,
                "and every replica knows rules {known_to_all}: `jointoken store upgrade finalize` puts them in force"
            ),
            (_, false) => write!(f, "and nothing is heard of {}", unheard.join(", ")),
        }
    }
}

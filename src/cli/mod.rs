//! The commands: arguments and wiring, no rules of their own.
//!
//! One file a command. Each has `pub struct Args` (derived by clap; its first doc line is what
//! `--help` says) and `pub async fn run(args: Args, output: Output) -> Result<(), Failure>`, and
//! gets one line in [`Command`] and one in [`Command::run`]. A command prints its result by
//! [`Output::print`] and returns a [`Failure`], whose line is printed here and whose [`Exit`] is
//! the exit code. Tokens and secrets are read by [`input`], never from the command line.

mod admin;
mod config;
mod confirm;
mod crd;
mod create;
pub mod duration;
mod exit;
mod finalizers;
mod found;
mod group;
mod input;
mod inspect;
mod join;
mod key;
mod kubeconfig;
mod kubernetes;
mod logging;
mod members;
mod openapi;
mod operator;
mod output;
mod patience;
mod ports;
mod proxy;
mod readable;
mod serve;
mod server;
mod snapshot;
mod statuses;
mod stop;
mod store;
mod time;
mod token;
mod upgrade;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{EXIT_CODES, Exit, Failure};
use output::Output;

use crate::telemetry::{logs, redact};

/// Lets new machines into a clustered system, each exactly once.
///
/// A token admits one key, once. The operator mints tokens for JoinToken resources and keeps
/// their state in a replicated store; a machine that holds a token joins with it and receives a
/// certificate for the key that it made itself.
///
/// Tokens and secrets are read from a file, standard input or the environment, never from the
/// command line, and are never printed by a command that was not asked to make them.
#[derive(Parser)]
#[command(name = "jointoken", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// Form of what is printed
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        default_value_t,
        display_order = 100
    )]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// In the order of `--help`.
#[derive(Subcommand)]
enum Command {
    Operator(Box<operator::Args>),
    Serve(serve::Args),
    Key(key::Args),
    Token(token::Args),
    Store(store::Args),
    Create(create::Args),
    Inspect(inspect::Args),
    Join(join::Args),
    Crd(crd::Args),
    Finalizers(finalizers::Args),
    /// For whoever generates the documentation.
    #[command(hide = true)]
    Openapi(openapi::Args),
    Version(version::Args),
}

impl Command {
    async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Operator(args) => operator::run(*args, output).await,
            Self::Serve(args) => serve::run(args, output).await,
            Self::Key(args) => key::run(args, output).await,
            Self::Token(args) => token::run(args, output).await,
            Self::Store(args) => store::run(args, output).await,
            Self::Create(args) => create::run(args, output).await,
            Self::Inspect(args) => inspect::run(args, output).await,
            Self::Join(args) => join::run(args, output).await,
            Self::Crd(args) => crd::run(args, output).await,
            Self::Finalizers(args) => finalizers::run(args, output).await,
            Self::Openapi(args) => openapi::run(args, output).await,
            Self::Version(args) => version::run(args, output).await,
        }
    }
}

impl Command {
    /// Runs it, and ends it when the process is told to stop. The kernel does that for every process but the
    /// first of a container, which gets only the signals that it listens for.
    async fn run_to_its_end(self, output: Output) -> Result<(), Failure> {
        // Servers stop in order, whichever process they are.
        let is_server = matches!(self, Self::Operator(_) | Self::Serve(_));
        if is_server || std::process::id() != 1 {
            return self.run(output).await;
        }
        tokio::select! {
            // It listens before anything is begun: a signal that comes sooner would be lost.
            biased;
            told = stop::told() => Err(match told {
                Ok(signal) => Failure::new(Exit::Failed, format_args!("{signal}: stopped before it was done")),
                Err(error) => Failure::new(Exit::Failed, error),
            }),
            ended = self.run(output) => ended,
        }
    }
}

/// Runs the command that the process was started with. Wrong arguments end it with code 2.
pub fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| refuse(error));
    let output = arguments.output;
    // What a panic says is not repeated unseen either; a log says it in its own way.
    std::panic::set_hook(Box::new(|panic| output::note(panic)));
    // Also when it panics.
    let _until_written = logs::UntilWritten;
    let result = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot start threads: {error}")))
        .and_then(|runtime| {
            let result = runtime.block_on(arguments.command.run_to_its_end(output));
            // Nothing is waited for that a command has not waited for itself.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.print_failure(&failure);
            failure.exit.into()
        }
    }
}

/// Says what is wrong with the arguments, or prints the help that was asked for. What looks like a
/// secret is not repeated.
fn refuse(error: clap::Error) -> ! {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    // Help, which is an error to clap, is for people alone.
    let is_json = error.use_stderr()
        && (arguments.iter().any(|argument| argument == "--output=json")
            || arguments
                .windows(2)
                .any(|pair| pair == ["--output", "json"]));
    let said = error.render().to_string();
    let clean = without_hexadecimal(&redact(&said), &arguments);
    if !error.use_stderr() || (clean == said && !is_json) {
        // With its colours.
        error.exit();
    }
    if is_json {
        let message = clean.trim().trim_start_matches("error: ");
        Output::Json.print_failure(&Failure::usage(message));
        std::process::exit(error.exit_code());
    }
    output::note(&clean.trim_end());
    std::process::exit(error.exit_code())
}

/// What clap says without the arguments that may be NodeDB's tokens and secrets. Elsewhere such digits are pins and digests.
fn without_hexadecimal(said: &str, arguments: &[String]) -> String {
    let values = arguments.iter().map(|argument| {
        let value = argument.split_once('=').map(|(_, value)| value);
        value.unwrap_or(argument)
    });
    values
        .filter(|value| input::is_hexadecimal(value))
        .fold(said.to_owned(), |said, secret| {
            said.replace(secret, "(a secret)")
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// clap checks the consistency of arguments only when a command is run.
    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}

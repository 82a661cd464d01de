//! Where servers log, and how.

use clap::ValueEnum;

use super::exit::{Exit, Failure};
use crate::telemetry::logs::{self, LogsError};

/// The flags of the log.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// What is logged: a level, or target=level pairs
    // What libraries log of their own is written for their authors; what it means here is logged as ours.
    #[arg(
        long,
        value_name = "FILTER",
        env = "JOINTOKEN_LOG",
        default_value = "info,openraft=off,kube=off",
        display_order = 90
    )]
    log: String,
    /// Form of the log, on standard error
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Format::Text, display_order = 91)]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl LogArgs {
    /// Says why the server failed in the form of its log: programs that read it expect nothing else.
    pub fn say(&self, failure: Failure) -> Failure {
        if self.log_format == Format::Json {
            logs::last_words(|| {
                tracing::error!(exit_code = failure.exit as u8, "{}", failure.message);
            });
            return Failure {
                is_said: true,
                ..failure
            };
        }
        failure
    }

    /// Starts the log of this process.
    pub fn init(&self) -> Result<(), Failure> {
        let format = match self.log_format {
            Format::Text => logs::Format::Text,
            Format::Json => logs::Format::Json,
        };
        logs::init(format, &self.log).map_err(|error| match error {
            LogsError::Thread(_) => Failure::new(Exit::Failed, error),
            _ => Failure::usage(error),
        })
    }
}

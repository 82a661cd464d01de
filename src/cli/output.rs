//! What commands print: for people, or for programs.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::exit::{Exit, Failure};

/// The form of what is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object; its fields are kept from release to release. Errors too, on standard error.
    Json,
}

impl Output {
    /// Prints a command's result to standard output.
    pub fn print<R: Display + Serialize>(self, result: &R) -> Result<(), Failure> {
        let text = match self {
            Self::Text => result.to_string(),
            Self::Json => serde_json::to_string_pretty(result)
                .map_err(|error| Failure::new(Exit::Failed, error))?,
        };
        print(&text)
    }

    /// Says on standard error why it takes longer.
    pub fn print_progress(self, line: &str) {
        let line = match self {
            Self::Text => line.to_owned(),
            Self::Json => serde_json::json!({ "waiting": line }).to_string(),
        };
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Prints a failure to standard error.
    pub fn print_failure(self, failure: &Failure) {
        if failure.is_said {
            return;
        }
        let line = match self {
            Self::Text => format!("error: {}", failure.message),
            Self::Json => {
                serde_json::json!({ "error": failure.message, "exitCode": failure.exit as u8 })
                    .to_string()
            }
        };
        note(&line);
    }
}

/// Says something to people, on standard error.
pub fn note(line: &impl Display) {
    // There is no place left to say that this failed.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints text that is the result itself, such as a manifest or a token.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    match written {
        // The reader has seen enough, as `head` has.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format_args!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

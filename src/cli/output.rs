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
        print(&self.render(result)?)
    }

    /// A command's result in this form.
    pub fn render<R: Display + Serialize>(self, result: &R) -> Result<String, Failure> {
        match self {
            Self::Text => Ok(result.to_string()),
            Self::Json => serde_json::to_string_pretty(result)
                .map_err(|error| Failure::new(Exit::Failed, error)),
        }
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
    match write_out(text) {
        // The reader has seen enough, as `head` has.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(not_written),
    }
}

/// Prints what must not be lost: a reader that has gone is a failure, too.
pub fn print_whole(text: &str) -> Result<(), Failure> {
    write_out(text).map_err(not_written)
}

fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(stdout, "{text}{end}")?;
    stdout.flush()
}

fn not_written(error: io::Error) -> Failure {
    let message = format_args!("cannot write to standard output: {error}");
    Failure::new(Exit::Failed, message)
}

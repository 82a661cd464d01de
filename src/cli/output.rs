//! What commands print: for people, or for programs.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Serialize, Serializer};

use super::exit::{Exit, Failure};
use crate::net::file_words;
use crate::telemetry::{logs, redact};

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
    /// Prints what a command found to standard output. See [`Output::report`] for what it did.
    pub fn print<R: Display + Serialize>(self, result: &R) -> Result<(), Failure> {
        print(&self.render(result)?)
    }

    /// Tells on standard output what was done and cannot be taken back. That it could not be told is a warning: whoever ran the
    /// command must not take it for a failure and do it again.
    pub fn report<R: Display + Serialize>(self, done: &R) {
        if let Err(failure) = self.print(done) {
            self.warn(&format!("it is done, but {}", failure.message));
        }
    }

    /// Says on standard error what the user should know, though the command goes on.
    pub fn warn(self, line: &str) {
        let line = match self {
            Self::Text => format!("warning: {line}"),
            Self::Json => serde_json::json!({ "warning": line }).to_string(),
        };
        note(&line);
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
        note(&line);
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

/// A path in JSON, where it must be text: of bytes that are none � is shown.
pub fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// A path that may be absent, in JSON like [`path`].
pub fn maybe_path<S: Serializer, P: AsRef<Path>>(
    path: &Option<P>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => self::path(path.as_ref(), serializer),
        None => serializer.serialize_none(),
    }
}

/// Says something to people, on standard error. What is secret is not repeated, whoever said it.
pub fn note(line: &impl Display) {
    let line = format!("{line}\n");
    if !logs::say(&line) {
        // There is no place left to say that this failed.
        let _ = io::stderr().write_all(redact(&line).as_bytes());
    }
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
    let message = format_args!("cannot write to standard output: {}", file_words(&error));
    Failure::new(Exit::Failed, message)
}

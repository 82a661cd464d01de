//! Asks before something is done that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::exit::{Exit, Failure};
use super::output::note;

/// Says what is about to be done, and asks for it.
///
/// # Errors
/// When the answer is not yes, or there is nobody to ask: `unasked` says what `--yes` would stand for.
pub fn confirm(meaning: &str, question: &str, unasked: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format_args!(
            "{unasked}: give --yes if that is what you want, there is no terminal to ask on"
        )));
    }
    note(&meaning);
    note(&format_args!("{question} Type yes to go on:"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "not done: nothing was changed"))
    }
}

//! A story: commands that a user would type, really run, with what each of them has to show.

use std::ffi::OsString;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{Interrupt, Pipe, run_reading};

/// One command and what it has to show.
pub struct Step {
    /// Why the user does this, in a sentence.
    pub why: &'static str,
    /// A line for the shell, run as it is shown.
    pub command: String,
    exit_code: i32,
    shows: Vec<String>,
}

impl Step {
    /// A command that has to succeed.
    pub fn new(why: &'static str, command: impl Into<String>) -> Self {
        Step {
            why,
            command: command.into(),
            exit_code: 0,
            shows: Vec::new(),
        }
    }

    /// It has to end with this exit code.
    pub fn exits(mut self, code: i32) -> Self {
        self.exit_code = code;
        self
    }

    /// Its output has to contain this.
    pub fn shows(mut self, text: impl Into<String>) -> Self {
        self.shows.push(text.into());
        self
    }

    /// What is wrong with a result, if anything.
    fn complaint(&self, exit_code: Option<i32>, output: &str) -> Option<String> {
        if exit_code != Some(self.exit_code) {
            let got = exit_code.map_or("a signal".to_string(), |code| format!("exit code {code}"));
            return Some(format!(
                "it ended with {got}, expected was exit code {}",
                self.exit_code
            ));
        }
        let missing = self
            .shows
            .iter()
            .find(|text| !output.contains(text.as_str()))?;
        Some(format!("its output lacks {missing:?}"))
    }
}

/// Where the commands run.
pub struct Stage {
    /// Working directory.
    pub folder: PathBuf,
    pub environment: Vec<(&'static str, OsString)>,
}

impl Stage {
    /// Runs the steps one after the other, showing each; ends at the first that does not show what it should.
    pub fn play(&self, steps: &[Step], interrupt: &Interrupt) -> Result<()> {
        for (number, step) in steps.iter().enumerate() {
            self.run(step, interrupt)
                .with_context(|| format!("step {} of {}", number + 1, steps.len()))?;
        }
        Ok(())
    }

    fn run(&self, step: &Step, interrupt: &Interrupt) -> Result<()> {
        let (bold, dim, plain) = if stdout().is_terminal() {
            ("\x1b[1m", "\x1b[2m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        println!("\n{dim}# {}{plain}", step.why);
        println!("{bold}$ {}{plain}", step.command);
        let started = Instant::now();
        let mut shell = Command::new("sh");
        // one stream, so that errors stand where they belong
        shell.arg("-c").arg(format!("exec 2>&1\n{}", step.command));
        shell
            .current_dir(&self.folder)
            .envs(self.environment.iter().map(|(k, v)| (k, v)));
        let mut output = String::new();
        let status = run_reading(shell, &[Pipe::Stdout], interrupt, |_, line| {
            println!("{line}");
            output += line;
            output.push('\n');
        })?;
        if step.exit_code != 0 && status.code() == Some(step.exit_code) {
            println!("{dim}# exit code {}{plain}", step.exit_code);
        }
        if started.elapsed().as_secs() >= 2 {
            println!("{dim}# {:.0} s{plain}", started.elapsed().as_secs_f64());
        }
        match step.complaint(status.code(), &output) {
            Some(complaint) => bail!("`{}`: {complaint}", step.command),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(steps: &[Step]) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage {
            folder: folder.path().to_path_buf(),
            environment: vec![("NAME", "world".into())],
        };
        stage.play(steps, &Interrupt::never())
    }

    #[test]
    fn steps_share_their_folder_and_environment() {
        play(&[
            Step::new("write", "echo hello $NAME > file"),
            Step::new("read", "cat file; exit 5")
                .exits(5)
                .shows("hello")
                .shows("world"),
            Step::new("errors count as output", "echo oops >&2").shows("oops"),
        ])
        .unwrap();
    }

    #[test]
    fn a_step_that_shows_something_else_ends_the_story_and_says_what_is_wrong() {
        let error = |step| {
            format!(
                "{:#}",
                play(&[Step::new("fine", "true"), step]).unwrap_err()
            )
        };
        assert_eq!(
            error(Step::new("it fails", "exit 3")),
            "step 2 of 2: `exit 3`: it ended with exit code 3, expected was exit code 0"
        );
        assert_eq!(
            error(Step::new("it should be refused", "true").exits(5)),
            "step 2 of 2: `true`: it ended with exit code 0, expected was exit code 5"
        );
        assert_eq!(
            error(Step::new("it is silent", "echo a").shows("b")),
            "step 2 of 2: `echo a`: its output lacks \"b\""
        );
        assert_eq!(
            error(Step::new("it is killed", "kill -9 $$")),
            "step 2 of 2: `kill -9 $$`: it ended with a signal, expected was exit code 0"
        );
    }
}

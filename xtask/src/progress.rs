//! Step lines with times, on standard error, so that standard output stays what a command prints.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often a step that goes on says so where lines can't be rewritten (a CI log).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the line of a step is rewritten on a terminal.
const REDRAW: Duration = Duration::from_millis(200);

/// The clock of one command.
#[derive(Clone, Copy)]
pub struct Progress {
    started: Instant,
    terminal: bool,
}

/// One thing that takes a while. Ends with [`Step::done`]; dropped before, it leaves its line as it is.
pub struct Step {
    progress: Progress,
    what: String,
    started: Instant,
    shown: Instant,
}

impl Progress {
    pub fn new() -> Self {
        let terminal = stderr().is_terminal() && std::env::var_os("CI").is_none();
        Progress {
            started: Instant::now(),
            terminal,
        }
    }

    /// A line with the seconds since the command began.
    pub fn line(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        // a closed standard error is no reason to stop
        let _ = writeln!(stderr(), "{}{seconds:7.1}s  {text}", self.clear());
    }

    /// Says what begins now.
    pub fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let step = Step {
            progress: *self,
            what,
            started: Instant::now(),
            shown: Instant::now(),
        };
        step.show("…");
        step
    }

    fn clear(&self) -> &'static str {
        if self.terminal { "\r\x1b[2K" } else { "" }
    }
}

impl Step {
    /// Shows how far it is: often on a terminal, now and then in a log.
    pub fn update(&mut self, detail: &str) {
        let every = if self.progress.terminal {
            REDRAW
        } else {
            HEARTBEAT
        };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            let seconds = self.started.elapsed().as_secs();
            self.show(&format!("… {detail} ({seconds} s)"));
        }
    }

    /// Says that it is done, with what came of it and how long it took.
    pub fn done(self, note: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let text = format!("{}: {note} ({seconds:.1} s)", self.what);
        self.progress.line(&text);
    }

    fn show(&self, tail: &str) {
        if self.progress.terminal {
            let seconds = self.progress.started.elapsed().as_secs_f64();
            let _ = write!(stderr(), "\r\x1b[2K{seconds:7.1}s  {} {tail}", self.what);
            let _ = stderr().flush();
        } else {
            self.progress.line(&format!("{} {tail}", self.what));
        }
    }
}

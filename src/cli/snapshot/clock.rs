//! Setting a store's clock back while it is restored.

use crate::cli::exit::Failure;
use crate::cli::time;
use crate::clock::{Clock as _, SystemClock};
use crate::store::Backup;

/// So far ahead of its leader's a store's clock may be, and still issue.
const TOLERATED_MS: u64 = 5 * 60 * 1000;

/// Whether the clock is set back.
#[derive(Debug, clap::Args)]
pub(super) struct ClockArgs {
    /// Sets the store's clock, which is ahead by over five minutes, back to this machine's: check that first
    #[arg(long)]
    reset_clock: bool,
}

impl ClockArgs {
    /// What the clock is set to.
    ///
    /// # Errors
    /// When there is nothing to be set back.
    pub fn to_ms(&self, backup: &Backup) -> Result<Option<u64>, Failure> {
        if !self.reset_clock {
            return Ok(None);
        }
        let (store_ms, machine_ms) = (backup.state().now_ms(), SystemClock.now_ms());
        if store_ms <= machine_ms.saturating_add(TOLERATED_MS) {
            return Err(Failure::usage(format_args!(
                "the store's clock, {}, is not five minutes ahead of this machine's, {}: leave out --reset-clock",
                said(store_ms),
                said(machine_ms)
            )));
        }
        Ok(Some(machine_ms))
    }
}

/// What that comes to, for people.
pub(super) fn meaning(backup: &Backup, to_ms: u64) -> String {
    let doubt = match SystemClock.is_synchronised() {
        true => "",
        false => " NOTHING KEEPS THIS MACHINE'S CLOCK RIGHT, SAYS ITS KERNEL.",
    };
    format!(
        "The store's clock is set back from {} to this machine's, {}.{doubt}",
        said(backup.state().now_ms()),
        said(to_ms)
    )
}

fn said(at_ms: u64) -> String {
    time::rfc3339(at_ms).unwrap_or_else(|| format!("{at_ms} ms"))
}

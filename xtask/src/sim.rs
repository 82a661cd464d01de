//! `cargo xtask sim`: many groups of replicas, each in one thread and from one seed.

use std::process::{ExitCode, ExitStatus};

use anyhow::Result;

use crate::process::{self, Interrupt};
use crate::test::exit_code;
use crate::workspace;

/// So many groups in one process: each leaves some two megabytes behind, in what refers to each other.
const IN_ONE_PROCESS: u64 = 2_000;

/// Lives `seeds` groups from `first_seed` on. The test itself says how many it was a minute, and how a seed that failed
/// is seen again.
pub fn run(seeds: u64, first_seed: u64, interrupt: &Interrupt) -> Result<ExitCode> {
    workspace::need_c_compiler()?;
    let end = first_seed.saturating_add(seeds);
    let mut from = first_seed;
    while from < end {
        let some = IN_ONE_PROCESS.min(end - from);
        let status = live(some, from, interrupt)?;
        if !status.success() {
            return Ok(exit_code(status));
        }
        from += some;
    }
    Ok(ExitCode::SUCCESS)
}

fn live(seeds: u64, first_seed: u64, interrupt: &Interrupt) -> Result<ExitStatus> {
    let mut test = workspace::cargo();
    test.args(["test", "--package", "jointoken", "--test", "store"])
        // fast, and with the judges that no release has
        .args(["--profile", "sim"])
        .args(["group_sim::every", "--", "--nocapture"])
        .env_remove("JOINTOKEN_SEED")
        .env("JOINTOKEN_SEEDS", seeds.to_string())
        .env("JOINTOKEN_FIRST_SEED", first_seed.to_string());
    process::run(test, interrupt)
}

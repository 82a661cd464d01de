//! `cargo xtask bench`: the measurements.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::cluster::{Binaries, Tool};
use crate::process::{self, Interrupt};
use crate::progress::Progress;
use crate::test::exit_code;
use crate::workspace;

/// Runs `cargo bench` on the product, with etcd as the peer of `benches/joins`.
pub fn run(args: &[OsString], progress: &Progress, interrupt: &Interrupt) -> Result<ExitCode> {
    let binaries = Binaries::ensure(&[Tool::Etcd], progress, interrupt)?;
    let mut bench = workspace::cargo();
    bench.args(["bench", "--package", "jointoken"]);
    // Beside one that is named cargo would run all the others, too.
    if !args.iter().any(|arg| arg == "--bench") {
        bench.arg("--benches");
    }
    bench
        .args(args)
        .env("JOINTOKEN_BENCH_ETCD", binaries.path(Tool::Etcd)?);
    Ok(exit_code(process::run(bench, interrupt)?))
}

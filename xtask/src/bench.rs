//! `cargo xtask bench`: the measurements.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::process::{self, Interrupt};
use crate::test::exit_code;
use crate::workspace;

/// Runs `cargo bench` on the product.
pub fn run(args: &[OsString], interrupt: &Interrupt) -> Result<ExitCode> {
    let mut bench = workspace::cargo();
    bench
        .args(["bench", "--package", "jointoken", "--benches"])
        .args(args);
    Ok(exit_code(process::run(bench, interrupt)?))
}

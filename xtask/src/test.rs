//! `cargo xtask test`: every test there is, on one cluster.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Result;

use crate::cluster::{Binaries, Cluster, Tool};
use crate::process::{self, Interrupt, Pipe, run_reading};
use crate::progress::Progress;
use crate::summary::Summary;
use crate::workspace;

/// Runs the tests with `args` and ends as cargo ended.
pub fn run(args: &[OsString], progress: &Progress, interrupt: &Interrupt) -> Result<ExitCode> {
    workspace::need_c_compiler()?;
    let binaries = Binaries::ensure(&Tool::ALL, progress, interrupt)?;
    // compiled before the servers start: an error shows at once, and they don't compete for the machine
    let earlier = match wants_groups(args) {
        true => Some(build_earlier_release(interrupt)?),
        false => None,
    };
    let compiled = process::run(cargo_test(&["--no-run"], args), interrupt)?;
    if !compiled.success() {
        return Ok(exit_code(compiled));
    }
    progress.line("tests compiled");
    let cluster = Cluster::start(binaries, progress, interrupt)?;
    cluster.install_crds(progress)?;
    let mut test = cargo_test(&[], args);
    for (name, value) in environment(&cluster)? {
        test.env(name, value);
    }
    if let Some(program) = earlier {
        test.env("JOINTOKEN_TEST_EARLIER_RELEASE", program);
    }
    let mut summary = Summary::default();
    let status = run_reading(test, &[Pipe::Stdout], interrupt, |_, line| {
        println!("{line}");
        summary.add(line);
    })?;
    drop(cluster);
    println!();
    if summary.unfinished > 0 {
        println!(
            "{} test programs ended without a summary; their tests are not counted",
            summary.unfinished
        );
    }
    if !status.success() && summary.failed == 0 {
        println!(
            "cargo test failed ({status}) without a failed test: see above for what could not run"
        );
    }
    println!("{summary}");
    Ok(exit_code(status))
}

fn cargo_test(options: &[&str], args: &[OsString]) -> Command {
    let mut test = workspace::cargo();
    // all test programs run, also after a failure: one run shows everything that is broken
    test.args(["test", "--no-fail-fast"]);
    // cargo would prefer the whole workspace to a package that is named
    if !args.iter().any(|arg| arg == "-p" || arg == "--package") {
        test.arg("--workspace");
    }
    test.args(options).args(args);
    test
}

/// Whether the tests of groups are among those that are asked for: all are, or `--test group` is.
fn wants_groups(args: &[OsString]) -> bool {
    let names = |name: &str| args.iter().any(|arg| arg == name);
    !names("--test") && !names("--lib") && !names("-p") && !names("--package") || names("group")
}

/// This commit once more, without what came with the second rules of the lifecycle: the earlier release in a group of two.
fn build_earlier_release(interrupt: &Interrupt) -> Result<PathBuf> {
    let features = ["--features", "jointoken/first-rules"];
    let built = workspace::build_product_with(&features, interrupt)?;
    // The next build puts the ordinary one in its place.
    let kept = built.with_file_name("jointoken-first-rules");
    fs::copy(&built, &kept)?;
    Ok(kept)
}

/// What tests find the cluster by; `tests/cluster/README.md` documents it.
fn environment(cluster: &Cluster) -> Result<Vec<(&'static str, OsString)>> {
    let binaries = cluster.binaries();
    Ok(vec![
        // also for a kubectl or Helm that a test starts without saying more
        ("KUBECONFIG", cluster.kubeconfig().into()),
        ("JOINTOKEN_TEST_KUBECONFIG", cluster.kubeconfig().into()),
        (
            "JOINTOKEN_TEST_KUBECTL",
            binaries.path(Tool::Kubectl)?.into(),
        ),
        ("JOINTOKEN_TEST_HELM", binaries.path(Tool::Helm)?.into()),
    ])
}

/// Cargo's exit code; one that a signal ended has none.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

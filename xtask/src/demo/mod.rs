//! `cargo xtask demo`: what a user sees, played on a real Kubernetes API.

mod operator;
mod steps;
mod story;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use self::operator::{Arguments, Operator};
use self::story::{Stage, Step};
use crate::cluster::{Binaries, Cluster, Tool};
use crate::process::{Interrupt, Interrupted};
use crate::progress::Progress;
use crate::workspace;

const NAMESPACE: &str = "demo";

/// Plays the story; without `once` stays up afterwards until the user interrupts.
pub fn run(once: bool, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let binaries = Binaries::ensure(&Tool::CLUSTER, progress, interrupt)?;
    progress.line("jointoken: compiling");
    let product = workspace::build_product(interrupt)?;
    let mut cluster = Cluster::start(binaries, progress, interrupt)?;
    cluster.install_crds(progress)?;
    let stage = set_stage(&cluster, &product)?;
    let arguments = Arguments::new(NAMESPACE)?;
    let begin = [
        Step::new(
            "A namespace to play in",
            format!("kubectl create namespace {NAMESPACE}"),
        ),
        Step::new(
            "for all commands below",
            format!("kubectl config set-context --current --namespace {NAMESPACE}"),
        ),
    ];
    stage.play(&begin, interrupt)?;
    println!(
        "\n# The operator, with its store and its door in the same process\n$ {} &",
        arguments.shown()
    );
    let mut operator = Operator::start(
        &product,
        &stage.folder,
        cluster.kubeconfig(),
        &arguments,
        interrupt,
    )?;

    let chapters = steps::chapters(&first_token()?, has_openssl(progress));
    let started = Instant::now();
    let told = chapters.iter().try_for_each(|(title, steps)| {
        println!("\n== {title}");
        stage
            .play(steps, interrupt)
            .with_context(|| format!("chapter {title:?}"))
    });
    let told = told.map_err(|error| operator.explain(error));
    match &told {
        Ok(()) => {
            println!();
            let count: usize = chapters.iter().map(|(_, steps)| steps.len()).sum();
            let seconds = started.elapsed().as_secs();
            progress.line(&format!(
                "{count} steps, each showed what it should ({seconds} s)"
            ));
        }
        Err(error) if once || error.is::<Interrupted>() => return told,
        // goes on, so that one can look why
        Err(error) => eprintln!("\nerror: {error:#}"),
    }
    if !once {
        stay_up(&mut cluster, &mut operator, &stage, progress, interrupt)?;
    }
    operator.stop()?;
    drop(cluster);
    progress.line("stopped; nothing is left behind");
    told
}

/// A folder in the cluster's own for the commands to run in. `kubectl` and `jointoken` are ours, whatever the PATH has.
fn set_stage(cluster: &Cluster, product: &Path) -> Result<Stage> {
    let folder = cluster.folder().join("demo");
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    symlink(
        cluster.binaries().path(Tool::Kubectl)?,
        programs.join("kubectl"),
    )?;
    symlink(product, programs.join("jointoken"))?;
    symlink(workspace::root().join("deploy"), folder.join("deploy"))?;
    fs::write(folder.join("more.yaml"), include_str!("more.yaml"))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)))?;
    let environment = vec![("PATH", path), ("KUBECONFIG", cluster.kubeconfig().into())];
    Ok(Stage {
        folder,
        environment,
    })
}

/// The name of the JoinToken in the sample.
fn first_token() -> Result<String> {
    let path = workspace::root().join("deploy/samples/jointoken.yaml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let name = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("name:"));
    Ok(name
        .context("deploy/samples/jointoken.yaml names no resource")?
        .trim()
        .to_string())
}

/// Nearly every machine has it; one that has not still plays the rest.
fn has_openssl(progress: &Progress) -> bool {
    let found = std::process::Command::new("openssl")
        .arg("version")
        .output()
        .is_ok();
    if !found {
        progress.line("openssl is not installed: the story leaves out `openssl verify`");
    }
    found
}

/// Tells how to go on by hand, and waits for Ctrl-C.
fn stay_up(
    cluster: &mut Cluster,
    operator: &mut Operator,
    stage: &Stage,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    println!("\nGo on playing, in another terminal:\n");
    println!("  cd {}", stage.folder.display());
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  export PATH=$PWD/bin:$PATH\n");
    println!(
        "(Without its operator the demo ends: to try a crash, start a second one with a folder of its own.)\n"
    );
    progress.line("up; Ctrl-C stops everything");
    while !interrupt.requested() {
        cluster.check()?;
        operator.check()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

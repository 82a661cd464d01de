//! The developers' commands, run as `cargo xtask …`. `cargo xtask --help` lists them.

mod bench;
mod cluster;
mod demo;
mod generate;
mod process;
mod progress;
mod sim;
mod summary;
mod test;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::cluster::{Binaries, Cluster, Tool};
use self::process::{Interrupt, Interrupted};
use self::progress::Progress;

/// The developers' commands of jointoken.
///
/// Needed: Rust, a C compiler (the cryptography library has C in it), and Go 1.26 or newer, from which the servers of the
/// test cluster (etcd, kube-apiserver, kube-controller-manager) and kubectl and Helm are built: some minutes, once a
/// version, into ~/.cache/jointoken/cluster. Nothing needs root, nothing listens beyond 127.0.0.1, and everything that was
/// started ends with the command.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Plays the product's story on a real Kubernetes API: the commands a user would type, with what they print
    ///
    /// Builds what is missing, starts a cluster and `jointoken operator`, and runs the commands one by one. Then it stays
    /// up, with the KUBECONFIG printed, so that you can go on playing; Ctrl-C stops everything and leaves nothing behind.
    Demo {
        /// Exit after the story: with 0 only if every step showed what it should
        #[arg(long)]
        once: bool,
    },
    /// Runs every test on one cluster that is started for it
    ///
    /// Ends with one line `N passed, N failed, N skipped` and with cargo's exit code. How tests find the cluster is
    /// written in tests/cluster/README.md.
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --test operator\n  cargo xtask test --lib lifecycle:: -- --nocapture"
    )]
    Test {
        /// Passed on to `cargo test`; without -p all packages are tested
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Writes the files that are made from the code: the CRD (also in the chart) and the door's OpenAPI document
    Generate {
        /// Write nothing; fail if a file differs from what would be written
        #[arg(long)]
        check: bool,
    },
    /// Measures what users wait for, in a release build
    Bench {
        /// Passed on to `cargo bench`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Simulates groups of replicas to which everything happens that can, each from a seed
    ///
    /// `cargo xtask test` does so with 500 seeds; this with as many as you like, in an optimised build. When one fails it is
    /// printed, with what was wrong and the command that shows it again.
    #[command(after_help = "Example:\n  cargo xtask sim --seeds 10000 --first-seed 500")]
    Sim {
        /// How many groups
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The seed of the first one
        #[arg(long, default_value_t = 0)]
        first_seed: u64,
    },
    /// A test cluster by hand
    Cluster {
        #[command(subcommand)]
        command: ClusterTask,
    },
    /// Starts a server so that it ends with us; used by xtask itself
    #[command(hide = true)]
    Guard {
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Subcommand)]
enum ClusterTask {
    /// Starts a cluster with the CRDs installed, prints how to reach it, and stays up until Ctrl-C
    Up,
    /// Builds what is missing and prints the path of each program
    Path,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    if let Task::Guard {
        parent,
        program,
        args,
    } = &task
    {
        process::guard(*parent, program, args)?;
    }
    let progress = Progress::new();
    let interrupt = Interrupt::install()?;
    match task {
        Task::Demo { once } => demo::run(once, &progress, &interrupt)?,
        Task::Test { args } => return test::run(&args, &progress, &interrupt),
        Task::Generate { check } => generate::run(check, &progress, &interrupt)?,
        Task::Bench { args } => return bench::run(&args, &progress, &interrupt),
        Task::Sim { seeds, first_seed } => return sim::run(seeds, first_seed, &interrupt),
        Task::Cluster {
            command: ClusterTask::Up,
        } => cluster_up(&progress, &interrupt)?,
        Task::Cluster {
            command: ClusterTask::Path,
        } => {
            for (_, path) in Binaries::ensure(&Tool::ALL, &progress, &interrupt)?.iter() {
                println!("{}", path.display());
            }
        }
        Task::Guard { .. } => (),
    }
    Ok(ExitCode::SUCCESS)
}

fn cluster_up(progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let binaries = Binaries::ensure(&Tool::CLUSTER, progress, interrupt)?;
    let kubectl = binaries.path(Tool::Kubectl)?.to_path_buf();
    let mut cluster = Cluster::start(binaries, progress, interrupt)?;
    cluster.install_crds(progress)?;
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("# kubectl: {}", kubectl.display());
    println!("# logs:    {}", cluster.folder().display());
    progress.line("up; Ctrl-C stops it");
    while !interrupt.requested() {
        cluster.check()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    drop(cluster);
    progress.line("stopped");
    Ok(())
}

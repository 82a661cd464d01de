//! Building the cluster's programs from Go modules.
//!
//! Nobody publishes kube-controller-manager and the rest for every platform in one place where they can be verified, but
//! the Go module proxy serves their sources, and `go.sum` pins them. A cold build takes some minutes, once a version.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Tool;
use crate::process::{Interrupt, Pipe, run_reading};
use crate::progress::{Progress, Step};
use crate::workspace;

/// Used with `go install`; Helm's Go module has its main package in itself.
const HELM_VERSION: &str = "v3.22.0";
/// How much of what go said is shown when it fails.
const SHOWN_LINES: usize = 20;

/// What a program is built from: a Go module of ours that pins it, or none where `go install` takes a version.
pub struct Source {
    product: &'static str,
    folder: Option<PathBuf>,
    version: String,
}

impl Source {
    /// A program's source, with its version.
    pub fn of(tool: Tool) -> Result<Self> {
        Ok(match tool {
            Tool::Etcd => Source::module("etcd", "go.etcd.io/etcd/server/v3")?,
            Tool::ApiServer | Tool::ControllerManager | Tool::Kubectl => {
                Source::module("kubernetes", "k8s.io/kubernetes")?
            }
            Tool::Helm => Source {
                product: "helm",
                folder: None,
                version: HELM_VERSION.to_string(),
            },
        })
    }

    fn module(product: &'static str, dependency: &str) -> Result<Self> {
        let folder = workspace::root().join("tests/cluster/go").join(product);
        let file = folder.join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let version = required_version(&text, dependency)
            .with_context(|| format!("{} does not require {dependency}", file.display()))?;
        Ok(Source {
            product,
            folder: Some(folder),
            version,
        })
    }

    /// A folder for each version, so that a change of version never meets an old program.
    pub fn folder_in(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.product, self.version))
    }
}

/// The version of a direct dependency in a go.mod.
fn required_version(go_mod: &str, dependency: &str) -> Option<String> {
    let words = go_mod.lines().map(|line| {
        let line = line.trim();
        line.strip_prefix("require ")
            .unwrap_or(line)
            .split_whitespace()
            .collect::<Vec<_>>()
    });
    let mut versions = words.filter(|w| w.len() >= 2 && w[0] == dependency && w[1] != "=>");
    versions.next().map(|w| w[1].to_string())
}

/// Builds one program and moves it into its place when it is whole.
pub fn build(
    tool: Tool,
    source: &Source,
    cache: &Path,
    target: &Path,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    // in the cache: a rename works within one file system only
    let staging = tempfile::Builder::new()
        .prefix("building-")
        .tempdir_in(cache)?;
    let mut step = progress.step(format!("{} {}", tool.name(), source.version));
    let mut total = None;
    step.update("fetching modules");
    let compile = match &source.folder {
        Some(folder) => {
            let package = package(tool);
            total = Some(count_packages(folder, package, &mut step, interrupt)?);
            let mut build = go("build");
            build
                .current_dir(folder)
                .arg("-mod=readonly")
                .args(options(tool, &source.version));
            build
                .arg("-o")
                .arg(staging.path().join(tool.name()))
                .arg(package);
            build
        }
        None => {
            let mut install = go("install");
            install
                .current_dir(staging.path())
                .env("GOBIN", staging.path());
            install.args(options(tool, &source.version));
            install.arg(format!("helm.sh/helm/v3/cmd/helm@{}", source.version));
            install
        }
    };
    let mut compiled = 0;
    follow(compile, interrupt, |_, line| {
        if line.starts_with("go: downloading") {
            step.update("fetching modules");
        } else {
            // -v names each package as it is compiled
            compiled += 1;
            let of = total
                .map(|n| format!(" of at most {n}"))
                .unwrap_or_default();
            step.update(&format!("{compiled}{of} packages compiled"));
        }
    })
    .with_context(|| format!("building {} {}", tool.name(), source.version))?;
    let folder = target.parent().context("a program without a folder")?;
    fs::create_dir_all(folder)?;
    fs::rename(staging.path().join(tool.name()), target)?;
    step.done("built");
    Ok(())
}

/// The main package in its module.
fn package(tool: Tool) -> &'static str {
    match tool {
        Tool::ApiServer => "./kube-apiserver",
        Tool::ControllerManager => "./kube-controller-manager",
        Tool::Kubectl => "./kubectl",
        Tool::Etcd | Tool::Helm => ".",
    }
}

/// How a program is compiled.
fn options(tool: Tool, version: &str) -> [String; 5] {
    // -v names each package as it is compiled: our progress. Without version stamping: it fails in a checkout that
    // somebody else owns, and nothing reads the stamp.
    [
        "-v",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        &linker_flags(tool, version),
    ]
    .map(String::from)
}

/// What the linker writes into a program: without a version kube-apiserver calls itself `v0.0.0-master+$Format`,
/// which kubectl and Helm can't parse. -s and -w leave out what only a debugger reads.
fn linker_flags(tool: Tool, version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
    let variables: &[(&str, &str)] = match tool {
        Tool::Etcd => &[],
        Tool::Helm => &[("helm.sh/helm/v3/internal/version.version", version)],
        Tool::ApiServer | Tool::ControllerManager | Tool::Kubectl => &[
            ("k8s.io/component-base/version.gitVersion", version),
            ("k8s.io/component-base/version.gitMajor", major),
            ("k8s.io/component-base/version.gitMinor", minor),
        ],
    };
    let set = variables
        .iter()
        .map(|(name, value)| format!(" -X {name}={value}"));
    format!("-s -w{}", set.collect::<String>())
}

fn go(command: &str) -> Command {
    let mut go = Command::new("go");
    go.arg(command);
    // no C compiler needed, and the programs run on any distribution
    go.env("CGO_ENABLED", "0");
    // a go.work of the user's above the source tree is not ours
    go.env("GOWORK", "off");
    go
}

/// How many packages the program consists of; fetches the modules on the way.
fn count_packages(
    folder: &Path,
    package: &str,
    step: &mut Step,
    interrupt: &Interrupt,
) -> Result<usize> {
    let mut packages = 0;
    let mut list = go("list");
    list.current_dir(folder)
        .args(["-mod=readonly", "-deps", package]);
    follow(list, interrupt, |pipe, _| match pipe {
        Pipe::Stdout => packages += 1,
        Pipe::Stderr => step.update("fetching modules"),
    })?;
    Ok(packages)
}

/// Runs go, handing over its lines; a failure carries the last ones.
fn follow(go: Command, interrupt: &Interrupt, mut on_line: impl FnMut(Pipe, &str)) -> Result<()> {
    let mut last = VecDeque::with_capacity(SHOWN_LINES);
    let pipes = [Pipe::Stdout, Pipe::Stderr];
    let status = run_reading(go, &pipes, interrupt, |pipe, line| {
        if last.len() == SHOWN_LINES {
            last.pop_front();
        }
        last.push_back(line.to_string());
        on_line(pipe, line);
    })?;
    if !status.success() {
        bail!("go failed ({status}):\n{}", Vec::from(last).join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_go_mod() {
        let text = "module x\n\ngo 1.26.0\n\nrequire go.etcd.io/etcd/server/v3 v3.6.16\n\nrequire (\n\t\
                    k8s.io/kubernetes v1.36.3\n\tk8s.io/api v0.36.3 // indirect\n)\n\nreplace (\n\t\
                    k8s.io/kubectl => k8s.io/kubectl v0.36.3\n)\n";
        let version = |name| required_version(text, name);
        assert_eq!(
            version("go.etcd.io/etcd/server/v3").as_deref(),
            Some("v3.6.16")
        );
        assert_eq!(version("k8s.io/kubernetes").as_deref(), Some("v1.36.3"));
        assert_eq!(version("k8s.io/api").as_deref(), Some("v0.36.3"));
        assert_eq!(version("k8s.io/kubectl"), None);
    }

    #[test]
    fn every_tool_has_a_source_in_the_tree() {
        for tool in Tool::ALL {
            let source = Source::of(tool).unwrap();
            assert!(
                source.version.starts_with('v'),
                "{}: {}",
                tool.name(),
                source.version
            );
            if let Some(folder) = source.folder {
                assert!(
                    folder.join(package(tool)).join("main.go").is_file(),
                    "{}",
                    tool.name()
                );
                assert!(folder.join("go.sum").is_file());
            }
        }
    }

    #[test]
    fn kubernetes_gets_a_version_that_clients_can_parse() {
        let flags = linker_flags(Tool::ApiServer, "v1.36.3");
        assert!(flags.contains("version.gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains("version.gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("version.gitMinor=36"), "{flags}");
    }
}

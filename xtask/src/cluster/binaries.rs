//! The cluster's programs: taken from `KUBEBUILDER_ASSETS`, from the cache, or built into it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::go_build::{Source, build};
use crate::process::{Interrupt, wait_until};
use crate::progress::Progress;
use crate::workspace;

const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Etcd,
    ApiServer,
    ControllerManager,
    Kubectl,
    /// Not needed by the cluster; the tests install the chart with it.
    Helm,
}

impl Tool {
    /// What a cluster needs.
    pub const CLUSTER: [Tool; 4] = [
        Tool::Etcd,
        Tool::ApiServer,
        Tool::ControllerManager,
        Tool::Kubectl,
    ];
    /// What the tests need.
    pub const ALL: [Tool; 5] = [
        Tool::Etcd,
        Tool::ApiServer,
        Tool::ControllerManager,
        Tool::Kubectl,
        Tool::Helm,
    ];

    /// Its file name, everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Etcd => "etcd",
            Tool::ApiServer => "kube-apiserver",
            Tool::ControllerManager => "kube-controller-manager",
            Tool::Kubectl => "kubectl",
            Tool::Helm => "helm",
        }
    }
}

/// Paths of programs that exist.
#[derive(Clone, Debug, Default)]
pub struct Binaries(BTreeMap<Tool, PathBuf>);

impl Binaries {
    /// Finds or builds `tools`.
    pub fn ensure(tools: &[Tool], progress: &Progress, interrupt: &Interrupt) -> Result<Self> {
        let mut found = Self::find(tools)?;
        let missing: Vec<Tool> = tools
            .iter()
            .copied()
            .filter(|t| !found.0.contains_key(t))
            .collect();
        if missing.is_empty() {
            return Ok(found);
        }
        check_go()?;
        let cache = workspace::cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        let _lock = lock(&cache, progress, interrupt)?;
        let names: Vec<&str> = missing.iter().map(|t| t.name()).collect();
        progress.line(&format!(
            "building {} into {}: some minutes, once (and 5 GB for Go's caches)",
            names.join(", "),
            cache.display()
        ));
        for tool in missing {
            let source = Source::of(tool)?;
            let target = source.folder_in(&cache).join(tool.name());
            // another process may have built it while we waited for the lock
            if !target.exists() {
                build(tool, &source, &cache, &target, progress, interrupt)?;
            }
            found.0.insert(tool, target);
        }
        Ok(found)
    }

    /// Those of `tools` that need no building.
    pub fn find(tools: &[Tool]) -> Result<Self> {
        let assets = env::var_os(ASSETS)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from);
        if let Some(folder) = &assets
            && !folder.is_dir()
        {
            bail!("{ASSETS} is {}, which is not a folder", folder.display());
        }
        let cache = workspace::cache()?;
        let mut found = BTreeMap::new();
        for &tool in tools {
            let given = assets.iter().map(|folder| folder.join(tool.name()));
            let cached = Source::of(tool)?.folder_in(&cache).join(tool.name());
            if let Some(path) = given.chain([cached]).find(|path| path.is_file()) {
                // absolute: the servers run in a folder of their own
                found.insert(tool, std::path::absolute(path)?);
            }
        }
        Ok(Binaries(found))
    }

    /// The absolute path of a program.
    pub fn path(&self, tool: Tool) -> Result<&Path> {
        let path = self.0.get(&tool).map(PathBuf::as_path);
        path.with_context(|| format!("{} has not been built", tool.name()))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Tool, &Path)> {
        self.0.iter().map(|(tool, path)| (*tool, path.as_path()))
    }
}

fn check_go() -> Result<()> {
    let runs = Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !runs {
        bail!(
            "Go is missing: install Go 1.26 or newer (https://go.dev/dl/), which builds the test cluster's \
             servers, or set {ASSETS} to a folder that has them"
        );
    }
    Ok(())
}

/// One builder at a time; others wait and find what it built.
fn lock(cache: &Path, progress: &Progress, interrupt: &Interrupt) -> Result<File> {
    let lock = File::create(cache.join("lock"))?;
    if lock.try_lock().is_err() {
        progress.line("another cargo xtask is building the servers: waiting for it");
        let limit = Duration::from_secs(3600);
        wait_until("waiting for the other build", limit, interrupt, || {
            Ok(lock.try_lock().is_ok())
        })?;
    }
    Ok(lock)
}

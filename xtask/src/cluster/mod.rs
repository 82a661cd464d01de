//! A real Kubernetes API on loopback: etcd, kube-apiserver and kube-controller-manager, without nodes and without root.
//!
//! Everything it writes lies in one temporary folder that ends with it. Nothing listens beyond 127.0.0.1.

mod binaries;
mod go_build;
mod keys;
mod leftovers;
mod port;
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub use self::binaries::{Binaries, Tool};
use self::keys::Keys;
use self::leftovers::RunFolder;
use self::port::ReservedPort;
pub use self::port::free_port;
use crate::process::{Interrupt, Server, wait_until};
use crate::progress::Progress;
use crate::workspace;

/// How long a server may take until it is ready. 2 to 4 s are usual; a machine busy with compiling is slower.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running cluster. Dropping it ends the servers and removes their folder.
pub struct Cluster {
    // dropped in this order: clients before what they talk to, the folder last
    controller_manager: Server,
    api_server: Server,
    etcd: Server,
    binaries: Binaries,
    kubeconfig: PathBuf,
    folder: RunFolder,
}

impl Cluster {
    /// Starts the servers and returns when the API server is ready and the controller manager has begun to work.
    pub fn start(binaries: Binaries, progress: &Progress, interrupt: &Interrupt) -> Result<Self> {
        let step = progress.step("test cluster: etcd, kube-apiserver, kube-controller-manager");
        let folder = RunFolder::create()?;
        let path = folder.path();
        let port = ReservedPort::new()?;
        let url = format!("https://127.0.0.1:{}", port.number());
        let keys = Keys::write(path)?;
        let kubeconfig = write_kubeconfig(path, "admin", &url)?;
        let manager_kubeconfig = write_kubeconfig(path, "kube-controller-manager", &url)?;

        let mut etcd = Server::start(
            "etcd",
            binaries.path(Tool::Etcd)?,
            path,
            servers::etcd(path),
        )?;
        // the API server retries by itself, but only so long and with lines in its log that look like failures
        let socket = servers::etcd_socket(path);
        wait_until("etcd", START_LIMIT, interrupt, || {
            etcd.check()?;
            Ok(socket.exists())
        })?;
        let mut api_server = Server::start(
            "kube-apiserver",
            binaries.path(Tool::ApiServer)?,
            path,
            servers::api_server(path, &keys, port.number()),
        )?;
        wait_until("kube-apiserver", START_LIMIT, interrupt, || {
            etcd.check()?;
            api_server.check()?;
            let ready = kubectl(&binaries, &kubeconfig)
                .args(["get", "--raw", "/readyz"])
                .output()?;
            Ok(ready.status.success())
        })?;
        let controller_manager = Server::start(
            "kube-controller-manager",
            binaries.path(Tool::ControllerManager)?,
            path,
            servers::controller_manager(&keys, &manager_kubeconfig),
        )?;
        let mut cluster = Cluster {
            controller_manager,
            api_server,
            etcd,
            binaries,
            kubeconfig,
            folder,
        };
        // its first visible work: until it is there no pod and no token of a ServiceAccount can be had
        wait_until("kube-controller-manager", START_LIMIT, interrupt, || {
            cluster.check()?;
            let account = cluster.kubectl(["get", "serviceaccount", "default", "-n", "default"])?;
            Ok(account.status.success())
        })?;
        drop(port);
        step.done(&format!("ready at {url}"));
        Ok(cluster)
    }

    /// Fails when one of the servers has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.etcd.check()?;
        self.api_server.check()?;
        self.controller_manager.check()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The cluster's temporary folder, with the servers' logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        let output = kubectl(&self.binaries, &self.kubeconfig)
            .args(args)
            .output();
        output.context("running kubectl")
    }

    /// Installs every CRD of `crds/` and waits until the API server serves them.
    pub fn install_crds(&self, progress: &Progress) -> Result<()> {
        let folder = workspace::root().join("crds");
        if !folder.is_dir() {
            progress
                .line("crds/ is missing, so no CRD is installed: `cargo xtask generate` writes it");
            return Ok(());
        }
        let folder = folder
            .to_str()
            .context("the source tree's path is not UTF-8")?;
        let step = progress.step("CRDs from crds/");
        // server-side: a client-side apply keeps a copy in an annotation, too small for a large schema
        for args in [
            ["apply", "--server-side", "-f", folder].as_slice(),
            [
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                "-f",
                folder,
            ]
            .as_slice(),
        ] {
            let output = self.kubectl(args.iter().copied())?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("installing the CRDs of crds/ failed: {said}");
            }
        }
        step.done("installed");
        Ok(())
    }
}

/// kubectl as it is for the cluster: always the one that belongs to it, whatever the PATH has.
fn kubectl(binaries: &Binaries, kubeconfig: &Path) -> Command {
    // a missing path fails when it is run, with its name
    let program = binaries
        .path(Tool::Kubectl)
        .unwrap_or(Path::new("kubectl of the test cluster"));
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig);
    command
}

/// Writes `<user>.kubeconfig`, which refers to the user's key files beside it. JSON is YAML too.
fn write_kubeconfig(folder: &Path, user: &str, url: &str) -> Result<PathBuf> {
    let file = |name: String| -> Result<Value> {
        let path = folder.join(name);
        Ok(path
            .to_str()
            .context("the temporary folder's path is not UTF-8")?
            .into())
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "jointoken",
            "cluster": { "server": url, "certificate-authority": file("ca.crt".into())? },
        }],
        "users": [{
            "name": user,
            "user": { "client-certificate": file(format!("{user}.crt"))?, "client-key": file(format!("{user}.key"))? },
        }],
        "contexts": [{ "name": "jointoken", "context": { "cluster": "jointoken", "user": user } }],
        "current-context": "jointoken",
    });
    let path = folder.join(format!("{user}.kubeconfig"));
    std::fs::write(&path, format!("{config:#}\n"))?;
    Ok(path)
}

//! `jointoken serve` in a folder of its own.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::port;
use crate::program::{Ran, run, text};
use crate::server::Setup;

pub struct Standalone {
    folder: TempDir,
    pub door_port: u16,
    metrics_port: u16,
    probe_port: u16,
}

impl Standalone {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            door_port: port::reserve(),
            metrics_port: port::reserve(),
            probe_port: port::reserve(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The configuration with everything that it must have.
    pub fn config(&self) -> String {
        format!(
            "dataDir: {}\ntrustDomain: edge.example\nadvertiseUrls: [\"https://127.0.0.1:{door}\"]\n\
             listen: 127.0.0.1:{door}\nmetricsListen: 127.0.0.1:{}\nprobeListen: 127.0.0.1:{}\n",
            self.data().display(),
            self.metrics_port,
            self.probe_port,
            door = self.door_port,
        )
    }

    pub fn setup(&self) -> Setup {
        self.setup_with("")
    }

    /// With more lines in the configuration.
    pub fn setup_with(&self, more: &str) -> Setup {
        self.setup_of(&(self.config() + more))
    }

    /// With another configuration.
    pub fn setup_of(&self, config: &str) -> Setup {
        let file = self.path("serve.yaml");
        fs::write(&file, config).expect("writing the configuration");
        let arguments = ["serve", "--config", text(&file)];
        Setup {
            arguments: arguments.map(str::to_owned).into(),
            environment: Vec::new(),
            metrics_port: self.metrics_port,
            probe_port: self.probe_port,
            log: self.path("log"),
            program: None,
        }
    }

    /// `jointoken key export` from the running server: the path of the key, or how it failed.
    pub fn export(&self, pattern: &str, max_ttl: &str) -> PathBuf {
        let file = self.path(&format!("{}.key", port::reserve()));
        self.try_export(pattern, max_ttl, &file).ok();
        file
    }

    pub fn try_export(&self, pattern: &str, max_ttl: &str, file: &std::path::Path) -> Ran {
        let socket = self.data().join("admin.sock");
        let from = ["key", "export", "--admin-socket", text(&socket)];
        let what = ["--pattern", pattern, "--max-ttl", max_ttl];
        run(&[&from[..], &what, &["--out", text(file)]].concat())
    }
}

/// `jointoken create`, which prints the token.
pub fn create(key: &std::path::Path, node: &str) -> String {
    let ran = run(&["create", "--key-file", text(key), "--node", node]).ok();
    ran.stdout.trim().to_owned()
}

//! Where things are: the source tree, the cache, the product's binary.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{Interrupt, Pipe, run_reading};

/// The top folder of the source tree. `cargo run` tells where the package is; a binary started by hand uses the place
/// where it was compiled.
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

/// The cache of built servers, outside the source tree: `$XDG_CACHE_HOME/jointoken/cluster`, or below `~/.cache`.
pub fn cache() -> Result<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    // the XDG base directory specification: a relative path is to be ignored
    let base = match absolute("XDG_CACHE_HOME") {
        Some(cache) => cache,
        None => absolute("HOME")
            .context("neither XDG_CACHE_HOME nor HOME is set: nowhere to keep the built servers")?
            .join(".cache"),
    };
    Ok(base.join("jointoken").join("cluster"))
}

/// The cargo that runs us, so that a toolchain override goes on applying.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Fails with what to install if there is no C compiler: the cryptography library needs one, and says so in many lines.
pub fn need_c_compiler() -> Result<()> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let found = Command::new(&compiler).arg("--version").output();
    if found.is_err() {
        bail!(
            "the C compiler {} is missing: install one (Debian: apt-get install gcc libc6-dev)",
            compiler.display()
        );
    }
    Ok(())
}

/// Builds the product and returns the path of its binary, as cargo reports it (the target folder may be anywhere).
pub fn build_product(interrupt: &Interrupt) -> Result<PathBuf> {
    build_product_with(&[], interrupt)
}

/// As [`build_product`], with more options for cargo.
pub fn build_product_with(options: &[&str], interrupt: &Interrupt) -> Result<PathBuf> {
    need_c_compiler()?;
    let mut build = cargo();
    // --workspace: features are unified as `cargo test --workspace` unifies them, so nothing is compiled twice
    build.args(["build", "--workspace", "--bin", "jointoken"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build.args(options);
    let mut binary = None;
    let status = run_reading(build, &[Pipe::Stdout], interrupt, |_, line| {
        if let Some(path) = executable(line) {
            binary = Some(path);
        }
    })?;
    if !status.success() {
        bail!("cargo build of jointoken failed: {status}");
    }
    binary.context("cargo build did not report where the jointoken binary is")
}

/// The path in cargo's message about a finished executable; the other messages have none.
fn executable(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    message.get("executable")?.as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_message_names_the_binary() {
        let artifact =
            r#"{"reason":"compiler-artifact","executable":"/t/debug/jointoken","fresh":true}"#;
        assert_eq!(
            executable(artifact),
            Some(PathBuf::from("/t/debug/jointoken"))
        );
        let library = r#"{"reason":"compiler-artifact","executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("not json"), None);
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }
}

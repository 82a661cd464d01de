//! Commands of `jointoken`, run to their ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jointoken::token::Presented;
use tempfile::TempDir;

use crate::marks;

/// The program, without whatever the caller's environment says to it.
pub fn jointoken() -> Command {
    jointoken_at(Path::new(env!("CARGO_BIN_EXE_jointoken")))
}

/// Another build of the program.
pub fn jointoken_at(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("JOINTOKEN_") {
            command.env_remove(name);
        }
    }
    command.env_remove("KUBECONFIG").stdin(Stdio::null());
    command
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It ended with this code and one line on standard error that says all of this. Returns the line.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &[&str]) -> &str {
        let line = self.stderr.lines().last().unwrap_or_default();
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "");
        assert!(line.starts_with("error: "), "{self:?}");
        for said in says {
            assert!(line.contains(said), "{said:?} is missing: {self:?}");
        }
        println!("exit code {code}: {line}");
        line
    }
}

/// Runs a command of the program.
pub fn run(arguments: &[&str]) -> Ran {
    finish(jointoken().args(arguments))
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Ran {
    let output = command.output().expect("starting the program");
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    };
    marks::check(&ran.stderr);
    ran
}

/// A machine that has no certificate yet: a folder.
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    /// Where `jointoken join` writes.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("member")
    }

    /// What it has under this name.
    pub fn file(&self, name: &str) -> String {
        let path = self.out().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `jointoken join` with this token in a file.
    pub fn join_command(&self, token: &str, options: &[&str]) -> Command {
        let file = self.folder.path().join("token");
        fs::write(&file, token).expect("writing the token");
        let mut command = jointoken();
        command
            .args(["join", "--token-file", text(&file)])
            .args(["--out", text(&self.out())])
            .args(options);
        command
    }

    /// Joins, or tries to.
    pub fn join(&self, token: &str) -> Ran {
        self.join_with(token, &[])
    }

    pub fn join_with(&self, token: &str, options: &[&str]) -> Ran {
        finish(&mut self.join_command(token, options))
    }
}

/// The token's id, as it says itself.
pub fn id_of(token: &str) -> String {
    let token = Presented::parse_trimmed(token).expect("a token");
    token.unverified_token_id().to_string()
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// What openssl prints; it must succeed.
pub fn openssl(arguments: &[&str]) -> String {
    let ran = finish(Command::new("openssl").args(arguments).stdin(Stdio::null()));
    ran.ok().stdout
}

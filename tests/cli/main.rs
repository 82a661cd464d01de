//! The program as users and scripts run it: what the commands around tokens print, and how they
//! exit. One file a command.

#[path = "../marks/marks.rs"]
mod marks;

mod create;
mod inspect;
mod kubernetes;
mod program;
mod secrets;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use jointoken::token::{
    Audience, Delivery, KeyId, OfflineKeyFile, OfflinePolicy, Purpose, SigningKey, TokenId,
};
use serde_json::Value;
use tempfile::TempDir;

const HOUR_MS: u64 = 3_600_000;
const AUDIENCE: Audience = Audience([8; 8]);

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// What a run of the program came to.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Asserts the exit code and that one line on standard error says this.
    #[track_caller]
    fn fails(&self, code: i32, says: &str) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(says), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    #[track_caller]
    fn succeeds(&self) -> &Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// A folder to run the program in, with an exported key for `edge-*` and an hour in `edge.key`.
struct Fixture {
    folder: TempDir,
    key: OfflineKeyFile,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: TempDir::new().unwrap(),
            key: exported("edge-*", HOUR_MS),
        };
        fixture.write("edge.key", &fixture.key.render());
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), format!("{content}\n")).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(self.folder.path(), arguments, "", &[])
    }

    /// A token of the exported key, of these times.
    fn token(&self, issued_at_ms: u64, ttl_ms: u64) -> String {
        let token = self
            .key
            .mint(TokenId([4; 16]), "edge-1", issued_at_ms, ttl_ms);
        token.unwrap().expose().to_owned()
    }
}

fn exported(pattern: &str, max_ttl_ms: u64) -> OfflineKeyFile {
    let policy = OfflinePolicy {
        node_pattern: pattern.parse().unwrap(),
        max_ttl_ms,
    };
    let master = SigningKey::generate(Purpose::Offline).unwrap();
    let key = SigningKey::derive_offline(&master, KeyId([2; 8]), &policy);
    OfflineKeyFile::new(key, policy, AUDIENCE, delivery()).unwrap()
}

fn delivery() -> Delivery {
    Delivery {
        door_pin: [6; 32],
        urls: vec!["https://door.example.org:8443".to_owned()],
    }
}

fn run(folder: &Path, arguments: &[&str], stdin: &str, environment: &[(&str, &str)]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jointoken"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("JOINTOKEN_TOKEN")
        .env_remove("JOINTOKEN_KEY")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read its input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    marks::check(&ran.stderr);
    ran
}

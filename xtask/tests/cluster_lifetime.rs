//! A cluster ends with the command that started it, however that ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than a start on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// `cargo xtask cluster up`, as somebody types it.
struct Up {
    child: Child,
    /// Read no further, but kept open: it goes on printing.
    _output: BufReader<ChildStdout>,
    kubeconfig: PathBuf,
}

impl Up {
    fn start() -> Self {
        // without it the first test would spend minutes building the servers
        assert!(
            std::env::var_os("JOINTOKEN_TEST_KUBECTL").is_some(),
            "JOINTOKEN_TEST_KUBECTL is not set: run cargo xtask test"
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["cluster", "up"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let kubeconfig = line.trim().strip_prefix("export KUBECONFIG=");
        let kubeconfig = PathBuf::from(kubeconfig.unwrap_or_else(|| panic!("printed {line:?}")));
        Up {
            child,
            _output: output,
            kubeconfig,
        }
    }

    fn folder(&self) -> &Path {
        self.kubeconfig.parent().unwrap()
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // a failed assertion: the death signal ends the servers
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes whose command line names the folder: the servers of its cluster.
fn servers(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder)).collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn asked_to_stop_it_leaves_nothing_behind() {
    let mut up = Up::start();
    assert_eq!(servers(up.folder()).len(), 3, "{:?}", servers(up.folder()));
    let status = up.end(Signal::TERM);
    assert!(status.success(), "{status}");
    assert_eq!(servers(up.folder()), [""; 0]);
    assert!(!up.folder().exists());
}

#[test]
fn killed_it_leaves_no_server_and_the_next_one_removes_its_folder() {
    let mut killed = Up::start();
    killed.end(Signal::KILL);
    wait_until("the servers go on running", || {
        servers(killed.folder()).is_empty()
    });
    let mut next = Up::start();
    assert!(!killed.folder().exists());
    assert!(next.end(Signal::INT).success());
}

//! How servers stop: told so while they start, as the first process of a container, twice.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kubeconfig;
use crate::program::text;
use crate::server::{Setup, wait_until};
use crate::standalone::{Standalone, create};

/// Of an operator whose API server takes connections and never answers.
#[test]
fn told_to_stop_while_it_waits_for_kubernetes_it_stops_at_once() {
    let place = Standalone::new();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let kubeconfig = place.path("kubeconfig");
    let server = format!("http://{}", silent.local_addr().unwrap());
    kubeconfig::write(&kubeconfig, &server);
    let data = place.data();
    let arguments = [
        "operator",
        "--trust-domain=edge.example",
        "--advertise-url=https://127.0.0.1:1",
        "--data-dir",
        text(&data),
        "--kubeconfig",
        text(&kubeconfig),
    ];
    let setup = Setup {
        arguments: arguments.map(str::to_owned).into(),
        ..place.setup()
    };
    let operator = setup.spawn();
    let _held = silent.accept().unwrap();
    let (status, took) = operator.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!data.join("identity").exists());
}

/// The program as the first process of a container; `unshare` waits for it.
struct First(Child);

impl First {
    fn start(arguments: &[String], log: &Path) -> Self {
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--user",
                "--map-root-user",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            .arg(env!("CARGO_BIN_EXE_jointoken"))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(File::create(log).unwrap());
        Self(unshare.spawn().expect("unshare, of util-linux"))
    }

    /// Sends the program SIGTERM; how it ended.
    fn terminate(mut self) -> ExitStatus {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let child = fs::read_to_string(children).unwrap();
        let child = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
        kill_process(child, Signal::TERM).unwrap();
        let mut status = None;
        wait_until(|| {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it did not end")
    }
}

/// The kernel sends the first process of a container no signal that it does not listen for.
#[test]
fn as_the_first_process_it_stops_when_it_is_told_to() {
    let place = Standalone::new();
    let log = place.path("log");
    let server = First::start(&place.setup().arguments, &log);
    let says = |text: &str| wait_until(|| fs::read_to_string(&log).unwrap().contains(text));
    assert!(says("the door is open"), "it did not start");
    assert!(server.terminate().success());
    assert!(says("SIGTERM: stopping"));

    // A machine that waits for a door that is not there.
    let server = place.setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-7");
    assert!(server.terminate().0.success());
    fs::write(place.path("token"), token).unwrap();
    let (file, out) = (place.path("token"), place.path("member"));
    let join = ["join", "--token-file", text(&file), "--out", text(&out)];
    let machine = First::start(&join.map(str::to_owned), &log);
    assert!(wait_until(|| out.join("csr.pem").exists()));
    assert_eq!(machine.terminate().code(), Some(1));
    assert!(says("SIGTERM: stopped before it was done"));
}

#[test]
fn a_log_in_json_is_json_to_its_last_line() {
    let place = Standalone::new();
    let json = |mut setup: Setup| {
        setup
            .arguments
            .extend(["--log-format".into(), "json".into()]);
        setup
    };
    let server = json(place.setup()).start();
    let second = json(place.setup()).run();
    assert_eq!(second.code, Some(1));
    server.wait_for_log("the door is open");
    let log = server.log();
    assert!(server.terminate().0.success());
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert!(lines.len() >= 2);
    let said = second.stderr.lines().next_back().unwrap();
    let said: Value = serde_json::from_str(said).unwrap();
    assert_eq!(said["level"], "ERROR", "{said}");
    assert!(
        said.to_string().contains("in use by another process"),
        "{said}"
    );
    assert!(said.to_string().contains("exit_code"), "{said}");
}

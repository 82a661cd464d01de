//! How servers stop: told so while they start, as the first process of a container, twice.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::program::text;
use crate::server::{Setup, wait_until};
use crate::standalone::Standalone;

/// Of an operator whose API server takes connections and never answers.
#[test]
fn told_to_stop_while_it_waits_for_kubernetes_it_stops_at_once() {
    let place = Standalone::new();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let kubeconfig = place.path("kubeconfig");
    let server = format!("http://{}", silent.local_addr().unwrap());
    let content = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    std::fs::write(&kubeconfig, content.to_string()).unwrap();
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

/// The kernel sends the first process of a container no signal that it does not listen for.
#[test]
fn as_the_first_process_it_stops_when_it_is_told_to() {
    let place = Standalone::new();
    let setup = place.setup();
    // The lines below are the child's own; unshare itself only waits for it.
    let mut unshare = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg(env!("CARGO_BIN_EXE_jointoken"))
        .args(&setup.arguments)
        .stderr(std::fs::File::create(place.path("log")).unwrap())
        .spawn()
        .expect("unshare, of util-linux");
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let ready = || {
        let log = std::fs::read_to_string(place.path("log")).unwrap();
        log.contains("the door is open")
    };
    assert!(wait_until(ready), "it did not start");
    let child = std::fs::read_to_string(children).unwrap();
    let child = child
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(child.unwrap(), rustix::process::Signal::TERM).unwrap();
    let mut status = None;
    wait_until(|| {
        status = unshare.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.expect("it did not end").success());
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("SIGTERM: stopping"), "{log}");
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

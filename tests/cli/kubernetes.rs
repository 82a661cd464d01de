//! The way to a Kubernetes API, and what it refuses, as whoever runs a command is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use serde_json::{Value, json};

use crate::{Fixture, Ran, run};

/// A kubeconfig that names this server and this user.
fn kubeconfig(server: &str, user: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    })
    .to_string()
}

/// `jointoken finalizers release` by the kubeconfig `config`.
fn release(fixture: &Fixture, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let command = ["finalizers", "release", "--yes", "--kubeconfig", "config"];
    let all = [&command[..], arguments].concat();
    // Whatever the caller's own environment says of proxies.
    let none = ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"].map(|name| (name, ""));
    run(
        fixture.folder.path(),
        &all,
        "",
        &[&none[..], environment].concat(),
    )
}

const ALL: [&str; 1] = ["--all-namespaces"];

#[test]
fn a_credential_plugin_that_is_missing_or_fails_is_named_and_not_quoted() {
    let fixture = Fixture::new();
    let script = json!(["-c", "echo s3cret-token; exit 3"]);
    for (mut exec, says) in [
        (
            json!({"command": "no-such-login"}),
            ["no-such-login", "No such file or directory: install it"],
        ),
        (
            json!({"command": "sh", "args": script}),
            ["the command sh", "exit status: 3"],
        ),
        (
            json!({"command": "true"}),
            ["the command true", "is no credential"],
        ),
    ] {
        exec["apiVersion"] = "client.authentication.k8s.io/v1".into();
        exec["interactiveMode"] = "Never".into();
        let config = kubeconfig("https://127.0.0.1:1", &json!({"exec": exec}));
        fixture.write("config", &config);
        let ran = release(&fixture, &ALL, &[]);
        ran.fails(2, "the kubeconfig config gives no credentials");
        for part in says {
            ran.fails(2, part);
        }
        for mark in ["s3cret", "Output {", "ExitStatus("] {
            assert!(!ran.stderr.contains(mark), "{ran:?}");
        }
    }
}

#[test]
fn a_proxy_that_is_not_reached_is_named_without_its_password() {
    let fixture = Fixture::new();
    fixture.write("config", &kubeconfig("https://127.0.0.1:2", &json!({})));
    for scheme in ["http", "https", "socks5"] {
        let url = format!("{scheme}://user:s3cret@127.0.0.1:1");
        let ran = release(&fixture, &ALL, &[("HTTPS_PROXY", &url)]);
        let named = format!("the proxy {scheme}://127.0.0.1:1 (HTTPS_PROXY)");
        ran.fails(
            1,
            &format!("{named} before the API server is not reached: start it"),
        );
        for mark in ["s3cret", "SOCKS error", "tunnel error", "client error"] {
            assert!(!ran.stderr.contains(mark), "{ran:?}");
        }
    }
    // Without one.
    let ran = release(&fixture, &ALL, &[]);
    ran.fails(1, "connection refused")
        .fails(1, "is this the right kubeconfig?");
}

/// Where no kubeconfig is named, one that KUBECONFIG names and that is missing is not passed over.
#[test]
fn a_kubeconfig_that_the_environment_names_is_named_too() {
    let fixture = Fixture::new();
    let command = ["finalizers", "release", "--all-namespaces"];
    let run = |environment: &[(&str, &str)]| run(fixture.folder.path(), &command, "", environment);
    let ran = run(&[("KUBECONFIG", "gone")]);
    ran.fails(
        2,
        "the kubeconfig gone (KUBECONFIG) cannot be read: there is no file gone",
    );
    let home = fixture.folder.path().display().to_string();
    let ran = run(&[("KUBECONFIG", ""), ("HOME", &home)]);
    ran.fails(2, "there is no way to a Kubernetes API")
        .fails(2, "set KUBECONFIG");
}

/// An API server that gives these answers to these paths, and a 404 of its own to all others.
fn api(answers: BTreeMap<&'static str, (u16, Value)>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = BufReader::new(client.try_clone().unwrap());
            let mut request = String::new();
            head.read_line(&mut request).unwrap();
            let mut line = String::new();
            while head.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = request.split([' ', '?']).nth(1).unwrap_or_default();
            let none = (404, status(404, "NotFound", "not found"));
            let (code, body) = answers.get(path).unwrap_or(&none);
            let body = body.to_string();
            let _ = write!(
                client,
                "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

const SETS: &str = "/apis/apps/v1/statefulsets";

fn list(kind: &str, version: &str) -> (u16, Value) {
    (
        200,
        json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": []}),
    )
}

fn with(answers: Vec<(&'static str, (u16, Value))>) -> Fixture {
    let fixture = Fixture::new();
    let address = api(answers.into_iter().collect());
    let config = kubeconfig(&format!("http://{address}"), &json!({}));
    fixture.write("config", &config);
    fixture
}

#[test]
fn a_namespace_that_does_not_exist_is_no_namespace_without_join_tokens() {
    let edge = "/api/v1/namespaces/edge";
    let metadata = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "edge"}});
    let held = "/apis/jointoken.io/v1alpha1/namespaces/edge/jointokens";
    let fixture = with(vec![
        (SETS, list("StatefulSetList", "apps/v1")),
        (edge, (200, metadata)),
        (held, list("PartialObjectMetadataList", "meta.k8s.io/v1")),
    ]);
    let ran = release(&fixture, &["--namespace", "edge,nope"], &[]);
    ran.fails(
        2,
        "there is no namespace nope in this cluster, and nothing was let go of",
    );
    let ran = release(&fixture, &["--namespace", "edge"], &[]);
    assert!(
        ran.succeeds()
            .stdout
            .contains("there was nothing to let go of"),
        "{ran:?}"
    );
}

#[test]
fn who_lacks_a_right_is_told_which_and_what_gives_it() {
    let forbidden = "statefulsets.apps is forbidden: User \"alice\" cannot list resource \"statefulsets\" in API group \"apps\" at the cluster scope";
    let fixture = with(vec![(SETS, (403, status(403, "Forbidden", forbidden)))]);
    let ran = release(&fixture, &ALL, &[]);
    ran.fails(1, "user alice may not list statefulsets.apps in the whole cluster: a ClusterRoleBinding has to give that right");
    ran.fails(1, "or say with --system-namespace where it was");
    assert!(!ran.stderr.contains("deploy/rbac.yaml"), "{ran:?}");

    let fixture = with(vec![(
        SETS,
        (401, status(401, "Unauthorized", "Unauthorized")),
    )]);
    let ran = release(&fixture, &ALL, &[]);
    ran.fails(1, "does not accept the credentials")
        .fails(1, "log in again");
    assert!(!ran.stderr.contains("--system-namespace"), "{ran:?}");
}

/// kube panics at one that is none, and waits for ever.
#[test]
fn a_server_that_is_no_url_is_refused_with_what_it_has_to_be() {
    let fixture = Fixture::new();
    for server in ["127.0.0.1:6443", "notaurl", "https://", "/x"] {
        fixture.write("config", &kubeconfig(server, &json!({})));
        let ran = release(&fixture, &ALL, &[]);
        let said = format!(
            "the kubeconfig config does not say where the API server of its current context is: `server` of its cluster \"it\" is {server:?}"
        );
        ran.fails(2, &said).fails(2, "https://HOST:6443");
    }
}

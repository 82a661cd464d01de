//! What Helm and kubectl make of the chart and the kustomization, as objects.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::cluster::{Ground, run, said, variable};

/// For `helm template`, which asks no API server.
const KUBERNETES: &str = "1.36.3";

/// The absolute path of a file or folder of the source tree.
pub fn path(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// The text of a file of the source tree.
pub fn folder(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The objects of the chart, its CRD included.
pub fn chart(release: &str, namespace: &str, values: &[&str]) -> Vec<Value> {
    objects(template(release, namespace, values))
}

/// The same, with every value taken as text.
pub fn chart_of_text(release: &str, namespace: &str, values: &[&str]) -> Vec<Value> {
    let mut command = template(release, namespace, &[]);
    command.args(values.iter().flat_map(|value| ["--set-string", *value]));
    objects(command)
}

fn objects(command: Command) -> Vec<Value> {
    let output = run(command, "");
    assert!(output.status.success(), "{}", said(&output));
    documents(&String::from_utf8_lossy(&output.stdout))
}

/// What Helm says to values that the chart does not take.
pub fn chart_refuses(values: &[&str]) -> String {
    let output = run(template("jointoken", "default", values), "");
    assert!(!output.status.success(), "{values:?} were taken");
    said(&output)
}

fn template(release: &str, namespace: &str, values: &[&str]) -> Command {
    let mut command = Command::new(variable("JOINTOKEN_TEST_HELM"));
    command
        .args(["template", release, &path("charts/jointoken")])
        .args(["--include-crds", "--kube-version", KUBERNETES])
        .args(["--namespace", namespace])
        .args(values.iter().flat_map(|value| ["--set", *value]));
    command
}

/// Runs a Helm command on the cluster and returns what it printed.
pub fn helm(ground: &Ground, args: &[&str], values: &[&str]) -> String {
    let output = run_helm(ground, args, values);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

/// The same, for what must not succeed.
pub fn helm_refuses(ground: &Ground, args: &[&str], values: &[&str]) -> String {
    let output = run_helm(ground, args, values);
    assert!(!output.status.success(), "{args:?} {values:?} was done");
    said(&output)
}

fn run_helm(ground: &Ground, args: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new(variable("JOINTOKEN_TEST_HELM"));
    command
        .env("KUBECONFIG", variable("JOINTOKEN_TEST_KUBECONFIG"))
        .args(args)
        .args(["--namespace", &ground.namespace]);
    if args[0] != "uninstall" {
        command.arg(path("charts/jointoken"));
    }
    command.args(values.iter().flat_map(|value| ["--set", *value]));
    run(command, "")
}

/// The objects of `deploy/`.
pub fn kustomization() -> Vec<Value> {
    let mut command = Command::new(variable("JOINTOKEN_TEST_KUBECTL"));
    command.args(["kustomize", &path("deploy")]);
    let output = run(command, "");
    assert!(output.status.success(), "{}", said(&output));
    documents(&String::from_utf8_lossy(&output.stdout))
}

fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    documents.into_iter().filter(Value::is_object).collect()
}

/// The one object of that kind and name.
pub fn find(objects: &[Value], kind: &str, name: &str) -> Value {
    let mut found = of_kind(objects, kind).into_iter();
    let found = found.find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
}

/// All objects of that kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_kind = |object: &&Value| object["kind"] == kind;
    objects.iter().filter(is_kind).collect()
}

/// The same object for another namespace; what is cluster-wide gets a name of its own.
pub fn move_to(mut object: Value, from: &str, to: &str) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if kind.starts_with("ClusterRole") {
        object["metadata"]["name"] = format!("jointoken-{to}").into();
    }
    let text = object
        .to_string()
        .replace(&format!("\"{from}\""), &format!("\"{to}\""));
    serde_json::from_str(&text).expect("still JSON")
}

//! The real API server that `cargo xtask test` starts, and namespaces of a test's own on it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;

/// A namespace that one test works in.
pub struct Ground {
    pub client: Client,
    pub namespace: String,
}

impl Ground {
    /// A fresh namespace, named after the test.
    pub async fn new(test: &str) -> Self {
        let client = client().await;
        let namespace = json!({"metadata": {"generateName": format!("{test}-")}});
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        let namespace = created.expect("creating a namespace").name_any();
        Self { client, namespace }
    }

    /// Gives the namespace back. The cluster ends with the run, so that a test that fails before it
    /// comes here leaves nothing behind either.
    pub async fn remove(self) {
        let namespaces: Api<Namespace> = Api::all(self.client);
        let params = DeleteParams::default();
        let deleted = namespaces.delete(&self.namespace, &params).await;
        deleted.expect("deleting the namespace");
    }

    /// Runs kubectl in the namespace, with `input` on its standard input.
    pub fn kubectl(&self, args: &[&str], input: &str) -> Output {
        let mut command = Command::new(variable("JOINTOKEN_TEST_KUBECTL"));
        command
            .env("KUBECONFIG", variable("JOINTOKEN_TEST_KUBECONFIG"))
            .args(["--namespace", &self.namespace])
            .args(args);
        run(command, input)
    }
}

/// The administrator's client.
pub async fn client() -> Client {
    let path = PathBuf::from(variable("JOINTOKEN_TEST_KUBECONFIG"));
    let kubeconfig = Kubeconfig::read_from(path).expect("reading the cluster's kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

/// What `cargo xtask test` sets.
///
/// # Panics
///
/// Without it: a test that could not run must not look like one that passed.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set, this test needs a Kubernetes API: run `cargo xtask test`")
    })
}

/// Runs a program to its end, with `input` on its standard input.
pub fn run(mut command: Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("starting the program");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // A program that ends without reading it is judged by what it says.
    let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("waiting for the program")
}

/// What a program said, for assertions.
pub fn said(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}{stderr}")
}

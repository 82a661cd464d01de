//! What is secret is not printed back, wherever it was given by mistake.

use crate::{Fixture, HOUR_MS, Ran, now_ms, run};

const PASSWORD: &str = "s3cret-pass";
/// The form of a key. A real one has the same, and it is not the key that counts here.
const KEY: &str = "jtk1_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYn";
const OPERATOR: [&str; 7] = [
    "operator",
    "--data-dir",
    "data",
    "--trust-domain",
    "edge.example",
    "--advertise-url",
    "https://a:1",
];

/// So much of a secret in the output is too much.
#[track_caller]
fn is_hidden(ran: &Ran, secrets: &[&str]) {
    assert_ne!(ran.code, 0, "{ran:?}");
    for secret in secrets {
        let part = &secret[..secret.len().min(16)];
        for output in [&ran.stdout, &ran.stderr] {
            assert!(!output.contains(part), "{ran:?}");
        }
    }
}

#[test]
fn a_secret_in_the_place_of_an_argument_is_not_printed_back() {
    let fixture = Fixture::new();
    let token = fixture.token(now_ms(), HOUR_MS);
    fixture.write("file", "");
    let url = format!("https://user:{PASSWORD}@a:1");
    let create = ["create", "--key-file", "edge.key", "--node", "edge-1"];
    for secret in [&token, KEY, &url] {
        let in_url = format!("https://{secret}");
        let in_folder = format!("file/{secret}");
        for command in [
            vec!["join", "--timeout", "1s", "--ca-file", secret],
            vec!["join", "--timeout", "1s", "--out", &in_folder],
            vec!["join", "--timeout", "1s", "--url", &in_url],
            vec!["join", "--timeout", "1s", "--url", secret],
            vec!["join", "--timeout", "1s", "--proxy", secret],
            vec!["join", "--timeout", secret],
            [&create[..], &["--url", &in_url]].concat(),
            [&create[..], &["--url", secret]].concat(),
            [&create[..], &["--out", &in_folder]].concat(),
            vec!["create", "--node", secret],
            [&OPERATOR[..], &["--kubeconfig", secret]].concat(),
            [&OPERATOR[..], &["--class", secret]].concat(),
            [
                &OPERATOR[..],
                &["--peers", secret, "--peer-address", secret],
            ]
            .concat(),
            [&OPERATOR[..5], &["--advertise-url", secret]].concat(),
            [&OPERATOR[..5], &["--advertise-url", &in_url]].concat(),
            vec!["serve", "--config", secret],
            vec!["serve", "--log", secret],
            vec!["store", "snapshot", "inspect", secret],
            vec!["store", "recover", secret, "--data-dir", "data"],
            vec!["store", "members", "--admin-socket", secret],
            vec!["key", "list", "--admin-socket", secret],
            vec!["inspect", "--token-file", secret],
            vec!["finalizers", "release", "--namespace", secret],
            vec!["version", secret],
            vec![secret],
        ] {
            for form in ["text", "json"] {
                let all = [&command[..], &["--output", form]].concat();
                let environment = [("JOINTOKEN_TOKEN", &*token), ("KUBECONFIG", "gone")];
                let ran = run(fixture.folder.path(), &all, "", &environment);
                is_hidden(&ran, &[&token, KEY, PASSWORD]);
                if form == "json" && ran.stderr.lines().count() == 1 {
                    let _: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
                }
            }
        }
    }
    let ran = fixture.run(&["join", "--ca-file", &token]);
    ran.fails(2, "cannot use (a token) as the door's CA");
    let ran = fixture.run(&["store", "snapshot", "inspect", KEY]);
    ran.fails(2, "(a key)");
}

#[test]
fn a_secret_in_the_configuration_is_not_printed_back() {
    let fixture = Fixture::new();
    let token = fixture.token(now_ms(), HOUR_MS);
    let url = format!("https://user:{PASSWORD}@a:1");
    for secret in [&token, KEY, &url] {
        for line in [
            format!("{secret}: 1"),
            format!("maxTokenTtl: {secret}"),
            format!("listen: {secret}"),
            format!("limits: {{\"{secret}\": 1}}"),
            format!("limits: {{proxyProtocolFrom: [\"{secret}\"]}}"),
            format!("peers: {{address: \"{secret}\", members: [\"{secret}\"]}}"),
            format!("bareNames: {{\"{secret}\": x}}"),
            format!("bareNames: {{x: \"{secret}\"}}"),
            format!("nodedb: {{secretFile: \"{secret}\", maxTtl: 30d}}"),
            secret.to_owned(),
        ] {
            for head in [
                "dataDir: data\ntrustDomain: e\nadvertiseUrls: [\"https://a\"]".to_owned(),
                format!("dataDir: data\ntrustDomain: e\nadvertiseUrls: [\"{secret}\"]"),
                format!("dataDir: data\ntrustDomain: \"{secret}\"\nadvertiseUrls: [\"https://a\"]"),
            ] {
                fixture.write("serve.yaml", &format!("{head}\n{line}"));
                let ran = fixture.run(&["serve", "--config", "serve.yaml"]);
                is_hidden(&ran, &[&token, KEY, PASSWORD]);
            }
        }
    }
}

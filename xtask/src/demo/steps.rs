//! The story that the demo plays: one token's life, and the ways in which others end.

use super::story::Step;

/// The chapters in order, each with its title. `first` is the name of the JoinToken in `deploy/samples/jointoken.yaml`.
pub fn chapters(first: &str, openssl: bool) -> [(&'static str, Vec<Step>); 7] {
    [
        ("A token", issue(first)),
        ("A machine joins", admit(first, openssl)),
        ("Somebody else has the token too", contest(first)),
        ("Given to the wrong person", revoke()),
        ("Deleted while it is live", delete()),
        ("Used, deleted, applied again", adopt(first)),
        ("Never used", expire()),
    ]
}

/// The shell command that takes a token out of its Secret. A file, not a variable: tokens don't belong in argv.
fn take_token(name: &str) -> String {
    format!(
        "kubectl get secret {name}-join-token -o jsonpath='{{.data.token}}' | base64 -d > {name}.token && wc -c {name}.token"
    )
}

fn wait_for_phase(name: &str, phase: &str, seconds: u32) -> String {
    format!(
        "kubectl wait --for=jsonpath='{{.status.phase}}'={phase} jointoken/{name} --timeout={seconds}s"
    )
}

fn issue(first: &str) -> Vec<Step> {
    vec![
        Step::new(
            "Ask for a token, as for anything in Kubernetes",
            "kubectl apply -f deploy/samples/jointoken.yaml",
        )
        .shows("created"),
        Step::new("Three more, for later", "kubectl apply -f more.yaml")
            .shows("jointoken.jointoken.io/short-lived created"),
        Step::new(
            "The operator registers them in its store and fills their Secrets",
            "kubectl wait --for=condition=Ready jointokens --all --timeout=30s",
        )
        .shows(format!("{first} condition met"))
        .shows("abandoned condition met"),
        Step::new("All of them at a glance", "kubectl get jointokens -o wide").shows("Issued"),
        Step::new("Take the first token out of its Secret", take_token(first)),
        Step::new(
            "What does it say? Nothing secret is shown",
            format!("jointoken inspect --token-file {first}.token"),
        )
        .shows(first),
    ]
}

fn admit(first: &str, openssl: bool) -> Vec<Step> {
    let mut steps = vec![
        Step::new(
            "A machine joins: it makes its key itself and gets a certificate",
            format!("jointoken join --token-file {first}.token --out machine-1"),
        ),
        Step::new("What it has now", "ls -l machine-1")
            .shows("ca.crt")
            .shows("tls.crt")
            .shows("-rw-------"),
    ];
    if openssl {
        steps.push(
            Step::new(
                "Does the certificate verify?",
                "openssl verify -CAfile machine-1/ca.crt machine-1/tls.crt",
            )
            .shows("machine-1/tls.crt: OK"),
        );
    }
    steps.extend([
        Step::new("The status says so", wait_for_phase(first, "Consumed", 30)).shows("condition met"),
        Step::new("Who joined, from where, when", format!("kubectl get jointoken {first} -o jsonpath='{{.status.joiner}}{{\"\\n\"}}{{.status.consumedAt}}{{\"\\n\"}}'"))
            .shows("publicKeySha256")
            .shows("127.0.0.1"),
    ]);
    steps
}

fn contest(first: &str) -> Vec<Step> {
    vec![
        Step::new(
            "A second machine with the same token is refused",
            format!("jointoken join --token-file {first}.token --out machine-2"),
        )
        .exits(5),
        Step::new(
            "and it shows: a token that was stolen does not stay unnoticed",
            format!("kubectl wait --for=condition=Contested jointoken/{first} --timeout=30s"),
        )
        .shows("condition met"),
    ]
}

fn revoke() -> Vec<Step> {
    let revoke = r#"kubectl patch jointoken regretted --type=merge -p '{"spec":{"revoked":true}}'"#;
    vec![
        Step::new("Another token", take_token("regretted")),
        Step::new("Revoke it", revoke).shows("patched"),
        Step::new(
            "Revoked at once",
            wait_for_phase("regretted", "Aborted", 30),
        )
        .shows("condition met"),
        Step::new(
            "Whoever holds it is refused",
            "jointoken join --token-file regretted.token --out machine-3",
        )
        .exits(8),
    ]
}

fn delete() -> Vec<Step> {
    vec![
        Step::new("A third token", take_token("abandoned")),
        Step::new(
            "Deleting waits until the store has aborted it",
            "kubectl delete jointoken abandoned --timeout=30s",
        )
        .shows("deleted"),
        Step::new(
            "So its token is dead too",
            "jointoken join --token-file abandoned.token --out machine-4",
        )
        .exits(8),
    ]
}

fn adopt(first: &str) -> Vec<Step> {
    vec![
        Step::new("A used one is deleted", format!("kubectl delete jointoken {first} --timeout=30s")).shows("deleted"),
        Step::new("and comes back, as with GitOps or a restored backup", "kubectl apply -f deploy/samples/jointoken.yaml").shows("created"),
        Step::new("It adopts its record", format!("kubectl wait --for=condition=Adopted jointoken/{first} --timeout=30s")).shows("condition met"),
        Step::new("No new token was minted, and it says what to do for one", format!("kubectl get jointoken {first} -o jsonpath='{{.status.phase}}{{\"\\n\"}}{{.status.conditions[?(@.type==\"Adopted\")].message}}{{\"\\n\"}}'"))
            .shows("Consumed")
            .shows("revision"),
    ]
}

fn expire() -> Vec<Step> {
    vec![
        Step::new("Meanwhile the one-minute token", take_token("short-lived")),
        Step::new(
            "is left unused until its time is over",
            wait_for_phase("short-lived", "Expired", 90),
        )
        .shows("condition met"),
        Step::new(
            "and admits nobody any more",
            "jointoken join --token-file short-lived.token --out machine-5",
        )
        .exits(4),
        Step::new("How they all ended", "kubectl get jointokens -o wide")
            .shows("Consumed")
            .shows("Aborted")
            .shows("Expired"),
    ]
}

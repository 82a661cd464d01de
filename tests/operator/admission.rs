//! A JoinToken from `kubectl apply` to the machine that it admitted.

use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use crate::cluster::said;
use crate::place::Place;
use crate::program::{Machine, id_of, openssl, text};

#[tokio::test]
async fn a_token_admits_one_machine_and_says_so() {
    let place = Place::new("admission").await;
    let operator = place.start();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/jointoken.yaml");
    let applied = place.tokens.kubectl(&["apply", "-f", sample], "");
    assert!(said(&applied).contains("created"), "{}", said(&applied));
    let ready = [
        "wait",
        "--for=condition=Ready",
        "jointoken/edge-1",
        "--timeout=60s",
    ];
    let waited = place.tokens.kubectl(&ready, "");
    assert!(said(&waited).contains("condition met"), "{}", said(&waited));

    let issued = place
        .wait_for_phase("edge-1", "Issued")
        .await
        .status
        .unwrap();
    let token = place.token("edge-1").await;
    assert_eq!(issued.token_id, Some(id_of(&token)));

    let before = seconds();
    let machine = Machine::new();
    let joined = machine.join(&token).ok();
    assert!(
        joined
            .stdout
            .starts_with("edge-1 joined (prod.example, token ")
    );
    is_a_good_bundle(&place, &machine);

    let consumed = place.wait_for_phase("edge-1", "Consumed").await;
    let status = consumed.status.unwrap();
    let at = status.consumed_at.expect("a time").0.as_second();
    assert!((before..=seconds()).contains(&at), "{before} {at}");
    let joiner = status.joiner.unwrap();
    assert_eq!(joiner.node_name.as_deref(), Some("edge-1"));
    assert_eq!(joiner.address.as_deref(), Some("127.0.0.1"));
    assert_eq!(joiner.public_key_sha256, Some(key_hash(&machine)));
    assert_eq!(status.attempts, Some(1));
    assert_eq!(
        (status.issued_at, status.token_id),
        (issued.issued_at, issued.token_id)
    );
    place
        .wait_for("edge-1", "Succeeded", "True", "Consumed")
        .await;
    place
        .wait_for("edge-1", "Usable", "False", "Consumed")
        .await;
    assert!(
        place.secret("edge-1").await.is_none(),
        "it is scrubbed first"
    );

    let second = Machine::new();
    second
        .join(&token)
        .fails(5, &["the token has been used", "ask for a new one"]);
    assert!(!second.out().join("tls.crt").exists());
    let contested = place
        .wait_for("edge-1", "Contested", "True", "UsedByAnotherKey")
        .await;
    assert!(contested.contains("set spec.revoked"), "{contested}");
    place
        .wait_for_events("edge-1", &["Issued", "Admitted", "Contested"])
        .await;

    // The machine that has joined may run the same command again.
    assert!(
        machine
            .join(&token)
            .ok()
            .stdout
            .contains("has joined already")
    );
    let (status, _) = operator.terminate();
    assert!(status.success());
    place.remove().await;
}

/// Key, certificate and CA, as another program sees them.
fn is_a_good_bundle(place: &Place, machine: &Machine) {
    let out = machine.out();
    let path = |name: &str| text(&out.join(name)).to_owned();
    let mode = out.join("tls.key").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let verified = openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &path("ca.crt"),
        &path("tls.crt"),
    ]);
    assert!(verified.ends_with("tls.crt: OK\n"), "{verified}");
    let of_key = openssl(&["pkey", "-in", &path("tls.key"), "-pubout"]);
    let of_certificate = openssl(&["x509", "-in", &path("tls.crt"), "-noout", "-pubkey"]);
    assert_eq!(of_key, of_certificate);
    let names = openssl(&[
        "x509",
        "-in",
        &path("tls.crt"),
        "-noout",
        "-ext",
        "subjectAltName",
    ]);
    let own = format!("DNS:edge-1.{}.", place.tokens.namespace);
    assert!(
        names.contains(&own) && names.contains("prod.example"),
        "{names}"
    );
    assert!(!names.contains("DNS:edge-1,"), "{names}");
}

/// SHA-256 of the machine's public key, by openssl.
fn key_hash(machine: &Machine) -> String {
    let der = machine.out().join("public.der");
    let key = machine.out().join("tls.key");
    openssl(&[
        "pkey",
        "-in",
        text(&key),
        "-pubout",
        "-outform",
        "DER",
        "-out",
        text(&der),
    ]);
    let hash = openssl(&["dgst", "-sha256", "-r", text(&der)]);
    hash.split(' ').next().unwrap().to_owned()
}

fn seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

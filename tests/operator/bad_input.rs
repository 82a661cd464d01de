//! What is wrong is said in one line or field, changes nothing and burns no token: here what reaches the API
//! server and the door's port. Tokens are in `tokens` and `offline`, folders in `folders` and `full_disk`,
//! keys in `keys`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jointoken::pki::JoinerKey;
use serde_json::json;

use crate::cluster::said;
use crate::place::Place;
use crate::program::{Machine, openssl, text};
use crate::raw_joiner::RawJoiner;
use crate::standalone::{Standalone, create};

#[tokio::test]
async fn a_manifest_that_breaks_a_rule_changes_nothing() {
    let place = Place::new("manifests").await;
    let operator = place.start();
    let token = place.issue("edge-1", json!({"ttlSeconds": 900})).await;
    let before = place.wait_for_phase("edge-1", "Issued").await;
    let apply = |name: &str, spec: serde_json::Value| {
        let manifest = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": {"name": name}, "spec": spec,
        });
        let applied = place
            .tokens
            .kubectl(&["apply", "-f", "-"], &manifest.to_string());
        assert!(!applied.status.success(), "{}", said(&applied));
        said(&applied)
    };
    for (spec, says) in [
        (json!({"ttlSeconds": 5}), "spec.ttlSeconds"),
        (json!({"ttlSeconds": 604_801}), "spec.ttlSeconds"),
        (json!({"nodeName": "Edge_1"}), "spec.nodeName"),
        (json!({"revision": 0}), "spec.revision"),
        (
            json!({"admission": {"sourceCIDRs": ["10.0.0.0/33"]}}),
            "sourceCIDRs",
        ),
        (
            json!({"admission": {"publicKeySha256": "abc"}}),
            "publicKeySha256",
        ),
        (json!({"ttl": "1h"}), "ttl"),
    ] {
        let answer = apply("edge-2", spec);
        assert!(answer.contains(says), "{says}: {answer}");
    }
    // The frozen ones, one by one; and what to do is said.
    for (spec, says) in [
        (json!({"ttlSeconds": 901}), "ttlSeconds"),
        (json!({"ttlSeconds": 900, "nodeName": "other"}), "nodeName"),
        (
            json!({"ttlSeconds": 900, "secretName": "other-join-token"}),
            "secretName",
        ),
        (
            json!({"ttlSeconds": 900, "admission": {"maxClaims": 3}}),
            "admission",
        ),
    ] {
        let answer = apply("edge-1", spec);
        assert!(
            answer.contains(says) && answer.contains("spec.revision"),
            "{says}: {answer}"
        );
    }
    assert!(place.resources().get_opt("edge-2").await.unwrap().is_none());
    let after = place.resources().get("edge-1").await.unwrap();
    assert_eq!(after.spec, before.spec);
    assert_eq!(after.status, before.status);
    Machine::new().join(&token).ok();
    assert!(operator.terminate().0.success());
    place.remove().await;
}

/// The memory of a process, in KiB, at its highest.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_refused_and_costs_nothing() {
    let place = Standalone::new();
    let server = place.setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-7");
    let before = peak_memory(server.pid());
    for chunked in [false, true] {
        let joiner = RawJoiner::new(&token, JoinerKey::generate().unwrap(), place.door_port);
        let started = Instant::now();
        let (answer, sent) = joiner.flood(1 << 30, chunked).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("body_too_large"), "{answer}");
        assert!(sent < 64 << 20, "{sent} bytes were taken");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    let grown = peak_memory(server.pid()) - before;
    assert!(grown < 32 << 10, "{grown} KiB more");
    Machine::new().join(&token).ok();
    assert!(server.terminate().0.success());
}

#[test]
fn garbage_on_the_tls_port_is_hung_up_on() {
    let place = Standalone::new();
    let server = place.setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-7");
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: door\r\n\r\n".to_vec(),
        vec![0; 100_000],
        (0..=255).cycle().take(100_000).collect(),
        // A TLS record that says that it is longer than any.
        vec![0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
    ] {
        let mut tcp = TcpStream::connect(("127.0.0.1", place.door_port)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // It may hang up before it has taken everything.
        let _ = tcp.write_all(&garbage);
        let mut answer = Vec::new();
        match tcp.read_to_end(&mut answer) {
            // At most a TLS alert.
            Ok(_) => assert!(answer.len() < 64 && !answer.starts_with(b"HTTP")),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    let (code, _) = server.get("/readyz").unwrap();
    assert_eq!(code, 200);
    Machine::new().join(&token).ok();
    assert!(!server.log().contains("panicked"));
    assert!(server.terminate().0.success());
}

/// Somebody has a certificate of the door's own CA, for the very address, and it is not the door's.
#[test]
fn a_door_without_the_doors_uri_gets_no_token() {
    let place = Standalone::new();
    let server = place.setup().start();
    let token = create(&place.export("edge-*", "1h"), "edge-7");
    let ca = place.data().join("keys/door-ca");
    let file = |name: &str| text(&place.path(name)).to_owned();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=door",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "extendedKeyUsage=serverAuth",
        "-CA",
        text(&ca.join("tls.crt")),
        "-CAkey",
        text(&ca.join("tls.key")),
        "-keyout",
        &file("rogue.key"),
        "-out",
        &file("rogue.crt"),
    ]);
    let port = crate::port::reserve();
    let mut rogue = std::process::Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-quiet",
            "-tls1_3",
        ])
        .args(["-key", &file("rogue.key"), "-cert", &file("rogue.crt")])
        .args(["-cert_chain", text(&ca.join("tls.crt"))])
        .stdin(std::process::Stdio::piped())
        .stdout(std::fs::File::create(place.path("heard")).unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(crate::server::wait_until(|| {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    }));
    let machine = Machine::new();
    let url = format!("https://127.0.0.1:{port}");
    machine.join_with(&token, &["--url", &url]).fails(
        6,
        &["jointoken://edge.example/door", "the token was not sent"],
    );
    rogue.kill().unwrap();
    rogue.wait().unwrap();
    assert_eq!(std::fs::read(place.path("heard")).unwrap(), b"");
    assert!(!machine.out().join("tls.crt").exists());
    machine.join(&token).ok();
    assert!(server.terminate().0.success());
}

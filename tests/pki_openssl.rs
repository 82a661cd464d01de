//! What the pki room makes and refuses, judged by the real `openssl`.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use jointoken::pki::{
    Authority, CaRole, CsrError, DoorIdentity, JoinerCsr, JoinerKey, KeyError, KeyKind,
    MemberIdentity, NodeName, TrustDomain, certificate_pem, door_uri, issue_member,
    spki_sha256_of_cert, verify::DoorVerifier,
};

/// 2026-09-21T14:13:20Z
const NOW: u64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;
const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";

struct Bench {
    folder: tempfile::TempDir,
    domain: TrustDomain,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            domain: TrustDomain::parse("prod.example.com").unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs openssl in the folder: whether it succeeded, and all that it said.
    fn openssl(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("openssl is needed to run this test: install it");
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    fn must(&self, arguments: &[&str]) -> String {
        let (ok, said) = self.openssl(arguments);
        assert!(ok, "openssl {arguments:?}: {said}");
        said
    }

    fn ca(&self, role: CaRole) -> Authority {
        Authority::generate(role, &self.domain, NOW).unwrap()
    }

    fn identity(&self, namespace: &str, node: &str) -> MemberIdentity {
        let node = NodeName::parse(node).unwrap();
        MemberIdentity::resource(&self.domain, namespace, &node, TOKEN, false).unwrap()
    }

    /// A key of this kind and a request that asks for `extra` (more `openssl req` arguments).
    fn request(&self, key: &[&str], extra: &[&str]) -> Vec<u8> {
        let mut generate = vec!["genpkey", "-out", "key.pem"];
        generate.extend(key);
        self.must(&generate);
        let mut request = vec!["req", "-new", "-key", "key.pem", "-out", "csr.pem"];
        request.extend(extra);
        if !extra.contains(&"-subj") {
            request.extend(["-subj", "/CN=whoever"]);
        }
        self.must(&request);
        fs::read(self.path("csr.pem")).unwrap()
    }

    /// What `openssl x509 -text` says of a certificate in DER.
    fn text(&self, der: &[u8]) -> String {
        self.write("shown.pem", &certificate_pem(der));
        self.must(&["x509", "-in", "shown.pem", "-noout", "-text"])
    }

    /// `openssl verify` at `now_ms` against one CA, for one purpose.
    fn verifies(&self, leaf: &[u8], ca: &Authority, purpose: &str, now_ms: u64) -> (bool, String) {
        self.write("ca.crt", &ca.cert_pem());
        self.write("leaf.crt", &certificate_pem(leaf));
        let at = (now_ms / 1000).to_string();
        self.openssl(&[
            "verify",
            "-x509_strict",
            "-check_ss_sig",
            "-attime",
            &at,
            "-purpose",
            purpose,
            "-CAfile",
            "ca.crt",
            "leaf.crt",
        ])
    }
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];
const RSA1024: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
const RSA2047: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2047"];
const RSA2048: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const RSA4096: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"];

#[test]
fn every_ca_is_one_to_openssl() {
    let bench = Bench::new();
    for role in CaRole::ALL {
        let ca = bench.ca(role);
        let (ok, said) = bench.verifies(ca.cert_der(), &ca, "any", NOW);
        assert!(ok, "{said}");
        let text = bench.text(ca.cert_der());
        for part in [
            &format!("Subject: CN = jointoken {role} CA "),
            "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
            &format!("URI:jointoken://prod.example.com/ca/{role}"),
            "Not Before: Sep 21 14:08:20 2026 GMT",
            "Not After : Sep 18 14:13:20 2036 GMT",
            "ASN1 OID: prime256v1",
        ] {
            assert!(text.contains(part), "{part:?} not in {text}");
        }
    }
}

#[test]
fn a_ca_and_its_key_come_back_from_what_openssl_writes() {
    let bench = Bench::new();
    let ca = bench.ca(CaRole::Members);
    bench.write("ca.key", &ca.key_pem());
    for form in ["pkcs8", "ec"] {
        let to = match form {
            "pkcs8" => vec![
                "pkcs8",
                "-topk8",
                "-nocrypt",
                "-in",
                "ca.key",
                "-out",
                "again.key",
            ],
            _ => vec!["ec", "-in", "ca.key", "-out", "again.key"],
        };
        bench.must(&to);
        let key = fs::read_to_string(bench.path("again.key")).unwrap();
        let again = Authority::from_pem(&ca.cert_pem(), &key).unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint());
        // Written out again it is still a key to openssl.
        bench.write("third.key", &again.key_pem());
        bench.must(&["pkey", "-in", "third.key", "-noout", "-check"]);
    }
}

#[test]
fn a_ca_made_with_openssl_can_be_brought_along() {
    let bench = Bench::new();
    let uri = "subjectAltName=URI:jointoken://prod.example.com/ca/members";
    for (kind, key) in [("P-384", P384), ("RSA", RSA2048)] {
        let mut generate = vec!["genpkey", "-out", "my.key"];
        generate.extend(key);
        bench.must(&generate);
        bench.must(&[
            "req",
            "-x509",
            "-key",
            "my.key",
            "-out",
            "my.crt",
            "-days",
            "36500",
            "-subj",
            "/O=Example/CN=My members",
            "-addext",
            uri,
            "-addext",
            "basicConstraints=critical,CA:TRUE,pathlen:0",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
        let ca = Authority::from_pem(&read("my.crt"), &read("my.key")).unwrap();
        assert_eq!(ca.role(), CaRole::Members, "{kind}");
        // openssl dates it from the real now, so the member is issued half a century later.
        let then = ca.not_after_ms() / 2 + NOW / 2;
        let csr = JoinerCsr::parse(&bench.request(P256, &[])).unwrap();
        let member = issue_member(&ca, &bench.identity("edge", "n1"), &csr, then, DAY).unwrap();
        let (ok, said) = bench.verifies(&member, &ca, "sslclient", then);
        assert!(ok, "{kind}: {said}");
    }
}

#[test]
fn the_door_is_a_tls_server_to_openssl_and_no_client() {
    let bench = Bench::new();
    let ca = bench.ca(CaRole::Door);
    let names = ["jointoken.jointoken.svc".to_owned()];
    let addresses = [IpAddr::from([127, 0, 0, 1])];
    let door = DoorIdentity::issue(&ca, &bench.domain, &names, &addresses, NOW, DAY).unwrap();
    let (ok, said) = bench.verifies(&door.chain()[0], &ca, "sslserver", NOW);
    assert!(ok, "{said}");
    assert!(!bench.verifies(&door.chain()[0], &ca, "sslclient", NOW).0);
    assert!(
        !bench
            .verifies(&door.chain()[0], &ca, "sslserver", NOW + 2 * DAY)
            .0
    );
    let text = bench.text(&door.chain()[0]);
    for part in [
        "URI:jointoken://prod.example.com/door, DNS:jointoken.jointoken.svc, IP Address:127.0.0.1",
        "CA:FALSE",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n",
    ] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
}

#[test]
fn members_of_every_admitted_kind_of_key_verify() {
    let bench = Bench::new();
    let ca = bench.ca(CaRole::Members);
    let others = [bench.ca(CaRole::Door), bench.ca(CaRole::Peers)];
    for (kind, arguments, extra) in [
        (KeyKind::P256, P256, &["-sha256"][..]),
        (KeyKind::P256, P256, &["-sha512"]),
        (KeyKind::P384, P384, &["-sha256"]),
        (KeyKind::P384, P384, &["-sha384"]),
        (KeyKind::Ed25519, ED25519, &[]),
        (KeyKind::Rsa, RSA2048, &["-sha256"]),
        (KeyKind::Rsa, RSA4096, &["-sha512"]),
        (KeyKind::P256, P256, &["-outform", "DER"]),
    ] {
        let csr = JoinerCsr::parse(&bench.request(arguments, extra)).unwrap();
        assert_eq!(csr.key_kind(), kind);
        // The same key through the joiner's own side.
        let pem = fs::read_to_string(bench.path("key.pem")).unwrap();
        let joiner = JoinerKey::from_pem(&pem).unwrap();
        assert_eq!(joiner.public_key_sha256(), csr.public_key_sha256());

        let member = issue_member(&ca, &bench.identity("edge", "n1"), &csr, NOW, DAY).unwrap();
        assert_eq!(spki_sha256_of_cert(&member), Ok(csr.public_key_sha256()));
        for purpose in ["sslclient", "sslserver"] {
            let (ok, said) = bench.verifies(&member, &ca, purpose, NOW);
            assert!(ok, "{kind:?} {extra:?}: {said}");
            for other in &others {
                assert!(!bench.verifies(&member, other, purpose, NOW).0);
            }
        }
        for off in [NOW - 301_000, NOW + DAY + 1_000] {
            assert!(!bench.verifies(&member, &ca, "sslclient", off).0);
        }
        let text = bench.text(&member);
        for part in [
            "Subject: CN = n1.edge.prod.example.com\n",
            "DNS:n1.edge.prod.example.com, URI:jointoken://prod.example.com/ns/edge/node/n1, \
             URI:jointoken://prod.example.com/admission/000102030405060708090a0b0c0d0e0f\n",
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "TLS Web Client Authentication, TLS Web Server Authentication\n",
            "X509v3 Authority Key Identifier",
            "X509v3 Subject Key Identifier",
            "Not Before: Sep 21 14:08:20 2026 GMT",
            "Not After : Sep 22 14:13:20 2026 GMT",
        ] {
            assert!(text.contains(part), "{part:?} not in {text}");
        }
    }
}

#[test]
fn an_offline_member_and_one_with_long_names_verify() {
    let bench = Bench::new();
    let ca = bench.ca(CaRole::Members);
    let csr = JoinerCsr::parse(&bench.request(ED25519, &[])).unwrap();
    let node = NodeName::parse("n1").unwrap();
    let offline = MemberIdentity::offline(&bench.domain, "00c0ffee", &node, TOKEN).unwrap();
    let member = issue_member(&ca, &offline, &csr, NOW, DAY).unwrap();
    let (ok, said) = bench.verifies(&member, &ca, "sslserver", NOW);
    assert!(ok, "{said}");
    let text = bench.text(&member);
    assert!(text.contains("DNS:n1.00c0ffee.offline.prod.example.com, URI:jointoken://prod.example.com/offline/00c0ffee/node/n1, "), "{text}");

    let long = bench.identity(&"n".repeat(63), &"x".repeat(63));
    let member = issue_member(&ca, &long, &csr, NOW, DAY).unwrap();
    let (ok, said) = bench.verifies(&member, &ca, "sslclient", NOW);
    assert!(ok, "{said}");
    let text = bench.text(&member);
    assert!(text.contains("Subject: \n"), "{text}");
    assert!(
        text.contains("X509v3 Subject Alternative Name: critical"),
        "{text}"
    );
}

#[test]
fn keys_that_are_not_admitted_are_refused() {
    let bench = Bench::new();
    let refusal =
        |key: &[&str], extra: &[&str]| JoinerCsr::parse(&bench.request(key, extra)).unwrap_err();
    assert_eq!(
        refusal(RSA1024, &[]),
        CsrError::Key(KeyError::RsaSize { bits: 1024 })
    );
    assert_eq!(
        refusal(RSA2047, &[]),
        CsrError::Key(KeyError::RsaSize { bits: 2047 })
    );
    assert_eq!(refusal(P521, &[]), CsrError::Key(KeyError::Kind));
    assert_eq!(
        refusal(&["-algorithm", "ED448"], &[]),
        CsrError::Key(KeyError::Kind)
    );
    let pss = ["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
    assert_eq!(refusal(&pss, &[]), CsrError::Key(KeyError::Kind));
    let explicit = [
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-pkeyopt",
        "ec_param_enc:explicit",
    ];
    assert_eq!(refusal(&explicit, &[]), CsrError::Key(KeyError::Kind));
    // The same key as an uncompressed one, but it would have another SHA-256.
    bench.request(P256, &[]);
    bench.must(&[
        "ec",
        "-in",
        "key.pem",
        "-conv_form",
        "compressed",
        "-out",
        "short.pem",
    ]);
    bench.must(&[
        "req",
        "-new",
        "-key",
        "short.pem",
        "-subj",
        "/CN=x",
        "-out",
        "short.csr",
    ]);
    let compressed = fs::read(bench.path("short.csr")).unwrap();
    assert_eq!(
        JoinerCsr::parse(&compressed),
        Err(CsrError::Key(KeyError::Malformed))
    );
    assert_eq!(refusal(RSA2048, &["-sha1"]), CsrError::SignatureAlgorithm);
    assert_eq!(refusal(P256, &["-sha1"]), CsrError::SignatureAlgorithm);
}

#[test]
fn a_broken_signature_is_refused_as_openssl_does() {
    let bench = Bench::new();
    let mut der = bench.request(P256, &["-outform", "DER"]);
    assert!(JoinerCsr::parse(&der).is_ok());
    let name = der.windows(7).position(|w| w == b"whoever").unwrap();
    der[name] = b'W';
    fs::write(bench.path("broken.der"), &der).unwrap();
    let (_, said) = bench.openssl(&[
        "req",
        "-inform",
        "DER",
        "-in",
        "broken.der",
        "-verify",
        "-noout",
    ]);
    assert!(said.contains("verify failure"), "{said}");
    assert_eq!(JoinerCsr::parse(&der), Err(CsrError::Signature));
}

/// A request asks for the door's identity, for another namespace's names, to be a CA, and for
/// every usage there is.
fn greedy(bench: &Bench) -> JoinerCsr {
    let sans = "subjectAltName=URI:jointoken://prod.example.com/door,\
                DNS:victim.other.prod.example.com,DNS:*.prod.example.com,IP:10.0.0.1,\
                URI:jointoken://prod.example.com/ns/other/node/victim";
    let request = bench.request(
        P256,
        &[
            "-subj",
            "/CN=door/O=system:masters",
            "-addext",
            sans,
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=keyCertSign,cRLSign",
            "-addext",
            "extendedKeyUsage=codeSigning,anyExtendedKeyUsage",
        ],
    );
    let asked = bench.must(&["req", "-in", "csr.pem", "-noout", "-text"]);
    assert!(asked.contains("jointoken://prod.example.com/door") && asked.contains("CA:TRUE"));
    JoinerCsr::parse(&request).unwrap()
}

#[test]
fn a_greedy_request_gets_the_same_certificate_as_a_modest_one() {
    let bench = Bench::new();
    let ca = bench.ca(CaRole::Members);
    let csr = greedy(&bench);
    let key = fs::read_to_string(bench.path("key.pem")).unwrap();
    let modest = JoinerKey::from_pem(&key).unwrap().csr_pem().unwrap();
    let modest = JoinerCsr::parse(modest.as_bytes()).unwrap();
    let issue = |csr: &JoinerCsr| {
        let der = issue_member(&ca, &bench.identity("edge", "n1"), csr, NOW, DAY).unwrap();
        (bench.text(&der), der)
    };
    let ((greedy, der), (modest, _)) = (issue(&csr), issue(&modest));
    // All but the serial, which is drawn, and the signature below the extensions.
    let contents = |text: &str| {
        let lines = text.lines().take_while(|l| !l.contains("Signature Value"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        let serial = lines
            .iter()
            .position(|l| l.contains("Serial Number"))
            .unwrap();
        [&lines[..serial], &lines[serial + 2..]].concat()
    };
    assert_eq!(contents(&greedy), contents(&modest));
    for part in [
        "door",
        "victim",
        "other",
        "CA:TRUE",
        "masters",
        "Code Signing",
        "10.0.0.1",
    ] {
        assert!(!greedy.contains(part), "{part} in {greedy}");
    }
    for host in ["victim.other.prod.example.com", "x.prod.example.com", "n1"] {
        bench.write("leaf.crt", &certificate_pem(&der));
        let said = bench.must(&["x509", "-in", "leaf.crt", "-noout", "-checkhost", host]);
        assert!(said.contains("does NOT match"), "{said}");
    }
}

#[test]
fn a_member_that_asked_to_be_the_door_is_refused_by_joiners() {
    let bench = Bench::new();
    let (members, door) = (bench.ca(CaRole::Members), bench.ca(CaRole::Door));
    let csr = greedy(&bench);
    let identity = bench.identity("door", "door");
    assert!(!identity.uris().contains(&door_uri(&bench.domain)));
    let member = issue_member(&members, &identity, &csr, NOW, DAY).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let chain = [
        members.cert_der().to_vec().into(),
        door.cert_der().to_vec().into(),
    ];
    for pin in [door.spki_pin(), members.spki_pin()] {
        let verifier = DoorVerifier::new(pin, None, &provider);
        let refusal = verifier
            .check(&member.clone().into(), &chain, NOW)
            .unwrap_err();
        assert!(!refusal.is_dates_only(), "{refusal}");
    }
}

#[test]
fn another_ca_key_is_told_from_the_real_one() {
    let bench = Bench::new();
    let (real, other) = (bench.ca(CaRole::Members), bench.ca(CaRole::Members));
    let csr = JoinerCsr::parse(&bench.request(P256, &[])).unwrap();
    let member = issue_member(&real, &bench.identity("edge", "n1"), &csr, NOW, DAY).unwrap();
    assert!(bench.verifies(&member, &real, "sslclient", NOW).0);
    assert!(!bench.verifies(&member, &other, "sslclient", NOW).0);
    // Both are trusted during a rotation.
    bench.write(
        "ca.crt",
        &format!("{}{}", other.cert_pem(), real.cert_pem()),
    );
    let at = (NOW / 1000).to_string();
    let folder: &Path = bench.folder.path();
    assert!(folder.join("leaf.crt").exists());
    bench.must(&["verify", "-attime", &at, "-CAfile", "ca.crt", "leaf.crt"]);
}

//! The port of the replicas: whoever is none of them gets nothing from it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use jointoken::bootstrap::tls_provider;
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::pki::{Authority, CaRole, PeerIdentity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::group::Group;
use crate::program::Machine;

/// Trusts whatever it is shown.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What the replica says first to somebody who shows this: nothing, to whom it does not let in.
fn hears(port: u16, shows: Option<Arc<CertifiedKey>>) -> Vec<u8> {
    let provider = Arc::new(CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768],
        ..default_provider()
    });
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(shown) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    // A pulse with nonsense in it: length, version, number, payload.
    let _ = stream.write_all(&[5, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
    let mut heard = [0; 13];
    match stream.read_exact(&mut heard) {
        Ok(()) => heard.into(),
        Err(error) => {
            let timed_out = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
            assert!(!timed_out.contains(&error.kind()), "it was kept waiting");
            Vec::new()
        }
    }
}

fn peer_of(ca: &Authority, domain: &str, address: &str) -> Arc<CertifiedKey> {
    let domain = domain.parse().unwrap();
    let now_ms = SystemClock.now_ms();
    let identity = PeerIdentity::issue(ca, &domain, address, now_ms, 3_600_000);
    identity.unwrap().certified_key()
}

/// What a machine was admitted with.
fn member(machine: &Machine) -> Arc<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(machine.file("tls.crt").as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(machine.file("tls.key").as_bytes()).unwrap();
    Arc::new(CertifiedKey::from_der(chain, key, &tls_provider()).unwrap())
}

#[test]
fn whoever_is_no_replica_is_not_let_in() {
    let mut group = Group::of_three();
    let token = group.minter(0).token();
    let machine = Machine::new();
    machine.join(&token).ok();
    let before = group.node_ids(0);
    let now_ms = SystemClock.now_ms();
    let domain = "edge.example".parse().unwrap();
    let address = group.peer_address(1);
    let another = Authority::generate(CaRole::Peers, &domain, now_ms).unwrap();
    let elsewhere = "edge.test".parse().unwrap();
    let elsewhere = Authority::generate(CaRole::Peers, &elsewhere, now_ms).unwrap();
    for replica in 0..3 {
        let port = group.ports[replica].peers;
        for (who, shows) in [
            ("nobody", None),
            ("a member", Some(member(&machine))),
            (
                "another CA's",
                Some(peer_of(&another, "edge.example", &address)),
            ),
            (
                "another domain's",
                Some(peer_of(&elsewhere, "edge.test", &address)),
            ),
        ] {
            assert_eq!(hears(port, shows), b"", "{who} was let in");
        }
        for garbage in [
            b"GET / HTTP/1.1\r\nHost: peer\r\n\r\n".to_vec(),
            vec![0; 100_000],
            // A TLS record that says that it is longer than any.
            vec![0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
        ] {
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // It may hang up before it has taken everything.
            let _ = tcp.write_all(&garbage);
            let mut answer = Vec::new();
            match tcp.read_to_end(&mut answer) {
                // At most a TLS alert.
                Ok(_) => assert!(answer.len() < 64, "{answer:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
        }
    }
    // Who has the CA's key is let in, so it was for the certificates; and nonsense from such a one does no harm.
    let ca = group.keys().join("peers-ca");
    let [certificate, key] =
        ["tls.crt", "tls.key"].map(|name| fs::read_to_string(ca.join(name)).unwrap());
    let ca = Authority::from_pem(&certificate, &key).unwrap();
    let shown = peer_of(&ca, "edge.example", &address);
    assert_eq!(hears(group.ports[0].peers, Some(shown))[4], 1);

    group.until_whole();
    let after = group.node_ids(0);
    assert_eq!(after, before);
    for replica in 0..3 {
        assert!(!group.server(replica).log().contains("panicked"));
    }
    Machine::new().join(&token).fails(5, &["used"]);
    group.terminate_all();
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let mut group = Group::of_three();
    let minter = group.minter(0);
    let silent: Vec<_> = (0..3)
        .flat_map(|replica| {
            let port = group.ports[replica].peers;
            (0..100).map(move |_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        })
        .collect();
    // The others find their way past them when they have to connect anew.
    let leader = group.leader();
    group.kill(leader);
    Machine::new().join(&minter.token()).ok();
    group.start(leader);
    group.until_whole();
    drop(silent);
    group.terminate_all();
}

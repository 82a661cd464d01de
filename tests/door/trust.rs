//! The token leaves the machine only towards the right door, and only with the clock right.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jointoken::clock::ManualClock;
use jointoken::joiner::{JoinError, JoinFailure, join, pin_of_ca_pem};
use jointoken::pki::{
    Authority, CaRole, JoinerCsr, JoinerKey, MemberIdentity, NodeName, issue_member,
};
use jointoken::token::mint_nodedb;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::caller::new_key;
use crate::rogue::Rogue;
use crate::world::{
    DAY, HOUR, MINUTE, SECOND, START, Token, World, domain, eventually, identity, soon,
};

/// Joins against a server that is not the door; says how that failed. No byte of the token
/// arrived, although the server was reached.
async fn join_at(world: &World, token: &Token, rogue: &Rogue) -> JoinError {
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.urls = vec![format!("https://{}", rogue.address).parse().unwrap()];
    let error = join(joining).await.unwrap_err();
    let heard = rogue.heard();
    assert!(heard.connections >= 1);
    assert_eq!(heard.bytes, b"", "{error}");
    assert_eq!(world.record(token).attempts, 0);
    assert!(!folder.path().join("tls.crt").exists());
    assert_eq!(error.to_string().lines().count(), 1);
    error
}

#[tokio::test]
async fn another_ca_is_not_trusted() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let other = Authority::generate(CaRole::Door, &domain(), START).unwrap();
    let door = identity(&other, START);
    let rogue = Rogue::with(door.chain().to_vec(), door.private_key()).await;
    let error = join_at(&world, &token, &rogue).await;
    assert_eq!(error.kind(), JoinFailure::DoorNotTrusted, "{error}");
    assert!(error.to_string().contains("the token was not sent"));

    // Showing the pinned certificate beside its own does not help it.
    let mut chain = door.chain().to_vec();
    chain.push(world.door_ca.cert_der().to_vec().into());
    let rogue = Rogue::with(chain, door.private_key()).await;
    let error = join_at(&world, &token, &rogue).await;
    assert_eq!(error.kind(), JoinFailure::DoorNotTrusted, "{error}");
}

#[tokio::test]
async fn a_certificate_of_the_right_ca_without_the_doors_uri_is_not_trusted() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["door.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let ca_pair = KeyPair::from_pem(&world.door_ca.key_pem()).unwrap();
    let ca_der = world.door_ca.cert_der().to_vec().into();
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca_der, ca_pair).unwrap();
    let leaf = params.signed_by(&pair, &issuer).unwrap();
    let key = JoinerKey::from_pem(&pair.serialize_pem()).unwrap();
    let chain = vec![leaf.der().clone(), ca_der];
    let rogue = Rogue::with(chain, key.private_key()).await;
    let error = join_at(&world, &token, &rogue).await;
    assert_eq!(error.kind(), JoinFailure::DoorNotTrusted, "{error}");
    assert!(
        error
            .to_string()
            .contains("jointoken://prod.example.com/door")
    );
}

#[tokio::test]
async fn a_member_that_poses_as_the_door_is_not_trusted() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let key = new_key();
    let csr = JoinerCsr::parse(key.csr_pem().unwrap().as_bytes()).unwrap();
    let node = NodeName::parse("door").unwrap();
    let id = token.id.to_string();
    let member = MemberIdentity::resource(&domain(), "door", &node, &id, true).unwrap();
    let leaf = issue_member(&world.members, &member, &csr, START, DAY).unwrap();
    for cas in [
        vec![world.members.cert_der()],
        vec![world.door_ca.cert_der()],
        vec![world.members.cert_der(), world.door_ca.cert_der()],
    ] {
        let mut chain = vec![leaf.clone().into()];
        chain.extend(cas.iter().map(|der| der.to_vec().into()));
        let rogue = Rogue::with(chain, key.private_key()).await;
        let error = join_at(&world, &token, &rogue).await;
        assert_eq!(error.kind(), JoinFailure::DoorNotTrusted, "{error}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_found_before_the_token_is_sent() {
    // The door's certificate begins five minutes before the world does and ends after thirty
    // days: one clock is caught by `Date`, the others by the dates of the certificate alone.
    for (here, message) in [
        (
            START + 6 * MINUTE,
            "it is 6 minutes 0 seconds ahead (at most 5 minutes",
        ),
        (START + 3 * HOUR, "the clock here says 2026-09-21T17:13:20Z"),
        (
            START - 6 * MINUTE,
            "here it is 2026-09-21T14:07:20Z): check the clock",
        ),
        (START + 400 * DAY, "check the clock"),
        (0, "check the clock"),
    ] {
        let world = World::open().await;
        let token = world.plain_token().await;
        let folder = TempDir::new().unwrap();
        let mut joining = world.joining(&token.text, folder.path());
        joining.clock = Arc::new(ManualClock::new(here));
        joining.timeout = Duration::from_secs(1);
        let began = Instant::now();
        let error = join(joining).await.unwrap_err();
        // Somebody might have set the clock.
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(error.kind(), JoinFailure::TryAgain, "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains("the token was not sent"));
        assert!(world.observer.answered().is_empty(), "it was sent");
    }
}

/// A machine without a battery for its clock begins in 1970, and learns the time seconds later. It used to give up at once.
#[tokio::test]
async fn a_clock_that_is_set_late_is_waited_for() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    let clock = ManualClock::new(8_000);
    joining.clock = Arc::new(clock.clone());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    joining.waiting = Box::new(move |line| tells.lock().unwrap().push(line.to_owned()));
    let joined = tokio::spawn(join(joining));
    eventually("the word that it waits", || {
        told.lock().unwrap().first().cloned()
    })
    .await;
    // More than one round.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.observer.answered().is_empty(), "it was sent");
    clock.set(START);
    soon(joined).await.unwrap().unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    for says in [
        "here it is 1970-01-01T00:00:08Z",
        "valid from 2026-",
        "at most 15 s",
    ] {
        assert!(told[0].contains(says), "{told:?}");
    }
}

/// Whatever else listens at the port ends it with a sentence, not with a name out of a library after two minutes.
#[tokio::test]
async fn what_speaks_no_tls_is_not_the_door() {
    let world = World::open().await;
    let token = world.plain_token().await;
    for (greeting, says) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
            "plain HTTP",
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak TLS"),
        // The alert "handshake failure".
        (b"\x15\x03\x03\x00\x02\x02\x28", "does not speak TLS 1.3"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut hello = [0; 5];
                let _ = tcp.read_exact(&mut hello).await;
                let _ = tcp.write_all(greeting).await;
                let mut rest = Vec::new();
                let _ = tcp.read_to_end(&mut rest).await;
            }
        });
        let folder = TempDir::new().unwrap();
        let mut joining = world.joining(&token.text, folder.path());
        joining.urls = vec![format!("https://{address}").parse().unwrap()];
        let began = Instant::now();
        let error = join(joining).await.unwrap_err();
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it was tried again"
        );
        assert_eq!(error.kind(), JoinFailure::DoorNotTrusted, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(says) && text.contains("the token was not sent"),
            "{text}"
        );
        for mark in ["Invalid", "ContentType", "HandshakeFailure"] {
            assert!(!text.contains(mark), "{text}");
        }
        serving.abort();
    }
}

#[tokio::test]
async fn a_clock_that_is_off_a_little_is_fine() {
    for here in [START + 4 * MINUTE, START - 4 * MINUTE] {
        let world = World::open().await;
        let token = world.plain_token().await;
        let folder = TempDir::new().unwrap();
        let mut joining = world.joining(&token.text, folder.path());
        joining.clock = Arc::new(ManualClock::new(here));
        join(joining).await.unwrap();
    }
}

#[tokio::test]
async fn a_rogue_before_the_door_is_passed_over() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let other = Authority::generate(CaRole::Door, &domain(), START).unwrap();
    let door = identity(&other, START);
    let rogue = Rogue::with(door.chain().to_vec(), door.private_key()).await;
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.urls = vec![
        format!("https://{}", rogue.address).parse().unwrap(),
        world.url().parse().unwrap(),
    ];
    join(joining).await.unwrap();
    assert_eq!(rogue.heard().bytes, b"");
}

#[tokio::test]
async fn a_nodedb_token_needs_to_be_told_where_and_whom() {
    let world = World::open().await;
    let text = mint_nodedb(&world.keys.nodedb, 7, (START + HOUR) / SECOND).unwrap();
    let folder = TempDir::new().unwrap();

    let error = join(world.joining(&text, folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Usage);
    assert!(error.to_string().contains("--url"), "{error}");

    let mut joining = world.joining(&text, folder.path());
    joining.urls = vec![world.url().parse().unwrap()];
    let error = join(joining).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Usage);
    assert!(error.to_string().contains("--ca-file"), "{error}");

    let mut joining = world.joining(&text, folder.path());
    joining.urls = vec![world.url().parse().unwrap()];
    joining.pin = Some(pin_of_ca_pem(world.door_ca.cert_pem().as_bytes()).unwrap());
    let joined = join(joining).await.unwrap();
    assert_eq!(joined.info.node_name, "node-7");
}

#[tokio::test]
async fn a_pin_beside_the_token_must_be_the_tokens() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.pin = Some([7; 32]);
    let error = join(joining).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Usage);
    let mut joining = world.joining(&token.text, folder.path());
    joining.pin = Some(world.door_ca.spki_pin());
    join(joining).await.unwrap();
}

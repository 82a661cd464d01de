//! `jointoken join` as a machine runs it: files, retries, exit kinds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jointoken::bootstrap::Class;
use jointoken::joiner::{JoinError, JoinFailure, join};
use jointoken::lifecycle::command::{Abort, Bindings};
use jointoken::lifecycle::{Operation, Reason};
use jointoken::pki::{JoinerKey, certificate_pem};
use jointoken::store::{StoreError, submit};
use jointoken::token::JoinerId;
use tempfile::TempDir;

use crate::caller::{ask, new_key};
use crate::proxy::Proxy;
use crate::script::{Gate, Play, is_begin, is_consume};
use crate::world::{DAY, HOUR, MINUTE, Resource, World};

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

fn mode(folder: &Path, name: &str) -> u32 {
    let metadata = fs::metadata(folder.join(name)).unwrap();
    metadata.permissions().mode() & 0o777
}

fn key_in(folder: &Path) -> JoinerKey {
    JoinerKey::from_pem(&read(folder, "tls.key")).unwrap()
}

#[tokio::test]
async fn a_machine_joins_and_has_its_bundle() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("etc/jointoken");
    let joined = world.join(&token, &folder).await.unwrap();
    assert!(!joined.already);
    assert_eq!(joined.unacknowledged, None);
    assert_eq!(joined.info.token_id, token.id.to_string());
    assert_eq!(joined.info.node_name, "db-1");

    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["ca.crt", "csr.pem", "info.json", "tls.crt", "tls.key"]
    );
    assert_eq!(mode(&folder, "tls.key"), 0o600);
    assert_eq!(mode(&folder, "tls.crt"), 0o644);
    assert_eq!(read(&folder, "ca.crt"), world.members.cert_pem());
    let info: serde_json::Value = serde_json::from_str(&read(&folder, "info.json")).unwrap();
    assert_eq!(info["node_name"], "db-1");

    let record = world.record(&token);
    let admission = record.admission.unwrap();
    assert_eq!(
        admission.joiner,
        JoinerId(key_in(&folder).public_key_sha256())
    );
    // It was acknowledged.
    assert_eq!(admission.leaf, None);
    assert_eq!(
        world.observer.classes(),
        [Class::Admitted, Class::Acknowledged]
    );
}

#[tokio::test]
async fn openssl_accepts_what_a_machine_has() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    world.join(&token, folder.path()).await.unwrap();
    let verified = std::process::Command::new("openssl")
        .current_dir(folder.path())
        .args(["verify", "-attime"])
        .arg((crate::world::START / 1000).to_string())
        .args(["-purpose", "sslserver", "-CAfile", "ca.crt", "tls.crt"])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn a_finished_bundle_is_success_without_a_call() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let first = world.join(&token, folder.path()).await.unwrap();
    let files = |name| read(folder.path(), name);
    let (key, cert) = (files("tls.key"), files("tls.crt"));
    let answered = world.observer.answered().len();
    let again = world.join(&token, folder.path()).await.unwrap();
    assert!(again.already);
    assert_eq!(again.info, first.info);
    assert_eq!((files("tls.key"), files("tls.crt")), (key, cert));
    assert_eq!(world.observer.answered().len(), answered);

    // A certificate that has ended is no success; the door says what is the matter.
    world.clock.advance(2 * DAY);
    world.identity.send_replace(Arc::new(crate::world::identity(
        &world.door_ca,
        crate::world::START + 2 * DAY,
    )));
    let error = world.join(&token, folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Used, "{error}");
}

#[tokio::test]
async fn a_second_machine_is_told_that_the_token_was_used() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    world.join(&token, one.path()).await.unwrap();
    let error = world.join(&token, two.path()).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Used);
    assert!(error.to_string().contains("the token has been used"));
    assert!(world.record(&token).contested);
    assert!(!two.path().join("tls.crt").exists());
}

/// The reply to a committed admission is lost on the way. The machine asks again by itself, and
/// its key gets the very certificate that was committed.
#[tokio::test]
async fn a_lost_reply_is_had_again_by_asking_again() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let proxy = Proxy::to(world.address).await;
    let lose = proxy.lose_the_next_reply();
    let committed = Arc::new(Mutex::new(None));
    let commits = Arc::clone(&committed);
    world.store.play(move |operation| {
        if let Operation::Consume(consume) = operation {
            assert!(
                commits
                    .lock()
                    .unwrap()
                    .replace(consume.leaf.clone())
                    .is_none()
            );
            lose();
        }
        Play::Pass
    });
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.urls = vec![format!("https://{}", proxy.address).parse().unwrap()];
    let waited = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&waited);
    joining.waiting = Box::new(move |line| told.lock().unwrap().push(line.to_owned()));
    let joined = join(joining).await.unwrap();
    assert!(!joined.already);
    let committed = committed.lock().unwrap().take().unwrap();
    assert_eq!(read(folder.path(), "tls.crt"), certificate_pem(&committed));
    assert_eq!(world.record(&token).attempts, 1);
    assert!(!world.record(&token).contested);
    assert_eq!(waited.lock().unwrap().len(), 1, "{waited:?}");
    assert!(world.observer.classes().contains(&Class::Redelivered));

    // Another key with the same token gets nothing, and is seen.
    let error = world
        .join(&token, TempDir::new().unwrap().path())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Used);
    assert!(world.record(&token).contested);
}

#[tokio::test]
async fn a_machine_that_crashed_before_it_had_its_bundle_joins_with_the_key_it_has() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    // The key was written, the admission committed, and then the power failed.
    let key = new_key();
    fs::write(folder.path().join("tls.key"), key.to_pem().as_bytes()).unwrap();
    fs::write(folder.path().join(".tls.crt.new"), "half a cer").unwrap();
    let first = ask(&world, &token, &key).await.admission();
    let joined = world.join(&token, folder.path()).await.unwrap();
    assert!(!joined.already);
    assert_eq!(read(folder.path(), "tls.crt"), first.certificate);
    assert_eq!(
        key_in(folder.path()).public_key_sha256(),
        key.public_key_sha256()
    );
}

#[tokio::test]
async fn a_later_token_replaces_the_bundle_and_keeps_the_key() {
    let world = World::open().await;
    let (one, two) = (
        world.plain_token().await,
        world
            .token(Resource {
                name: "db-2",
                ..Resource::default()
            })
            .await,
    );
    let folder = TempDir::new().unwrap();
    world.join(&one, folder.path()).await.unwrap();
    let key = read(folder.path(), "tls.key");
    let joined = world.join(&two, folder.path()).await.unwrap();
    assert!(!joined.already);
    assert_eq!(joined.info.node_name, "db-2");
    assert_eq!(read(folder.path(), "tls.key"), key);
    assert!(crate::names::names(&read(folder.path(), "tls.crt"))[0].contains("db-2"));
}

#[tokio::test]
async fn what_is_temporary_is_waited_for() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let mut failures = vec![StoreError::NoLeader, StoreError::Unknown];
    world.store.play(move |operation| {
        match is_begin(operation).then(|| failures.pop()).flatten() {
            Some(error) => Play::Fail(error),
            None => Play::Pass,
        }
    });
    let folder = TempDir::new().unwrap();
    world.join(&token, folder.path()).await.unwrap();
    assert_eq!(
        world.observer.classes()[..3],
        [Class::TryAgain, Class::TryAgain, Class::Admitted]
    );
}

#[tokio::test]
async fn a_claim_in_the_way_is_waited_for() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let first = {
        let folder = TempDir::new().unwrap();
        let joining = world.joining(&token.text, folder.path());
        tokio::spawn(async move {
            let _folder = folder;
            join(joining).await
        })
    };
    gate.reached().await;
    // With no time to wait it is told to try again.
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.timeout = Duration::from_secs(2);
    let error = join(joining).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::TryAgain);
    assert!(matches!(error, JoinError::TimedOut { .. }), "{error}");
    gate.open();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_refusal_has_its_kind() {
    let world = World::open().await;
    let folder = TempDir::new().unwrap();
    let kind = |error: JoinError| (error.kind(), error.to_string().lines().count());
    let make = |name, ttl_ms, bindings| {
        world.token(Resource {
            name,
            ttl_ms,
            bindings,
            ..Resource::default()
        })
    };

    let expired = make("expired", MINUTE, Bindings::default()).await;
    world.clock.advance(2 * MINUTE);
    let error = world.join(&expired, folder.path()).await.unwrap_err();
    assert_eq!(kind(error), (JoinFailure::Expired, 1));

    let revoked = make("revoked", HOUR, Bindings::default()).await;
    let abort = Abort {
        token_id: revoked.id,
        reason: Reason::Revoked,
        keep_until_ms: None,
    };
    submit(&*world.store, abort).await.unwrap();
    let error = world.join(&revoked, folder.path()).await.unwrap_err();
    assert_eq!(kind(error), (JoinFailure::Refused, 1));

    let elsewhere = Bindings {
        source_cidrs: vec!["192.0.2.0/24".parse().unwrap()],
        joiner: None,
    };
    let bound = make("bound", HOUR, elsewhere).await;
    let error = world.join(&bound, folder.path()).await.unwrap_err();
    assert_eq!(kind(error), (JoinFailure::Refused, 1));

    let mut claims = world.offline_claims();
    claims.audience = jointoken::token::StoreId([3; 16]).audience();
    let foreign = world.offline_token(&claims);
    let error = world.join(&foreign, folder.path()).await.unwrap_err();
    assert_eq!(kind(error), (JoinFailure::InvalidToken, 1));
}

#[tokio::test]
async fn nobody_at_home_is_tried_until_the_time_is_over() {
    let mut world = World::open().await;
    let token = world.plain_token().await;
    world.close().await;
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.timeout = Duration::from_secs(3);
    let began = Instant::now();
    let error = join(joining).await.unwrap_err();
    // A pause that did not fit into what was left used to end it.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(error.kind(), JoinFailure::TryAgain);
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!(!error.to_string().contains("os error"), "{error}");
    // The key stays for the next time.
    assert_eq!(mode(folder.path(), "tls.key"), 0o600);
}

/// The moment at which it is over could not be computed, and that panicked.
#[tokio::test]
async fn who_has_all_the_time_of_the_world_may_say_so() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.timeout = Duration::MAX;
    join(joining).await.unwrap();
}

#[tokio::test]
async fn folders_are_made_as_far_as_they_are_missing() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let parent = TempDir::new().unwrap();
    let deep = parent.path().join("a/b/../c/d");
    world.join(&token, &deep).await.unwrap();
    assert_eq!(mode(&parent.path().join("a/c"), "d"), 0o755);
    // A file in the way is said to be one.
    let error = world
        .join(&token, &deep.join("tls.key/e"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Local, "{error}");
}

#[tokio::test]
async fn the_next_door_is_asked_when_one_is_closed() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.urls = vec![
        format!("https://{closed}").parse().unwrap(),
        world.url().parse().unwrap(),
    ];
    join(joining).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_cannot_be_acknowledged_is_a_warning() {
    let world = World::open().await;
    let token = world.plain_token().await;
    world.refuse_acknowledgements();
    let folder = TempDir::new().unwrap();
    let joined = world.join(&token, folder.path()).await.unwrap();
    let why = joined.unacknowledged.unwrap();
    assert!(why.contains("no leader"), "{why}");
    assert!(folder.path().join("info.json").exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_said_before_anybody_is_asked() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();

    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    let error = world.join(&token, &file).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Local, "{error}");

    // "Not found" is what it says, of a folder whose own is there.
    let error = world
        .join(&token, Path::new("/proc/a/b"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Local, "{error}");

    fs::write(folder.path().join("tls.key"), "no key at all").unwrap();
    let error = world.join(&token, folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Local, "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert!(!error.to_string().contains("no key at all"));
    assert!(world.observer.answered().is_empty());
}

#[tokio::test]
async fn two_joins_in_one_folder_do_not_mix() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let gate = Gate::new();
    world
        .store
        .play_once(is_consume, Play::Hold(Arc::clone(&gate)));
    let first = tokio::spawn(join(world.joining(&token.text, folder.path())));
    gate.reached().await;
    let error = world.join(&token, folder.path()).await.unwrap_err();
    assert!(matches!(error, JoinError::Busy(_)), "{error}");
    assert_eq!(error.kind(), JoinFailure::TryAgain);
    gate.open();
    first.await.unwrap().unwrap();
}

/// The disk fails between the admission and the bundle: nothing is lost but time.
#[tokio::test]
async fn a_bundle_that_could_not_be_written_is_had_again() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    // What is in the way cannot be removed as a file.
    let in_the_way = folder.path().join(".tls.crt.new");
    fs::create_dir(&in_the_way).unwrap();
    let error = world.join(&token, folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), JoinFailure::Local);
    for says in [
        "is admitted",
        "tls.crt",
        "Keep",
        "tls.key",
        "same command again",
    ] {
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(!folder.path().join("info.json").exists());
    let admission = world.record(&token).admission.unwrap();
    let leaf = admission.leaf.expect("kept, since nobody acknowledged it");

    fs::remove_dir(&in_the_way).unwrap();
    let joined = world.join(&token, folder.path()).await.unwrap();
    assert!(!joined.already);
    assert_eq!(read(folder.path(), "tls.crt"), certificate_pem(&leaf));
}

//! What a machine's folder holds when it is asked to join again: whole, damaged, or open to others.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::{Arc, Mutex};

use jointoken::joiner::{JoinError, JoinFailure, Joined, join};
use tempfile::TempDir;

use crate::caller::new_key;
use crate::script::Play;
use crate::world::{Resource, Token, World};

/// Joins, and says of what it was warned.
async fn warned(
    world: &World,
    token: &Token,
    folder: &Path,
) -> (Result<Joined, JoinError>, Vec<String>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    let mut joining = world.joining(&token.text, folder);
    joining.warning = Box::new(move |line| tells.lock().unwrap().push(line.to_owned()));
    let joined = join(joining).await;
    let told = told.lock().unwrap().clone();
    (joined, told)
}

/// It was told that somebody else had used the token.
#[tokio::test]
async fn the_certificate_tells_that_the_machine_has_joined() {
    let world = World::open().await;
    for offline in [false, true] {
        let token = match offline {
            true => world.offline_token(&world.offline_claims()),
            false => world.plain_token().await,
        };
        let folder = TempDir::new().unwrap();
        let info = folder.path().join("info.json");
        let first = world.join(&token, folder.path()).await.unwrap();
        let written = fs::read_to_string(&info).unwrap();
        let answered = world.observer.answered().len();
        for damaged in [
            None,
            Some(""),
            Some("{\"token_id\": 1}"),
            Some(&written[..40]),
        ] {
            match damaged {
                None => fs::remove_file(&info).unwrap(),
                Some(text) => fs::write(&info, text).unwrap(),
            }
            let (joined, told) = warned(&world, &token, folder.path()).await;
            let joined = joined.unwrap();
            assert!(joined.already);
            assert_eq!(joined.info, first.info);
            assert_eq!(fs::read_to_string(&info).unwrap(), written);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("info.json was missing or damaged"));
        }
        assert_eq!(world.observer.answered().len(), answered);
        assert!(!world.record(&token).contested);
    }
}

#[tokio::test]
async fn what_the_door_does_not_give_again_is_named() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    world.join(&token, folder.path()).await.unwrap();
    for name in ["tls.crt", "ca.crt"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        for damaged in [None, Some(&whole[..100])] {
            match damaged {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let error = world.join(&token, folder.path()).await.unwrap_err();
            assert_eq!(error.kind(), JoinFailure::Used, "{error}");
            let said = format!("{} of it is gone or damaged", path.display());
            assert!(error.to_string().contains(&said), "{error}");
        }
        fs::write(&path, whole).unwrap();
        assert!(world.join(&token, folder.path()).await.unwrap().already);
    }

    let key = new_key().to_pem();
    fs::write(folder.path().join("tls.key"), key.as_bytes()).unwrap();
    let error = world.join(&token, folder.path()).await.unwrap_err();
    assert!(matches!(error, JoinError::KeyReplaced { .. }), "{error}");
}

/// Nobody acknowledged it: the same key has it again.
#[tokio::test]
async fn a_lost_certificate_that_was_not_acknowledged_is_had_again() {
    let world = World::open().await;
    let token = world.plain_token().await;
    world.refuse_acknowledgements();
    let folder = TempDir::new().unwrap();
    world.join(&token, folder.path()).await.unwrap();
    world.store.play(|_| Play::Pass);
    let path = folder.path().join("tls.crt");
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!world.join(&token, folder.path()).await.unwrap().already);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

/// A new key was made, and key and certificate did not fit any more.
#[tokio::test]
async fn no_key_is_made_beside_a_certificate() {
    let world = World::open().await;
    let one = world.plain_token().await;
    let name = "db-2";
    let two = world
        .token(Resource {
            name,
            ..Resource::default()
        })
        .await;
    let folder = TempDir::new().unwrap();
    world.join(&one, folder.path()).await.unwrap();
    let answered = world.observer.answered().len();
    let key = folder.path().join("tls.key");
    fs::remove_file(&key).unwrap();
    for token in [&one, &two] {
        let error = world.join(token, folder.path()).await.unwrap_err();
        assert!(matches!(error, JoinError::LostKey(_)), "{error}");
        assert_eq!(error.kind(), JoinFailure::Local);
        assert!(error.to_string().contains("move tls.crt away"), "{error}");
        assert!(!key.exists());
    }
    assert_eq!(world.observer.answered().len(), answered);
    // As it says.
    let away = folder.path().join("tls.crt.old");
    fs::rename(folder.path().join("tls.crt"), away).unwrap();
    let joined = world.join(&two, folder.path()).await.unwrap();
    assert_eq!(joined.info.node_name, "db-2");
}

#[tokio::test]
async fn a_key_that_others_can_use_is_closed_or_refused() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("tls.key");
    world.join(&token, folder.path()).await.unwrap();
    let mode = || fs::metadata(&key).unwrap().mode() & 0o7777;
    let set = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    for (before, after) in [
        (0o644, 0o600),
        (0o604, 0o600),
        (0o660, 0o600),
        // A group that may read it was given it on purpose.
        (0o640, 0o640),
        (0o400, 0o400),
    ] {
        set(before);
        let (joined, told) = warned(&world, &token, folder.path()).await;
        assert!(joined.unwrap().already);
        assert_eq!(mode(), after);
        assert_eq!(told.len(), usize::from(before != after), "{told:?}");
        if before != after {
            assert!(
                told[0].contains(&format!("had mode 0{before:o}")),
                "{told:?}"
            );
        }
    }
    // Only root can give a file away.
    if fs::metadata(&key).unwrap().uid() == 0 {
        set(0o644);
        chown(&key, Some(1), None).unwrap();
        let error = world.join(&token, folder.path()).await.unwrap_err();
        assert!(
            matches!(error, JoinError::KeyIsOpen { owner: 1, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert_eq!(mode(), 0o644);
        set(0o600);
        assert!(world.join(&token, folder.path()).await.unwrap().already);
    }
}

//! A server that has the door's own certificate and answers like no door: the machine ends with one
//! clear line, in bounded time and memory, and its folder is as it was.

use std::time::Duration;

use jointoken::joiner::{JoinError, JoinFailure, join};
use tempfile::TempDir;

use crate::rogue::Rogue;
use crate::world::{Token, World, soon};

fn http(head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Joins there, with so much time.
async fn join_at(world: &World, token: &Token, rogue: &Rogue, time: Duration) -> JoinError {
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.urls = vec![format!("https://{}", rogue.address).parse().unwrap()];
    joining.timeout = time;
    let error = soon(join(joining)).await.unwrap_err();
    assert!(!rogue.heard().bytes.is_empty(), "{error}");
    for file in ["tls.crt", "ca.crt", "info.json"] {
        assert!(!folder.path().join(file).exists(), "{file}");
    }
    let said = error.to_string();
    assert!(said.lines().count() == 1 && said.len() < 2_000, "{said}");
    assert!(!said.chars().any(char::is_control), "{said:?}");
    error
}

/// The moment until which to wait was computed from what the door said, and that panicked.
#[tokio::test]
async fn a_door_that_says_to_wait_for_ever_is_not_waited_for() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let most = u64::MAX;
    let body = format!(r#"{{"code":"no_leader","message":"later","retry_after_seconds":{most}}}"#);
    for answer in [
        http("503 Service Unavailable", &body),
        http(&format!("429 Too Many Requests\r\nRetry-After: {most}"), ""),
    ] {
        let rogue = Rogue::with_the_doors_certificate(&world, answer, false).await;
        let error = join_at(&world, &token, &rogue, Duration::from_secs(3)).await;
        assert!(matches!(error, JoinError::TimedOut { .. }), "{error}");
        assert_eq!(error.kind(), JoinFailure::TryAgain);
    }
}

#[tokio::test]
async fn garbage_is_said_to_be_so_and_is_no_matter_of_trust() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let time = Duration::from_secs(15);
    for body in ["", "{}", "null", "\u{1b}[2J", "[1,2", "<html>"] {
        let rogue = Rogue::with_the_doors_certificate(&world, http("200 OK", body), false).await;
        let error = join_at(&world, &token, &rogue, time).await;
        assert!(matches!(error, JoinError::BadAnswer { .. }), "{error}");
        // Exit code 6 says that the token was not sent.
        assert_eq!(error.kind(), JoinFailure::BadAnswer);
    }
}

/// Whether the clocks agree has to be known before the token is sent.
#[tokio::test]
async fn a_door_that_does_not_tell_the_time_is_sent_no_token() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let rogue = Rogue::without_a_clock(&world).await;
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    joining.urls = vec![format!("https://{}", rogue.address).parse().unwrap()];
    let error = soon(join(joining)).await.unwrap_err();
    assert!(
        error.to_string().contains("does not tell the time"),
        "{error}"
    );
    assert!(rogue.heard().bytes.is_empty());
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let elsewhere = World::open().await;
    let head = format!(
        "307 Temporary Redirect\r\nLocation: {}/v1/join",
        elsewhere.url()
    );
    let rogue = Rogue::with_the_doors_certificate(&world, http(&head, ""), false).await;
    let error = join_at(&world, &token, &rogue, Duration::from_secs(15)).await;
    assert_eq!(error.kind(), JoinFailure::Refused, "{error}");
    assert!(error.to_string().contains("307"), "{error}");
    assert!(elsewhere.observer.answered().is_empty());
}

#[tokio::test]
async fn floods_are_cut_off() {
    let world = World::open().await;
    let token = world.plain_token().await;
    let megabyte = "x".repeat(1 << 20);
    let floods = [
        // A body without an end, with headers before it once.
        (format!("HTTP/1.1 200 OK\r\n\r\n{megabyte}"), true),
        // Headers without an end.
        (format!("HTTP/1.1 200 OK\r\nX: {megabyte}"), true),
        // Answers before the answer (RFC 9110 section 15.2).
        ("HTTP/1.1 103 Early Hints\r\n\r\n".to_owned(), true),
        // What is no HTTP.
        ("SSH-2.0-OpenSSH\r\n".to_owned(), false),
    ];
    for (answer, flood) in floods {
        let rogue = Rogue::with_the_doors_certificate(&world, answer, flood).await;
        let error = join_at(&world, &token, &rogue, Duration::from_secs(2)).await;
        assert_eq!(error.kind(), JoinFailure::TryAgain, "{error}");
    }
}

//! `jointoken join` through an HTTP proxy.

use std::process::Command;

use tempfile::TempDir;

use crate::connect_proxy::{ConnectProxy, Manner};
use crate::program::{Ran, command, finish, text, world};
use crate::world::{Token, World};

/// `user:s3cret` in base64.
const CREDENTIALS: &str = "Basic dXNlcjpzM2NyZXQ=";

/// Joins by this command in a folder of its own.
async fn join(token: Token, change: impl FnOnce(&mut Command)) -> Ran {
    let folder = TempDir::new().unwrap();
    let mut joining = command();
    joining.args(["--out", text(folder.path())]);
    change(&mut joining);
    let ran = finish(joining, token.text.expose()).await;
    for said in [&ran.stdout, &ran.stderr] {
        assert!(
            !said.contains("s3cret") && !said.contains("dXNlc"),
            "{ran:?}"
        );
    }
    assert_eq!(ran.code == Some(0), folder.path().join("tls.crt").exists());
    ran
}

fn token(world: &World) -> Token {
    world.offline_token(&world.offline_claims())
}

#[tokio::test]
async fn a_tunnel_leads_to_the_door() {
    let world = world().await;
    let proxy = ConnectProxy::new(Manner::Guarded(CREDENTIALS)).await;
    let url = format!("http://user:s3cret@{}", proxy.address);
    let head = format!(
        "CONNECT {door} HTTP/1.1\r\nHost: {door}\r\n",
        door = world.address
    );
    for (name, value) in [
        ("HTTPS_PROXY", url.as_str()),
        ("https_proxy", &url),
        ("ALL_PROXY", &url),
    ] {
        let before = proxy.requests().len();
        let ran = join(token(&world), |command| {
            command.env(name, value);
        });
        assert_eq!(ran.await.code, Some(0));
        let requests = proxy.requests().split_off(before);
        // One connection has it all: the clock, the token and the thanks.
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert!(requests[0].starts_with(&head), "{requests:?}");
    }
    let ran = join(token(&world), |command| {
        // Nothing listens there: the option goes before the environment.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        command.args(["--proxy", &url]);
    });
    assert_eq!(ran.await.code, Some(0));
    assert_eq!(proxy.requests().len(), 4);
}

#[tokio::test]
async fn no_proxy_names_what_is_reached_without_one() {
    let world = world().await;
    let proxy = ConnectProxy::new(Manner::Refuses(403)).await;
    let url = format!("http://{}", proxy.address);
    for excepted in ["*", "127.0.0.1", "example.com, 127.0.0.0/8"] {
        let ran = join(token(&world), |command| {
            command.env("https_proxy", &url).env("NO_PROXY", excepted);
        });
        assert_eq!(ran.await.code, Some(0), "{excepted}");
    }
    assert_eq!(proxy.requests(), Vec::<String>::new());
}

/// The proxy carries bytes, and the door behind it has to be the one that the token pins.
#[tokio::test]
async fn what_is_behind_the_tunnel_has_to_be_the_door() {
    let (world, other) = (world().await, world().await);
    let proxy = ConnectProxy::new(Manner::Open).await;
    let ran = join(token(&world), |command| {
        command.args(["--proxy", &format!("{}/", proxy.address)]);
        command.args(["--url", &other.url()]);
    });
    let ran = ran.await;
    ran.fails(6, "the token was not sent");
    let named = format!("(through the proxy http://{})", proxy.address);
    assert!(ran.stderr.contains(&named), "{ran:?}");
    assert_eq!(proxy.requests().len(), 1);
    assert!(other.observer.answered().is_empty());
}

#[tokio::test]
async fn a_proxy_that_leads_nowhere_is_named() {
    let world = world().await;
    for (manner, user, code, says) in [
        (Manner::Guarded(CREDENTIALS), "", 2, "asks who this is"),
        (Manner::Guarded("Basic x"), "user:s3cret@", 2, "status 407"),
        (Manner::Refuses(403), "", 8, "status 403"),
        (Manner::Refuses(502), "user:s3cret@", 7, "status 502"),
    ] {
        let proxy = ConnectProxy::new(manner).await;
        let ran = join(token(&world), |command| {
            let url = format!("http://{user}{}", proxy.address);
            command.env("HTTPS_PROXY", url).args(["--timeout", "1s"]);
        });
        let ran = ran.await;
        ran.fails(code, says);
        let named = format!("(through the proxy http://{})", proxy.address);
        assert!(ran.stderr.contains(&named), "{ran:?}");
    }
    let ran = join(token(&world), |command| {
        command.args(["--proxy", "http://127.0.0.1:1", "--timeout", "1s"]);
    });
    ran.await
        .fails(7, "the proxy is not reached: connection refused");
    for (name, value) in [
        ("HTTPS_PROXY", "socks5://user:s3cret@127.0.0.1:1"),
        ("ALL_PROXY", "http://user:s3cret@"),
    ] {
        let ran = join(token(&world), |command| {
            command.env(name, value);
        });
        ran.await.fails(2, &format!("{name} in the environment: "));
    }
    let ran = join(token(&world), |command| {
        command.args(["--proxy", "https://user:s3cret@127.0.0.1:1"]);
    });
    ran.await.fails(2, "--proxy: only HTTP proxies are known");
    assert!(world.observer.answered().is_empty());
}

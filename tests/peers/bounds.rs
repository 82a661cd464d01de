//! What one end may cost the other: memory, connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jointoken::store::{MAX_MESSAGE, PeerAddress, PeerService, Transport};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::raw;
use crate::world::{
    Answers, World, ask, ask_until_answered, echo, eventually, identity, nobody, not_sent, soon,
};

#[tokio::test]
async fn a_frame_that_is_too_long_or_not_understood_ends_the_connection() {
    let world = World::new();
    let server = world.serve(nobody()).await;
    let too_long = u32::try_from(MAX_MESSAGE).unwrap() + 1;
    for header in [
        raw::frame(too_long, 1, 1),
        raw::frame(u32::MAX, 1, 1),
        raw::frame(u32::MAX, 1, 0),
        raw::frame(0, 0, 1),
        raw::frame(0, 2, 1),
    ] {
        let mut tls = raw::peer(&world, &server).await;
        tls.write_all(&header).await.unwrap();
        tls.flush().await.unwrap();
        assert_eq!(raw::rest(&mut tls).await, b"");
    }
}

/// As a client: an answer that is too long, one that is not understood, and one to a question that nobody has asked.
#[tokio::test]
async fn a_server_that_does_not_keep_to_the_protocol_is_left() {
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = PeerAddress::new(&listener.local_addr().unwrap().to_string());
    let transport = world.transport();
    for (header, why) in [
        (raw::frame(u32::MAX, 1, 1), "longer than"),
        (raw::frame(0, 9, 1), "version 9"),
    ] {
        let saying = async {
            let shown = identity(&world.ca, to.as_str()).certified_key();
            let mut tls = raw::accept(&listener, shown).await.unwrap();
            let unasked = raw::frame(0, 1, 77);
            for frame in [raw::ALIVE, unasked, header] {
                tls.write_all(&frame).await.unwrap();
            }
            tls.flush().await.unwrap();
            tls
        };
        let asking = async {
            loop {
                let error = soon(transport.call(&to, vec![])).await.unwrap_err();
                if error.to_string().contains(why) {
                    return;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::join!(saying, soon(asking));
    }
}

/// Counts requests, and answers none before the gate is open.
fn gated() -> (impl PeerService, Arc<AtomicUsize>, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let service = Answers(move |_: &PeerAddress, _: Vec<u8>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let mut gate = gate.clone();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.unwrap();
            vec![]
        }) as BoxFuture<'static, Vec<u8>>
    });
    (service, begun, open)
}

/// What the kernels hold for one connection comes to some megabytes.
const KERNELS: usize = 32 << 20;

#[tokio::test]
async fn a_server_that_is_busy_holds_the_client_up() {
    let world = World::with(|limits| {
        limits.answers = 4;
        limits.waiting_bytes = 1 << 20;
    });
    let (service, begun, open) = gated();
    let server = world.serve(service).await;
    let transport = world.transport();
    let mut calls = Vec::new();
    let filling = async {
        loop {
            let mut call = transport.call(&server.address, vec![0; 64 * 1024]);
            match (&mut call).now_or_never() {
                None => calls.push(call),
                Some(result) => {
                    assert_eq!(not_sent(result), "too much waits to be sent to it");
                    // What has just been put there may not have left yet.
                    if begun.load(Ordering::SeqCst) == 4 {
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    };
    soon(filling).await;
    assert!(calls.len() * 64 * 1024 < (1 << 20) + KERNELS);
    assert_eq!(begun.load(Ordering::SeqCst), 4);
    open.send_replace(true);
    for call in calls {
        soon(call).await.unwrap();
    }
    ask_until_answered(&transport, &server.address).await;
}

/// Few, but long: the server reads no more of them than it may hold.
#[tokio::test]
async fn long_requests_are_counted_in_bytes() {
    let world = World::with(|limits| limits.waiting_bytes = 1 << 20);
    let (service, begun, _open) = gated();
    let server = world.serve(service).await;
    let mut tls = raw::peer(&world, &server).await;
    let request = vec![0; 300 * 1024];
    let writing = async {
        for id in 1.. {
            let length = u32::try_from(request.len()).unwrap();
            tls.write_all(&raw::frame(length, 1, id)).await.unwrap();
            tls.write_all(&request).await.unwrap();
        }
    };
    let begun = eventually("the requests", || {
        (begun.load(Ordering::SeqCst) == 4).then_some(Arc::clone(&begun))
    });
    tokio::select! {
        () = writing => panic!("it took everything"),
        _ = begun => (),
    }
}

/// It asks and asks and never reads: what it is told waits within bounds, and in the end it is hung up on.
#[tokio::test]
async fn a_client_that_does_not_read_costs_little_and_not_for_long() {
    let world = World::with(|limits| {
        limits.waiting_bytes = 1 << 20;
        limits.write = Duration::from_millis(300);
        limits.connections = 1;
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = world
        .serve(Answers(move |_: &PeerAddress, _: Vec<u8>| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { vec![0u8; 1 << 20] }) as BoxFuture<'static, Vec<u8>>
        }))
        .await;
    let mut tls = raw::peer(&world, &server).await;
    for id in 1..1_000 {
        tls.write_all(&raw::frame(0, 1, id)).await.unwrap();
    }
    tls.flush().await.unwrap();
    // The only place there is, is free again.
    let transport = world.transport();
    ask_until_answered(&transport, &server.address).await;
    assert!(asked.load(Ordering::SeqCst) << 20 < KERNELS);
}

#[tokio::test]
async fn no_more_peers_than_may_are_connected() {
    let world = World::with(|limits| limits.connections = 1);
    let server = world.serve(echo()).await;
    let (one, other) = (world.transport(), world.transport());
    ask(&one, &server.address, b"x").await.unwrap();
    not_sent(ask(&other, &server.address, b"x").await);
    ask(&one, &server.address, b"x").await.unwrap();
    drop(one);
    ask_until_answered(&other, &server.address).await;
}

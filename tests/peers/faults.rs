//! Peers that die, hang or fall over.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jointoken::peers::peer_address;
use jointoken::store::{PeerAddress, PeerService, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::raw;
use crate::world::{
    Answers, World, ask, ask_until_answered, echo, identity, no_answer, not_sent, soon,
};

type Answer = BoxFuture<'static, Vec<u8>>;

/// Tells of each request, and answers none.
fn hanging() -> (impl PeerService, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (tell, told) = mpsc::unbounded_channel();
    let service = Answers(move |_: &PeerAddress, request: Vec<u8>| {
        let _ = tell.send(request);
        Box::pin(std::future::pending()) as Answer
    });
    (service, told)
}

#[tokio::test]
async fn a_peer_that_dies_gives_no_answer_and_is_found_again() {
    let world = World::new();
    let (service, mut told) = hanging();
    let server = world.serve(service).await;
    let address = server.address.clone();
    let transport = world.transport();
    let call = transport.call(&address, vec![1]);
    soon(told.recv()).await.unwrap();
    server.stop().await;
    no_answer(soon(call).await);
    // At once while it rests, and when it has dialled in vain.
    for _ in 0..20 {
        not_sent(ask(&transport, &address, b"x").await);
    }
    let listener = TcpListener::bind(address.as_str()).await.unwrap();
    let _server = world.serve_as(listener, identity(&world.ca, address.as_str()), echo());
    ask_until_answered(&transport, &address).await;
}

#[tokio::test]
async fn a_dead_peer_is_not_dialled_for_every_call() {
    let world = World::with(|limits| limits.backoff = Duration::from_secs(600));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = peer_address(&listener.local_addr().unwrap().to_string()).unwrap();
    let transport = world.transport();
    let hang_up = async { drop(soon(listener.accept()).await.unwrap()) };
    let (why, ()) = tokio::join!(ask(&transport, &to, b"x"), hang_up);
    let why = not_sent(why);
    for _ in 0..100 {
        // It is told without a wait why that was.
        let again = transport.call(&to, vec![]).now_or_never().unwrap();
        assert_eq!(not_sent(again), why);
    }
    assert!(listener.accept().now_or_never().is_none(), "it was dialled");
}

/// A machine that vanished from the network, or a process that hangs.
#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up() {
    let world = World::with(|limits| limits.silence = Duration::from_millis(200));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let to = peer_address(&address).unwrap();
    let shown = identity(&world.ca, &address).certified_key();
    let transport = world.transport();
    let call = transport.call(&to, b"hello".to_vec());
    let mut tls = raw::accept(&listener, shown).await.unwrap();
    tls.write_all(&raw::ALIVE).await.unwrap();
    tls.flush().await.unwrap();
    assert!(no_answer(soon(call).await).contains("nothing was heard"));
}

/// Signs of life alone keep a connection, however long an answer takes.
#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let world = World::with(|limits| {
        limits.heartbeat = Duration::from_millis(20);
        limits.silence = Duration::from_millis(400);
    });
    let silence = world.limits.silence;
    let server = world
        .serve(Answers(move |_: &PeerAddress, request: Vec<u8>| {
            Box::pin(async move {
                tokio::time::sleep(2 * silence).await;
                request
            }) as Answer
        }))
        .await;
    let transport = world.transport();
    assert_eq!(ask(&transport, &server.address, b"x").await.unwrap(), b"x");
}

#[tokio::test]
async fn a_client_that_falls_silent_is_given_up() {
    let world = World::with(|limits| limits.silence = Duration::from_millis(200));
    let server = world.serve(echo()).await;
    let mut tls = raw::peer(&world, &server).await;
    // Nothing but signs of life, and then the end.
    let said = raw::rest(&mut tls).await;
    assert!(said.chunks(13).all(|frame| frame == raw::ALIVE));
}

#[tokio::test]
async fn half_open_connections_lose_their_place() {
    let world = World::with(|limits| limits.handshake = Duration::from_millis(200));
    let server = world.serve(echo()).await;
    let mut silent = TcpStream::connect(server.address.as_str()).await.unwrap();
    let mut said = Vec::new();
    let _ = soon(silent.read_to_end(&mut said)).await;
    assert_eq!(said, b"");
}

#[tokio::test]
async fn strangers_who_hold_all_places_make_room() {
    let world = World::with(|limits| {
        limits.handshakes = 3;
        limits.handshake = Duration::from_secs(600);
    });
    let server = world.serve(echo()).await;
    let mut crowd = Vec::new();
    for _ in 0..10 {
        crowd.push(TcpStream::connect(server.address.as_str()).await.unwrap());
    }
    let transport = world.transport();
    // Of one address with the crowd: there may be no room yet.
    ask_until_answered(&transport, &server.address).await;
    let mut said = Vec::new();
    let _ = soon(crowd[0].read_to_end(&mut said)).await;
    // Who is connected makes room for nobody.
    for _ in 0..10 {
        crowd.push(TcpStream::connect(server.address.as_str()).await.unwrap());
    }
    let _ = soon(crowd[16].read_to_end(&mut said)).await;
    ask(&transport, &server.address, b"x").await.unwrap();
}

#[tokio::test]
async fn a_panic_ends_one_connection_alone() {
    let world = World::new();
    let (hanging, mut told) = hanging();
    let server = world
        .serve(Answers(
            move |from: &PeerAddress, request: Vec<u8>| match request.as_slice() {
                b"panic at once" => panic!("as the test wants it"),
                b"panic later" => Box::pin(async move {
                    tokio::task::yield_now().await;
                    let answer = request.get(1_000).copied();
                    vec![answer.expect("a panic, as the test wants it")]
                }) as Answer,
                b"hang" => hanging.answer(from, request),
                _ => Box::pin(async { request }) as Answer,
            },
        ))
        .await;
    let (one, other) = (world.transport(), world.transport());
    let waiting = other.call(&server.address, b"hang".to_vec());
    soon(told.recv()).await.unwrap();
    for panic in [&b"panic at once"[..], b"panic later"] {
        ask_until_answered(&one, &server.address).await;
        no_answer(ask(&one, &server.address, panic).await);
    }
    ask_until_answered(&one, &server.address).await;
    ask(&other, &server.address, b"x").await.unwrap();
    assert!(waiting.now_or_never().is_none(), "it still waits");
}

#[tokio::test]
async fn calls_end_with_their_transport() {
    let world = World::new();
    let (service, mut told) = hanging();
    let server = world.serve(service).await;
    let transport = world.transport();
    let call = transport.call(&server.address, vec![1]);
    soon(told.recv()).await.unwrap();
    drop(transport);
    assert!(no_answer(soon(call).await).contains("stops"));
    server.stop().await;
}

//! Calls and their answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, join_all};
use jointoken::peers::peer_address;
use jointoken::store::{MAX_MESSAGE, PeerAddress, PeerService, Transport};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::world::{
    Answers, World, ask, ask_until_answered, echo, eventually, identity, no_answer, not_sent, soon,
};

#[tokio::test]
async fn a_call_has_its_answer_and_the_service_knows_who_asks() {
    let world = World::new();
    let server = world.serve(echo()).await;
    let transport = world.transport();
    let answer = ask(&transport, &server.address, b"hello").await.unwrap();
    assert_eq!(answer, b"client.test:7443 hello");
    let answer = ask(&transport, &server.address, b"").await.unwrap();
    assert_eq!(answer, b"client.test:7443 ");
}

#[tokio::test]
async fn a_host_name_is_looked_up() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let shown = identity(&world.ca, &address);
    let _server = world.serve_as(listener, shown, echo());
    let transport = world.transport();
    let address = peer_address(&address).unwrap();
    ask(&transport, &address, b"hello").await.unwrap();
}

/// Notes the order in which requests are begun, and answers none before the gate is open.
struct Noting {
    begun: Arc<Mutex<Vec<u64>>>,
    gate: watch::Receiver<bool>,
}

impl PeerService for Noting {
    fn answer(&self, _: &PeerAddress, request: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
        let (begun, mut gate) = (Arc::clone(&self.begun), self.gate.clone());
        Box::pin(async move {
            let number = u64::from_le_bytes(request[..8].try_into().unwrap());
            begun.lock().unwrap().push(number);
            gate.wait_for(|open| *open).await.unwrap();
            // Answers come in any order.
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            request
        })
    }
}

async fn ten_thousand_calls(answers: usize) {
    const CALLS: u64 = 10_000;
    let world = World::with(|limits| limits.answers = answers);
    let (open, gate) = watch::channel(false);
    let begun = Arc::new(Mutex::new(Vec::new()));
    let server = world
        .serve(Noting {
            begun: Arc::clone(&begun),
            gate,
        })
        .await;
    let transport = world.transport();
    // None of the futures is polled before all are made.
    let calls: Vec<_> = (0..CALLS)
        .map(|n| transport.call(&server.address, n.to_le_bytes().to_vec()))
        .collect();
    let at_once = usize::try_from(CALLS).unwrap().min(answers);
    eventually("the calls to be begun", || {
        (begun.lock().unwrap().len() == at_once).then_some(())
    })
    .await;
    open.send_replace(true);
    for (n, answer) in (0..).zip(soon(join_all(calls)).await) {
        assert_eq!(answer.unwrap(), u64::to_le_bytes(n));
    }
    let begun = begun.lock().unwrap();
    assert!(begun.iter().copied().eq(0..CALLS), "out of order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_in_flight_are_begun_in_order() {
    ten_thousand_calls(20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_are_when_the_server_takes_a_thousand_at_a_time() {
    ten_thousand_calls(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_answer_goes_beside_small_ones() {
    const BIG: usize = 10 << 20;
    let world = World::new();
    let small = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&small);
    let server = world
        .serve(Answers(move |_: &PeerAddress, request: Vec<u8>| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                if request == b"big" {
                    return (0..BIG).map(|n| (n % 251) as u8).collect();
                }
                counted.fetch_add(1, Ordering::SeqCst);
                request
            }) as BoxFuture<'static, Vec<u8>>
        }))
        .await;
    let transport = world.transport();
    let mut calls = Vec::new();
    for n in 0..200u8 {
        if n % 50 == 0 {
            calls.push((b"big".to_vec(), BIG));
        }
        calls.push((vec![n], 1));
    }
    let asked = calls
        .iter()
        .map(|(request, _)| transport.call(&server.address, request.clone()));
    let answers = soon(join_all(asked)).await;
    for ((request, length), answer) in calls.iter().zip(answers) {
        let answer = answer.unwrap();
        assert_eq!(answer.len(), *length);
        match *length {
            BIG => assert!(answer.iter().zip(0..).all(|(b, n)| *b == (n % 251) as u8)),
            _ => assert_eq!(answer, *request),
        }
    }
    assert_eq!(small.load(Ordering::SeqCst), 200);
}

#[tokio::test]
async fn the_longest_message_passes_and_a_longer_one_does_not() {
    let world = World::new();
    let server = world
        .serve(Answers(|_: &PeerAddress, mut request: Vec<u8>| {
            if request.first() == Some(&1) {
                request.push(0);
            }
            Box::pin(async move { request }) as BoxFuture<'static, Vec<u8>>
        }))
        .await;
    let transport = world.transport();
    let longest = ask(&transport, &server.address, &vec![0; MAX_MESSAGE]).await;
    assert_eq!(longest.unwrap().len(), MAX_MESSAGE);
    let longer = ask(&transport, &server.address, &vec![0; MAX_MESSAGE + 1]).await;
    assert!(not_sent(longer).contains("too long"));
    // A service that says too much ends the connection, and no more.
    let longer = ask(&transport, &server.address, &vec![1; MAX_MESSAGE]).await;
    no_answer(longer);
    ask_until_answered(&transport, &server.address).await;
}

/// The one who asked has gone; what was asked is done all the same.
#[tokio::test]
async fn a_request_is_on_its_way_although_nobody_waits() {
    let world = World::new();
    let done = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&done);
    let server = world
        .serve(Answers(move |_: &PeerAddress, _: Vec<u8>| {
            noted.store(true, Ordering::SeqCst);
            Box::pin(async { vec![] }) as BoxFuture<'static, Vec<u8>>
        }))
        .await;
    let transport = world.transport();
    drop(transport.call(&server.address, vec![1]));
    eventually("the request", || done.load(Ordering::SeqCst).then_some(())).await;
}

#[tokio::test]
async fn calls_to_one_peer_do_not_wait_for_another() {
    let world = World::new();
    let held = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&held);
    let slow = world
        .serve(Answers(move |_: &PeerAddress, request: Vec<u8>| {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                let _permit = gate.acquire().await;
                request
            }) as BoxFuture<'static, Vec<u8>>
        }))
        .await;
    let quick = world.serve(echo()).await;
    let transport = world.transport();
    let waiting = transport.call(&slow.address, vec![7]);
    ask(&transport, &quick.address, b"hello").await.unwrap();
    held.add_permits(1);
    assert_eq!(soon(waiting).await.unwrap(), [7]);
}

//! A rolling update, as the StatefulSet's controller does it: the highest ordinal first, each told to stop, started again and
//! waited for until it is ready. Here the tests are that controller, while machines join.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::place::Place;
use crate::program::Machine;
use crate::scaling::replicas_of;
use crate::server::{Server, Setup};
use crate::statuses::Statuses;

/// Machines that join at the same time.
const MACHINES: usize = 3;

/// Restarts one after the other; from when to when each was away.
fn roll(replicas: Vec<(Server, Setup)>) -> Vec<(Server, Instant, Instant)> {
    let restarted = replicas.into_iter().rev().map(|(server, setup)| {
        let from = Instant::now();
        let (status, _) = server.terminate();
        assert!(status.success(), "{status}");
        (setup.start(), from, Instant::now())
    });
    restarted.collect()
}

/// JoinTokens are created one after the other, and a machine joins with each, until the update is over and once more. Of each
/// its name, when it was admitted, and how long the machine took.
async fn join_on(
    place: &Place,
    who: usize,
    is_over: impl Fn() -> bool,
) -> Vec<(String, Instant, Duration)> {
    let mut admitted = Vec::new();
    loop {
        let is_last = is_over();
        let name = format!("m{who}-{}", admitted.len());
        let token = place.issue(&name, json!({})).await;
        let began = Instant::now();
        let joined = spawn_blocking(move || Machine::new().join(&token).ok()).await;
        joined.expect("the machine joins");
        admitted.push((name, Instant::now(), began.elapsed()));
        if is_last {
            return admitted;
        }
    }
}

#[tokio::test]
async fn a_rolling_update_fails_no_join() {
    let mut group = replicas_of("rolling", 3, 3).await;
    for ordinal in 0..3 {
        group.start(ordinal);
    }
    group.until_whole(3).await;
    let statuses = Statuses::watch(&group.place);
    let first = group.leader().await;
    let mut replicas = Vec::new();
    for ordinal in 0..3 {
        replicas.push((group.take(ordinal), group.setup(ordinal)));
    }
    let rolled = spawn_blocking(move || roll(replicas));

    let machines = (0..MACHINES).map(|who| join_on(&group.place, who, || rolled.is_finished()));
    let admitted = join_all(machines).await.concat();
    let mut leaders_turn = None;
    for (ordinal, (server, from, until)) in (0..3).rev().zip(rolled.await.unwrap()) {
        group.give_back(ordinal, server);
        println!("{ordinal} was away for {:?}", until - from);
        if ordinal == first {
            leaders_turn = Some((from, until));
        }
    }
    group.until_whole(3).await;

    for (name, _, _) in &admitted {
        group.place.wait_for_phase(name, "Consumed").await;
        group
            .place
            .wait_for(name, "Succeeded", "True", "Consumed")
            .await;
    }
    let mut times: Vec<_> = admitted.iter().map(|(_, at, _)| *at).collect();
    times.sort();
    let pauses = times.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
    let (pause, at) = pauses.max().expect("several were admitted");
    let longest = admitted.iter().map(|(_, _, took)| *took).max();
    println!(
        "{} machines joined; the longest pause without an admission: {pause:?}{}; the longest join: {:?}",
        times.len(),
        match leaders_turn {
            Some((from, until)) if at <= until && at + pause >= from =>
                " (the first leader's turn)",
            _ => "",
        },
        longest.unwrap_or_default(),
    );
    statuses.never_went_back(admitted.len());
    group.remove().await;
}

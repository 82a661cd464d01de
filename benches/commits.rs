//! What the store alone gives: claims and admissions a second, each a commit, on one replica and on three with mutual TLS between
//! them, the logs on a real disk. Whoever joins asks all replicas in turn, so that two of three forward to the leader; there is no
//! door before them and no certificate is made. `benches/joins` is the whole.
//!
//! `cargo bench --bench commits [-- <joins a measurement>]`

#[path = "support/stores.rs"]
mod stores;

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::lifecycle::command::Consume;
use jointoken::lifecycle::outcome::{BeginOutcome, ConsumeOutcome};
use jointoken::store::{RaftStore, Role, submit};

use stores::{Failed, JOINER, Stores, claim, found};

/// How many ask at a time.
const LEVELS: [usize; 4] = [1, 16, 64, 256];
/// About as long as a certificate is.
const LEAF_BYTES: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    // Cargo hands its own arguments on; a number is ours.
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    for size in [1, 3] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut stores = Stores::new(size).await?;
        let mut replicas = Vec::new();
        for node_id in 1..=size as u64 {
            let data = folder.path().join(node_id.to_string());
            let replica = stores.open(&data, node_id, |_| {}).await?;
            if node_id == 1 {
                found(&replica).await?;
            }
            replicas.push(replica);
        }
        for replica in &replicas {
            until_voting(replica, size).await;
        }
        println!("\n{size} of them\nat a time   joins a second    p50 ms    p99 ms");
        let mut first = 0;
        for level in LEVELS {
            let joins = given.unwrap_or(1_000 * level.min(100) as u64 + 2_000);
            measure(&replicas, level, first..first + joins).await?;
            first += joins;
        }
        for replica in &replicas {
            replica.shutdown().await;
        }
    }
    Ok(())
}

async fn measure(
    replicas: &[RaftStore],
    level: usize,
    numbers: std::ops::Range<u64>,
) -> Result<(), Failed> {
    let count = numbers.end - numbers.start;
    let started = Instant::now();
    let joins = stream::iter(numbers).map(|number| {
        let replica = &replicas[number as usize % replicas.len()];
        async move {
            let began = Instant::now();
            join(replica, number).await?;
            Ok::<_, Failed>(began.elapsed().as_secs_f64() * 1000.0)
        }
    });
    let mut joins = joins.buffer_unordered(level);
    let mut took_ms = Vec::new();
    while let Some(took) = joins.next().await {
        took_ms.push(took?);
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms[((count - 1) as f64 * share) as usize];
    println!(
        "{level:>9}   {rate:>14.0} {:>9.2} {:>9.2}",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

async fn join(replica: &RaftStore, number: u64) -> Result<(), Failed> {
    let begin = claim(number, SystemClock.now_ms());
    let token_id = begin.token_id;
    let BeginOutcome::Granted { attempt, .. } = submit(replica, begin).await? else {
        return Err("a claim was not granted".into());
    };
    let consume = Consume {
        token_id,
        joiner: JOINER,
        attempt,
        leaf: vec![0x30; LEAF_BYTES],
    };
    match submit(replica, consume).await? {
        ConsumeOutcome::Admitted { .. } => Ok(()),
        other => Err(format!("not admitted: {other:?}").into()),
    }
}

/// Waits until this replica knows so many voters.
async fn until_voting(replica: &RaftStore, size: usize) {
    let votes = |role| role != Role::Learner;
    while replica
        .members()
        .members
        .iter()
        .filter(|of| votes(of.role))
        .count()
        < size
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

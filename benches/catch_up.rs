//! How long a new replica takes to have what the others have, at a million tokens: from the log, and from a snapshot. Leader and
//! newcomer are two stores in this process with real disks and mutual TLS between them.
//!
//! `cargo bench --bench catch_up [-- <tokens>]`

#[path = "support/stores.rs"]
mod stores;

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::lifecycle::outcome::BeginOutcome;
use jointoken::store::{RaftStore, StoreConfig, TokenStore as _, submit};

use stores::{Failed, Stores, claim, found};

/// So many proposals are under way at once.
const AT_ONCE: usize = 512;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    // Cargo hands its own arguments on; a number is ours.
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let tokens: u64 = given.unwrap_or(1_000_000);
    println!("{tokens} tokens");
    for by_snapshot in [false, true] {
        catch_up(tokens, by_snapshot).await?;
    }
    Ok(())
}

async fn catch_up(tokens: u64, by_snapshot: bool) -> Result<(), Failed> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let snapshots = |config: &mut StoreConfig| {
        if !by_snapshot {
            config.snapshot_after_bytes = u64::MAX;
        }
    };
    // The third never comes: the newcomer stays a learner, and everything is sent to it alone.
    let mut stores = Stores::new(3).await?;
    let leader = stores
        .open(&folder.path().join("leader"), 1, snapshots)
        .await?;
    found(&leader).await?;
    let filled = Instant::now();
    fill(&leader, tokens).await?;
    let seconds = filled.elapsed().as_secs_f64();
    println!("filled alone: {:.0} tokens/s", tokens as f64 / seconds);
    if by_snapshot {
        // The last snapshot is to have most of it, and the log before it is to be gone.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let began = Instant::now();
    let newcomer = stores
        .open(&folder.path().join("newcomer"), 2, snapshots)
        .await?;
    let committed = leader.health().borrow().applied_index;
    let mut health = newcomer.health();
    let mut first = None;
    health
        .wait_for(|health| {
            if health.applied_index > 0 {
                first.get_or_insert_with(|| (began.elapsed(), health.applied_index));
            }
            health.applied_index >= committed
        })
        .await?;
    let took = began.elapsed();
    let (first, index) = first.unwrap_or_default();
    println!(
        "caught up {} in {:.1} s ({committed} entries; the first, {index}, after {:.1} s)",
        if by_snapshot { "by snapshot" } else { "by log" },
        took.as_secs_f64(),
        first.as_secs_f64(),
    );
    assert_eq!(leader.state_hash(), newcomer.state_hash());
    leader.shutdown().await;
    newcomer.shutdown().await;
    Ok(())
}

/// Claims so many offline tokens.
async fn fill(store: &RaftStore, tokens: u64) -> Result<(), Failed> {
    let now_ms = SystemClock.now_ms();
    let claims = stream::iter(0..tokens).map(|number| submit(store, claim(number, now_ms)));
    let mut claims = claims.buffer_unordered(AT_ONCE);
    while let Some(claimed) = claims.next().await {
        let BeginOutcome::Granted { .. } = claimed? else {
            return Err("a claim was not granted".into());
        };
    }
    Ok(())
}

//! Whole groups of replicas in one thread, each from a seed: while clients join with tokens the replicas are killed, lose
//! power and disks, are cut off, have wrong clocks, are removed and come back. Three judge: a history of what clients were
//! told, the replicas' states, and an oracle on the wire.
//!
//! A seed is a bug report: `JOINTOKEN_SEED=17 cargo test --test store group_sim::every` runs one, and with RUST_LOG=debug
//! it tells all. `cargo xtask sim` runs many.

mod bites;
mod clients;
mod events;
mod history;
mod history_examples;
mod judges;
mod life;
mod machine;
mod moving;
mod oracle;
mod outside;
mod reshaping;
mod set_back_together;
mod token_model;
mod verdict;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::life::{Life, live};

/// How many groups.
const SEEDS: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

/// A life, or what is wrong with it.
fn live_or_panic(seed: u64) -> Result<Life, String> {
    let lived = catch_unwind(AssertUnwindSafe(|| live(seed)));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", text.unwrap_or("")))
    })
}

#[test]
fn every_group_keeps_its_word_whatever_happens_to_it() {
    if let Some(seed) = number("JOINTOKEN_SEED") {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let log = tracing_subscriber::fmt().with_env_filter(filter);
        log.with_ansi(false).init();
        match live_or_panic(seed) {
            Ok(life) => eprintln!("seed {seed}: {life:?}"),
            Err(wrong) => panic!("seed {seed}: {wrong}"),
        }
        return;
    }
    let first = number("JOINTOKEN_FIRST_SEED").unwrap_or(0);
    let seeds = number("JOINTOKEN_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let all = Mutex::new(Life::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    match live_or_panic(seed) {
                        Ok(life) => all.lock().unwrap().add(&life),
                        Err(wrong) => {
                            failed.store(true, Ordering::Relaxed);
                            eprintln!("seed {seed} failed: {wrong}");
                            eprintln!(
                                "to see it again: JOINTOKEN_SEED={seed} cargo test --test store group_sim::every"
                            );
                        }
                    }
                }
            });
        }
    });
    assert!(
        !failed.load(Ordering::Relaxed),
        "a group did not keep its word"
    );
    let all = all.into_inner().unwrap();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    eprintln!(
        "{seeds} groups, {:.0} a minute: {all:?}",
        seeds as f64 / minutes
    );
    assert!(all.admissions > 4 * seeds);
    assert!(all.faults > 3 * seeds);
    assert!(seeds < 100 || all.set_back > seeds / 30);
    assert!(seeds < 100 || all.registered > 2 * seeds);
    assert!(seeds < 100 || all.barred > seeds / 4);
    assert!(seeds < 100 || all.forgotten > seeds / 4);
    assert!(all.promises > 50 * seeds);
    assert!(all.compared > 50 * seeds);
}

#[test]
fn a_seed_is_a_life() {
    for seed in [3, 8] {
        let trace = |seed| live(seed).unwrap().trace;
        assert_eq!(trace(seed), trace(seed), "the same seed, another life");
        assert_ne!(trace(seed), trace(seed + 1));
    }
}

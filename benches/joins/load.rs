//! A number of machines asking at a time, until all have had their turn.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::Server;
use super::connection::Failed;

/// What a measurement found.
pub struct Measured {
    /// A second.
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The servers' processor time for each, milliseconds.
    pub cpu_ms: f64,
}

/// Does `one` for each item, `level` at a time, each lane from an address of its own: machines have such.
pub async fn measure<T, F>(
    servers: &[Server],
    level: usize,
    items: &[Arc<T>],
    one: impl Fn(Arc<T>, Ipv4Addr) -> F,
) -> Result<Measured, Failed>
where
    T: Send + Sync + 'static,
    F: Future<Output = Result<(), Failed>> + Send,
{
    let next = AtomicUsize::new(0);
    let cpu_seconds = || servers.iter().map(Server::cpu_seconds).sum::<f64>();
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let lanes = (0..level).map(|lane| {
        let (next, one) = (&next, &one);
        async move {
            let source = Ipv4Addr::new(127, 0, 1, u8::try_from(lane % 250)? + 1);
            let mut took_ms = Vec::new();
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                let begun = Instant::now();
                one(Arc::clone(item), source).await?;
                took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            Ok::<_, Failed>(took_ms)
        }
    });
    let mut took_ms = futures::future::try_join_all(lanes).await?.concat();
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu_before;
    took_ms.sort_by(f64::total_cmp);
    let count = items.len() as f64;
    let at = |share: f64| took_ms[((count - 1.0) * share) as usize];
    Ok(Measured {
        rate: count / seconds,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_ms: cpu_seconds * 1000.0 / count,
    })
}

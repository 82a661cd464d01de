//! How many machines one replica, and a group of three, admit a second: the real `jointoken serve` over real TLS, the logs on a
//! real disk, with 1, 16, 64 and 256 machines asking at a time, beside as many members of etcd in the same run.
//!
//! A *join* is everything that `jointoken join` says to a door: a new TLS 1.3 connection with a certificate of the machine's own
//! key, the clock, the token and the request, the acknowledgement. It costs the replica a handshake and three commits (claim,
//! admission, acknowledgement). The peer does with etcd what a token store needs at the least: a new TLS connection and two
//! transactions, each a commit (claim if unclaimed, admit if still claimed). The third column is the price of the connection
//! alone. Machines, their keys and tokens are made beforehand; they share the processors with the servers.
//!
//! `cargo xtask bench --bench joins [-- <joins a measurement>]`

mod connection;
mod etcd;
mod load;
mod replica;

use std::path::Path;
use std::process::Child;
use std::sync::Arc;

use connection::Failed;
use etcd::Etcd;
use load::{Measured, measure};
use replica::Replicas;

/// How many machines ask at a time.
const LEVELS: [usize; 4] = [1, 16, 64, 256];
/// How many replicas, and members of etcd.
const SIZES: [usize; 2] = [1, 3];

/// A server that ends with us.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Seconds of processor time that it has used so far, from `/proc/<pid>/stat`: fields 14 and 15, in hundredths.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
        let stat = stat.unwrap_or_default();
        // The name, in parentheses, may hold spaces; field 3 comes after it.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|field| field.parse::<f64>().ok())
            .sum::<f64>()
            / 100.0
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    // Cargo hands its own arguments on; a number is ours.
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let joins = |level: usize| given.unwrap_or(500 + 100 * level.min(40));

    let etcd = std::env::var_os("JOINTOKEN_BENCH_ETCD");
    if etcd.is_none() {
        println!("without etcd beside it: `cargo xtask bench` builds and starts one");
    }
    for size in SIZES {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let replicas = Replicas::start(&folder.path().join("replicas"), size).await?;
        let replicas = Arc::new(replicas);
        let etcd = match &etcd {
            Some(program) => {
                let data = folder.path().join("etcd");
                let etcd = Etcd::start(Path::new(program), &data, size).await?;
                Some(Arc::new(etcd))
            }
            None => None,
        };
        println!(
            "\n{size} of each\nmachines   what                     a second    p50 ms    p99 ms   servers' CPU ms each"
        );
        for level in LEVELS {
            compare(&replicas, etcd.as_ref(), level, joins(level)).await?;
        }
    }
    Ok(())
}

/// So many joins with so many machines at a time, and the same of etcd.
async fn compare(
    replicas: &Arc<Replicas>,
    etcd: Option<&Arc<Etcd>>,
    level: usize,
    count: usize,
) -> Result<(), Failed> {
    let machines = replicas.machines(count * 2).await?;
    let (joining, connecting) = machines.split_at(count);
    let joined = measure(&replicas.servers, level, joining, |machine, source| {
        let replicas = Arc::clone(replicas);
        async move { replicas.join(&machine, source).await }
    })
    .await?;
    show(level, "join", &joined);
    if let Some(etcd) = etcd {
        let names: Vec<_> = (0..count)
            .map(|number| Arc::new(format!("{level}-{number}")))
            .collect();
        let peer = measure(&etcd.servers, level, &names, |name, source| {
            let etcd = Arc::clone(etcd);
            async move { etcd.admit(&name, source).await }
        })
        .await?;
        show(level, "etcd, claim + admit", &peer);
        println!(
            "{:>8}   jointoken / etcd         {:>8.2}",
            "",
            joined.rate / peer.rate
        );
    }
    let connected = measure(&replicas.servers, level, connecting, |machine, source| {
        let replicas = Arc::clone(replicas);
        async move { replicas.greet(&machine, source).await }
    })
    .await?;
    show(level, "connection and clock only", &connected);
    Ok(())
}

fn show(level: usize, what: &str, measured: &Measured) {
    let Measured {
        rate,
        p50_ms,
        p99_ms,
        cpu_ms,
    } = measured;
    println!("{level:>8}   {what:<25}{rate:>8.0} {p50_ms:>9.2} {p99_ms:>9.2} {cpu_ms:>12.3}");
}

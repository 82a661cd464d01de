//! When a server stops: told so, at any moment of its life, or because it cannot go on.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Exit, Failure};
use super::server::Replica;

/// How long an orderly stop may take; Kubernetes is told to wait longer (`terminationGracePeriodSeconds`), and longer still
/// for one that leaves its group first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a server, serves until SIGTERM or SIGINT or until a part fails, and stops it in order.
///
/// One that is told to stop while it starts is dropped where it stands: whatever a start does can be
/// stopped after any step. Told so a second time, or when the orderly stop takes too long, it ends at once,
/// as in a crash: nothing that was acknowledged is lost.
///
/// # Errors
/// When it cannot be started, or a part failed.
pub async fn serve(start: impl Future<Output = Result<Replica, Failure>>) -> Result<(), Failure> {
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(Exit::Failed, error))?;
    let mut replica = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!("{signal} before everything was open: stopping");
            return Ok(());
        }
        started = start => started?,
    };
    let ended = tokio::select! {
        signal = signals.next() => {
            tracing::info!("{signal}: stopping");
            Ok(())
        }
        failure = replica.until_failed() => Err(failure),
    };
    if ended.is_ok() {
        tokio::select! {
            () = replica.leave() => {}
            signal = signals.next() => tracing::warn!("{signal} again: not waiting until this replica is removed"),
        }
    }
    tokio::select! {
        () = replica.shut_down() => {}
        signal = signals.next() => tracing::warn!("{signal} again: ending at once"),
        () = tokio::time::sleep(PATIENCE) => tracing::warn!("stopping takes too long: ending at once"),
    }
    ended
}

/// Waits until the process is told to stop; the name of the signal.
///
/// # Errors
/// When signals cannot be listened for.
pub async fn told() -> io::Result<&'static str> {
    Ok(StopSignals::listen()?.next().await)
}

/// What tells a process to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the signal that came.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

//! Threads of the door's own.

use std::future::Future;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::failed;
use crate::bootstrap::{self, Door};
use crate::cli::exit::Failure;

/// The door's threads, cut off when this is dropped.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Dropped, it would wait for them, which nothing that others wait for may do.
            runtime.shutdown_background();
        }
    }
}

/// Serves the door on threads of its own, one for each CPU: however many handshakes strangers have
/// it compute, the store's heartbeats and the probes do not wait behind them.
pub(super) async fn serve(
    door: Door,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let listener = listener.into_std().map_err(failed)?;
    let runtime = Builder::new_multi_thread()
        .thread_name("door")
        .enable_all()
        .build()
        .map_err(|error| {
            failed(format_args!(
                "the door's threads cannot be started: {error}"
            ))
        })?;
    let served = runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        bootstrap::serve(door, listener, stop).await.map_err(failed)
    });
    let threads = Threads(Some(runtime));
    let ended = served.await.map_err(failed)?;
    drop(threads);
    ended
}

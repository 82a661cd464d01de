//! What is valid for a time only, and made anew long before it ends.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Clock;

/// How often the clock is looked at. Clocks are set and machines sleep: to wait for the very moment
/// would miss it. It is also the least time between one and the next.
pub const RENEWAL_LOOK: Duration = Duration::from_secs(60);

/// Something with dates: a certificate.
pub trait Dated: Send + Sync + 'static {
    /// What to call it in a log line.
    const WHAT: &'static str;

    /// Start and end of validity, in milliseconds since the epoch.
    fn validity_ms(&self) -> (u64, u64);
}

/// The first one, made at once, and a task without an end that makes the following ones: each when a third of the life of the
/// one before is left. `make` is given the time, in milliseconds since the epoch.
///
/// # Errors
/// When the first cannot be made. When a later one cannot, that is logged, and tried again a minute later.
pub fn keep_renewed<T: Dated, E: Display>(
    clock: Arc<dyn Clock>,
    make: impl Fn(u64) -> Result<T, E>,
) -> Result<(watch::Receiver<Arc<T>>, impl Future<Output = ()>), E> {
    let (publish, current) = watch::channel(Arc::new(make(clock.now_ms())?));
    let renew = async move {
        loop {
            tokio::time::sleep(RENEWAL_LOOK).await;
            let now_ms = clock.now_ms();
            if !is_due(publish.borrow().validity_ms(), now_ms) {
                continue;
            }
            match make(now_ms) {
                Ok(next) => {
                    publish.send_replace(Arc::new(next));
                }
                Err(error) => tracing::error!(%error, "{} could not be renewed", T::WHAT),
            }
        }
    };
    Ok((current, renew))
}

/// Whether another should be shown: a third of this one's life is left, or the clock was ahead when it was made and it is not
/// valid yet.
fn is_due((start, end): (u64, u64), now_ms: u64) -> bool {
    let third = end.saturating_sub(start) / 3;
    now_ms < start || now_ms >= end.saturating_sub(third)
}

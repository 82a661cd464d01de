//! The time of day, behind a trait so that tests set it; and what has to be made anew because it has dates.

mod renewal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use renewal::{Dated, RENEWAL_LOOK, keep_renewed};

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// Milliseconds that have passed since some moment, time asleep included. Nobody sets this one.
    fn boot_ms(&self) -> u64;

    /// Something keeps the time of day right, and the kernel says so.
    fn is_synchronised(&self) -> bool;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn boot_ms(&self) -> u64 {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ms = since.tv_sec * 1_000 + since.tv_nsec / 1_000_000;
        u64::try_from(ms).unwrap_or(0)
    }

    #[expect(unsafe_code, reason = "no safe wrapper of the call is published")]
    fn is_synchronised(&self) -> bool {
        // SAFETY: `timex` holds integers alone, for which all zeros is a value. With `modes` 0 the call changes nothing; it
        // writes to the structure and keeps no pointer to it (adjtimex(2)).
        let state = unsafe {
            let mut timex: libc::timex = std::mem::zeroed();
            libc::adjtimex(&raw mut timex)
        };
        state >= 0 && state != libc::TIME_ERROR
    }
}

/// A clock that stands where it is set.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug, Default)]
struct Hands {
    now_ms: AtomicU64,
    boot_ms: AtomicU64,
    unsynchronised: AtomicBool,
}

impl ManualClock {
    /// A synchronised clock that shows `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        let clock = Self::default();
        clock.set(now_ms);
        clock
    }

    /// Sets it to `now_ms`; no time passes.
    pub fn set(&self, now_ms: u64) {
        self.0.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Lets `by_ms` pass.
    pub fn advance(&self, by_ms: u64) {
        self.0.boot_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.0.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Whether something keeps it right.
    pub fn set_synchronised(&self, is_synchronised: bool) {
        self.0
            .unsynchronised
            .store(!is_synchronised, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.now_ms.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> u64 {
        self.0.boot_ms.load(Ordering::SeqCst)
    }

    fn is_synchronised(&self) -> bool {
        !self.0.unsynchronised.load(Ordering::SeqCst)
    }
}

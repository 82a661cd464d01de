//! How often the door listens: limits on requests without a valid token, and on uses of one token.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

use crate::net::site;
use crate::token::TokenId;

use super::error::DoorError;

/// So many at once, and then one in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: NonZeroU32,
    pub one_per: Duration,
}

/// The rates of the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests without a valid token from one address (of IPv6: one /64, which is what one site has).
    pub failures_per_address: Rate,
    /// Requests without a valid token from everywhere.
    pub failures: Rate,
    /// Requests with one valid token.
    pub uses_per_token: Rate,
    /// KiB of answers to requests that need prove nothing, to one address (of IPv6: one /64).
    pub anonymous_per_address: Rate,
}

impl Default for RateLimits {
    fn default() -> Self {
        let rate = |burst, one_per_ms| Rate {
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
            one_per: Duration::from_millis(one_per_ms),
        };
        Self {
            failures_per_address: rate(20, 6_000),
            failures: rate(500, 20),
            uses_per_token: rate(20, 1_000),
            anonymous_per_address: rate(256, 63),
        }
    }
}

type Keyed<K, C> = RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;
type Single<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The limiters. What is counted is failure, and it is counted after the token was verified:
/// verifying costs a hundredth of the handshake before it, and so nobody's failures, not even
/// from the same address, keep out somebody with a valid token.
pub(super) struct Limiters<C: Clock = DefaultClock> {
    clock: C,
    failures_per_address: Keyed<IpAddr, C>,
    failures: Single<C>,
    uses_per_token: Keyed<TokenId, C>,
    anonymous_per_address: Keyed<IpAddr, C>,
    /// Keys seen since idle ones were last dropped.
    unswept: AtomicU32,
}

/// After so many keys the idle ones are dropped, so that memory follows what is in use.
const SWEEP_EVERY: u32 = 4_096;

impl Limiters {
    pub(super) fn new(limits: &RateLimits) -> Self {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiters<C> {
    fn with_clock(limits: &RateLimits, clock: C) -> Self {
        Self {
            failures_per_address: RateLimiter::new(
                quota(limits.failures_per_address),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            failures: RateLimiter::direct_with_clock(quota(limits.failures), clock.clone()),
            uses_per_token: RateLimiter::new(
                quota(limits.uses_per_token),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            anonymous_per_address: RateLimiter::new(
                quota(limits.anonymous_per_address),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            clock,
            unswept: AtomicU32::new(0),
        }
    }

    /// Counts a request without a valid token. The address' own limit comes first: who is beyond it
    /// must not use up what everybody has together.
    pub(super) fn failed(&self, address: IpAddr) -> Result<(), DoorError> {
        self.check(&self.failures_per_address, &site(address), NonZeroU32::MIN)?;
        self.failures.check().map_err(|until| self.refusal(&until))
    }

    /// Counts a request with a valid token.
    pub(super) fn used(&self, token: TokenId) -> Result<(), DoorError> {
        self.check(&self.uses_per_token, &token, NonZeroU32::MIN)
    }

    /// Counts an answer of so many bytes to a request that proves nothing. Each has its head, too.
    pub(super) fn told(&self, address: IpAddr, bytes: usize) -> Result<(), DoorError> {
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        let kib = NonZeroU32::MIN.saturating_add(kib);
        self.check(&self.anonymous_per_address, &site(address), kib)
    }

    fn check<K: Hash + Eq + Clone>(
        &self,
        keyed: &Keyed<K, C>,
        key: &K,
        count: NonZeroU32,
    ) -> Result<(), DoorError> {
        if self.unswept.fetch_add(1, Ordering::Relaxed) >= SWEEP_EVERY {
            self.unswept.store(0, Ordering::Relaxed);
            self.failures_per_address.retain_recent();
            self.uses_per_token.retain_recent();
            self.anonymous_per_address.retain_recent();
        }
        match keyed.check_key_n(key, count) {
            Ok(allowed) => allowed.map_err(|until| self.refusal(&until)),
            // More than is ever allowed at once.
            Err(_) => Err(DoorError::RateLimited { for_ms: u64::MAX }),
        }
    }

    fn refusal(&self, until: &NotUntil<C::Instant>) -> DoorError {
        let wait = until.wait_time_from(self.clock.now());
        DoorError::RateLimited {
            for_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::with_period(rate.one_per.max(Duration::from_nanos(1)))
        .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
        .allow_burst(rate.burst)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(burst: u32, seconds: u64) -> Rate {
        Rate {
            burst: NonZeroU32::new(burst).unwrap(),
            one_per: Duration::from_secs(seconds),
        }
    }

    fn limiters(overall: u32) -> (Limiters<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits {
            failures_per_address: rate(2, 10),
            failures: rate(overall, 10),
            uses_per_token: rate(3, 1),
            anonymous_per_address: rate(8, 1),
        };
        (Limiters::with_clock(&limits, clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_too_often_waits() {
        let (limiters, clock) = limiters(100);
        let address = ip("192.0.2.1");
        limiters.failed(address).unwrap();
        limiters.failed(address).unwrap();
        assert_eq!(
            limiters.failed(address),
            Err(DoorError::RateLimited { for_ms: 10_000 })
        );
        limiters.failed(ip("192.0.2.2")).unwrap();
        clock.advance(Duration::from_secs(10));
        limiters.failed(address).unwrap();
        assert!(limiters.failed(address).is_err());
    }

    #[test]
    fn a_whole_ipv6_site_counts_as_one() {
        let (limiters, _) = limiters(100);
        limiters.failed(ip("2001:db8:1:2::1")).unwrap();
        limiters.failed(ip("2001:db8:1:2:ffff::9")).unwrap();
        assert!(limiters.failed(ip("2001:db8:1:2:aaaa::3")).is_err());
        limiters.failed(ip("2001:db8:1:3::1")).unwrap();
    }

    #[test]
    fn what_proves_nothing_is_told_so_many_bytes() {
        let (limiters, clock) = limiters(5);
        let address = ip("192.0.2.1");
        for _ in 0..4 {
            limiters.told(address, 1_500).unwrap();
        }
        assert!(limiters.told(address, 0).is_err());
        limiters.told(ip("192.0.2.2"), 0).unwrap();
        clock.advance(Duration::from_secs(1));
        limiters.told(address, 1_000).unwrap();
        assert!(limiters.told(address, 0).is_err());
        // Never, and no overflow.
        assert!(limiters.told(address, usize::MAX).is_err());
    }

    #[test]
    fn failures_from_everywhere_have_a_limit() {
        let (limiters, clock) = limiters(5);
        for last in 0..5 {
            limiters.failed(IpAddr::from([192, 0, 2, last])).unwrap();
        }
        for last in 5..100 {
            assert!(limiters.failed(IpAddr::from([192, 0, 2, last])).is_err());
        }
        clock.advance(Duration::from_secs(10));
        limiters.failed(ip("192.0.2.200")).unwrap();
    }

    /// It once used up the limit that all have together, so that nobody was told what was wrong
    /// with their tokens, and the audit was blind.
    #[test]
    fn one_address_beyond_its_limit_costs_the_others_nothing() {
        let (limiters, _) = limiters(5);
        for _ in 0..100 {
            let _ = limiters.failed(ip("192.0.2.1"));
        }
        for last in 2..5 {
            limiters.failed(IpAddr::from([192, 0, 2, last])).unwrap();
        }
    }

    #[test]
    fn a_flood_from_everywhere_leaves_nothing_behind() {
        let (limiters, clock) = limiters(5);
        for n in 0..SWEEP_EVERY {
            let _ = limiters.failed(Ipv4Addr::from(n).into());
        }
        clock.advance(Duration::from_secs(60));
        limiters.failed(ip("192.0.2.1")).unwrap();
        assert_eq!(limiters.failures_per_address.len(), 1);
    }

    #[test]
    fn one_token_is_not_used_too_often_and_another_does_not_mind() {
        let (limiters, clock) = limiters(5);
        let token = TokenId([1; 16]);
        for _ in 0..3 {
            limiters.used(token).unwrap();
        }
        assert!(limiters.used(token).is_err());
        limiters.used(TokenId([2; 16])).unwrap();
        clock.advance(Duration::from_secs(1));
        limiters.used(token).unwrap();
    }

    #[test]
    fn idle_keys_are_dropped() {
        let (limiters, clock) = limiters(5);
        for n in 0..SWEEP_EVERY {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_le_bytes());
            limiters.used(TokenId(id)).unwrap();
        }
        clock.advance(Duration::from_secs(60));
        limiters.used(TokenId([255; 16])).unwrap();
        assert_eq!(limiters.uses_per_token.len(), 1);
    }

    #[test]
    fn every_default_is_as_written() {
        let limits = RateLimits::default();
        assert_eq!(limits.failures_per_address.burst.get(), 20);
        assert_eq!(limits.failures.burst.get(), 500);
        assert_eq!(limits.uses_per_token.burst.get(), 20);
    }
}

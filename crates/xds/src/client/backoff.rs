//! Waits between attempts to reach the server. Used by [`super::Client::run`].
//!
//! Invariant: full jitter, as Envoy's: a mesh that loses its control plane does not come back all at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(base: Duration, max: Duration) -> Self {
        // The standard library's only source of randomness, and good enough to spread clients.
        let random = RandomState::new().hash_one(0) | 1;
        Self { base, max: max.max(base), failures: 0, random }
    }

    /// The server was reached: start over.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: random between zero and the base doubled once per failure, at most the maximum.
    pub(super) fn next(&mut self) -> Duration {
        let longest = self.base.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures += 1;
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        longest.mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_start_over() {
        let (base, max) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(base, max);
        for failures in 0..100 {
            let longest = base.saturating_mul(1 << failures.min(10)).min(max);
            assert!(backoff.next() <= longest, "after {failures} failures");
        }
        backoff.reset();
        assert!(backoff.next() <= base);
    }
}

//! What results in a row make of a host: Envoy's thresholds.
//!
//! Pure but for the host's flags. Invariant: the first result of all decides at once; later ones as thresholds say.

use crate::cluster::Endpoint;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Well; `degraded` says that it would rather not.
    Good {
        /// `x-envoy-degraded`
        degraded: bool,
    },
    /// Not well.
    Bad(Failure),
}

/// Why a host is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It said so: once is enough.
    Said,
    /// It said so, with a status that may pass.
    Retriable,
    /// It could not be reached, or left.
    Network,
    /// It did not answer in time.
    Timeout,
}

/// What a result has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Nothing yet.
    Pending,
    /// The host counts otherwise now.
    Changed,
}

/// Results of one host.
#[derive(Debug)]
pub struct Streak {
    first: bool,
    good: u32,
    bad: u32,
}

impl Default for Streak {
    fn default() -> Self {
        Self { first: true, good: 0, bad: 0 }
    }
}

impl Streak {
    /// True until the first result.
    pub fn is_new(&self) -> bool {
        self.first
    }

    /// Takes a result, and marks the host. Thresholds: for becoming healthy, for becoming unhealthy.
    pub fn take(&mut self, host: &Endpoint, verdict: Verdict, (rise, fall): (u32, u32)) -> Change {
        let mut change = match verdict {
            Verdict::Good { degraded } => self.good(host, degraded, rise),
            Verdict::Bad(failure) => self.bad(host, failure, fall),
        };
        if host.set_pending(false) {
            change = Change::Changed;
        }
        self.first = false;
        change
    }

    fn good(&mut self, host: &Endpoint, degraded: bool, rise: u32) -> Change {
        self.bad = 0;
        let mut change = Change::None;
        if host.has_failed_check() {
            self.good += 1;
            change = Change::Pending;
            if self.first || self.good >= rise {
                host.set_failed_check(None);
                change = Change::Changed;
            }
        }
        if host.set_degraded(degraded) {
            change = Change::Changed;
        }
        change
    }

    fn bad(&mut self, host: &Endpoint, failure: Failure, fall: u32) -> Change {
        self.good = 0;
        if host.has_failed_check() {
            if self.first {
                host.set_failed_check(Some(failure == Failure::Timeout));
            }
            return Change::None;
        }
        self.bad += 1;
        if failure != Failure::Said && self.bad < fall {
            return Change::Pending;
        }
        host.set_failed_check(Some(failure == Failure::Timeout));
        Change::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Address, Health};

    const GOOD: Verdict = Verdict::Good { degraded: false };

    fn host() -> Endpoint {
        let host = Endpoint::new(Address::Socket(([127, 0, 0, 1], 1).into()), None, 1, Health::Healthy);
        host.await_check();
        host
    }

    #[test]
    fn the_first_result_decides_and_later_ones_need_company() {
        let (host, mut streak) = (host(), Streak::default());
        let limits = (2, 3);
        assert_eq!(host.health(), Health::Unhealthy);
        assert_eq!(streak.take(&host, GOOD, limits), Change::Changed);
        assert_eq!(host.health(), Health::Healthy);
        let network = Verdict::Bad(Failure::Network);
        assert_eq!(streak.take(&host, network, limits), Change::Pending);
        assert_eq!(streak.take(&host, GOOD, limits), Change::None);
        for expected in [Change::Pending, Change::Pending, Change::Changed, Change::None] {
            assert_eq!(streak.take(&host, network, limits), expected);
        }
        assert_eq!(host.health(), Health::Unhealthy);
        assert_eq!(streak.take(&host, GOOD, limits), Change::Pending);
        assert_eq!(streak.take(&host, GOOD, limits), Change::Changed);
        assert_eq!(streak.take(&host, Verdict::Bad(Failure::Retriable), limits), Change::Pending);
        assert_eq!(streak.take(&host, Verdict::Bad(Failure::Said), limits), Change::Changed);
    }

    #[test]
    fn a_first_failure_and_degraded_hosts() {
        let (host, mut streak) = (host(), Streak::default());
        assert_eq!(streak.take(&host, Verdict::Bad(Failure::Timeout), (1, 1)), Change::Changed);
        assert!(!streak.is_new() && host.has_failed_check());
        let degraded = Verdict::Good { degraded: true };
        assert_eq!(streak.take(&host, degraded, (1, 1)), Change::Changed);
        assert_eq!(host.health(), Health::Degraded);
        assert_eq!(streak.take(&host, degraded, (1, 1)), Change::None);
        assert_eq!(streak.take(&host, GOOD, (1, 1)), Change::Changed);
        assert_eq!(host.health(), Health::Healthy);
    }
}

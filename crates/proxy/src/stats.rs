//! Statistics under Envoy's names, cheap enough for every request.
//!
//! A *group* ([`groups`]) is a struct of counters, gauges and histograms that one thread writes (so an increment is a
//! plain load and store) and anyone may read. The [`Registry`] owns the groups by prefix and shard and sums them when
//! asked.
//! Invariant: no name is looked up or formatted while a request passes.

mod codes;
pub mod groups;
mod histogram;
mod meter;
mod registry;
pub mod request;
mod responses;
pub mod route;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub use self::{
    codes::{Classes, Codes},
    histogram::{BUCKETS, Histogram, HistogramSnapshot},
    meter::Meter,
    registry::{Registry, sum},
    responses::{ResponseStats, Responses},
};

/// What may stand behind whose a statistic is in a group's prefix: `cluster.reviews.http2.`
pub const INNER: [&str; 7] = [
    "circuit_breakers.default.",
    "circuit_breakers.high.",
    "outlier_detection.",
    "health_check.",
    "http2.",
    "fault.",
    "cors.",
];

/// The shard of groups that the main thread writes.
pub const MAIN: usize = usize::MAX;

/// Grows only. One writer thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        // One writer per group: no need for a locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to zero: `/reset_counters`. An increment at the same moment may be lost.
    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Goes up and down. One writer thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one off.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds `n`, which may be negative.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a statistic says when it is read.
#[derive(Debug, Clone)]
pub enum Sample {
    /// Sum of all shards.
    Counter(u64),
    /// Sum of all shards.
    Gauge(i64),
    /// All shards merged.
    Histogram(Box<HistogramSnapshot>),
}

impl Sample {
    /// Takes in what another shard says of the same statistic.
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Counter(a), Self::Counter(b)) => *a = a.wrapping_add(b),
            (Self::Gauge(a), Self::Gauge(b)) => *a = a.wrapping_add(b),
            (Self::Histogram(a), Self::Histogram(b)) => a.merge(&b),
            // Same group, same name, same kind.
            _ => {}
        }
    }

    /// Envoy's "used": something was ever recorded (for gauges: is not zero now).
    pub fn is_used(&self) -> bool {
        match self {
            Self::Counter(value) => *value != 0,
            Self::Gauge(value) => *value != 0,
            Self::Histogram(histogram) => histogram.count() != 0,
        }
    }
}

/// Receives the statistics of a group: name within the group, and value.
pub type Visitor<'a> = dyn FnMut(&str, Sample) + 'a;

/// One statistic, or several under one root name.
pub trait Stat {
    /// Tells what it holds; `name` is the field's.
    fn visit(&self, name: &str, visitor: &mut Visitor<'_>);

    /// `/reset_counters`; only counters change.
    fn reset(&self) {}
}

impl Stat for Counter {
    fn visit(&self, name: &str, visitor: &mut Visitor<'_>) {
        visitor(name, Sample::Counter(self.get()));
    }

    fn reset(&self) {
        Self::reset(self);
    }
}

impl Stat for Gauge {
    fn visit(&self, name: &str, visitor: &mut Visitor<'_>) {
        visitor(name, Sample::Gauge(self.get()));
    }
}

impl Stat for Histogram {
    fn visit(&self, name: &str, visitor: &mut Visitor<'_>) {
        visitor(name, Sample::Histogram(Box::new(self.snapshot())));
    }
}

/// A struct of statistics, made by `group!` in [`groups`].
pub trait Group: Send + Sync + 'static {
    /// Tells every statistic.
    fn visit(&self, visitor: &mut Visitor<'_>);

    /// Sets the counters to zero.
    fn reset(&self);
}

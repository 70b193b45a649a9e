//! How many connections there may be at once: of a filter chain (`envoy.filters.network.connection_limit`), and of the
//! whole process (`envoy.resource_monitors.global_downstream_max_connections`).
//!
//! The accept side takes a place before anything else is done for a connection and holds it to its end.
//! Invariant: counts are shared by all workers, and one that is taken is given back exactly once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::stats::groups::ConnectionLimitStats;

/// Connections at once, and how many there may be.
#[derive(Debug)]
pub struct Count {
    open: AtomicU64,
    most: u64,
}

/// One of them.
#[derive(Debug)]
pub struct Place(Arc<Count>);

impl Count {
    /// None so far.
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { open: AtomicU64::new(0), most })
    }

    /// A place, if there is one.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let more = |open: u64| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(self.clone()))
    }

    /// A place whether there is one or not.
    fn force(self: &Arc<Self>) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection limit of a filter chain.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// `max_connections`.
    pub count: Arc<Count>,
    /// `delay`: how long those that are too many wait for their end.
    pub delay: Option<Duration>,
}

/// A connection that a limit counts, be it one too many or not: as in Envoy those count too while they wait.
#[derive(Debug)]
pub struct Counted {
    stats: Arc<ConnectionLimitStats>,
    /// It is one too many: when it ends.
    pub refused: Option<Duration>,
    _place: Place,
}

impl ConnectionLimit {
    /// Counts a connection in.
    pub fn enter(&self, stats: Arc<ConnectionLimitStats>) -> Counted {
        stats.active_connections.inc();
        match self.count.take() {
            Some(place) => Counted { stats, refused: None, _place: place },
            None => {
                stats.limited_connections.inc();
                let refused = Some(self.delay.unwrap_or_default());
                Counted { stats, refused, _place: self.count.force() }
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stats.active_connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_most() {
        let count = Count::new(2);
        let (first, second) = (count.take(), count.take());
        assert!(first.is_some() && second.is_some() && count.take().is_none());
        drop(first);
        assert!(count.take().is_some());
    }

    #[test]
    fn those_that_are_too_many_count_while_they_wait() {
        let stats = Arc::<ConnectionLimitStats>::default();
        let limit = ConnectionLimit { stat_prefix: "x".into(), count: Count::new(1), delay: None };
        let first = limit.enter(stats.clone());
        let second = limit.enter(stats.clone());
        assert!(first.refused.is_none() && second.refused == Some(Duration::ZERO));
        assert_eq!((stats.active_connections.get(), stats.limited_connections.get()), (2, 1));
        drop(first);
        assert!(limit.enter(stats.clone()).refused.is_some(), "the one that waits has the place");
        drop(second);
        assert!(limit.enter(stats.clone()).refused.is_none());
        assert_eq!(stats.active_connections.get(), 0);
    }
}

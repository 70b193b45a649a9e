//! Earliest deadline first: weighted round robin that is smooth, as Envoy's scheduler.
//!
//! Used by [`super::Balancer`] for hosts of differing weights.
//! Invariant: over a full cycle every entry is picked in proportion to its weight.

use std::{cmp::Ordering, collections::BinaryHeap};

/// The schedule of one group of hosts.
#[derive(Debug)]
pub(super) struct Edf {
    now: f64,
    order: u64,
    queue: BinaryHeap<Entry>,
}

#[derive(Debug, PartialEq)]
struct Entry {
    deadline: f64,
    /// Ties go to who came first.
    order: u64,
    at: usize,
}

impl Edf {
    /// Every entry once, due after one over its weight.
    pub(super) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut edf = Self { now: 0.0, order: 0, queue: BinaryHeap::new() };
        weights.enumerate().for_each(|(at, weight)| edf.push(at, weight));
        edf
    }

    /// The next entry; it goes back in with the weight it has now. Never called on an empty schedule.
    pub(super) fn pick(&mut self, weight: impl Fn(usize) -> f64) -> usize {
        let Some(next) = self.queue.pop() else { return 0 };
        self.now = next.deadline;
        self.push(next.at, weight(next.at));
        next.at
    }

    fn push(&mut self, at: usize, weight: f64) {
        self.order += 1;
        let deadline = self.now + 1.0 / weight.max(f64::MIN_POSITIVE);
        self.queue.push(Entry { deadline, order: self.order, at });
    }
}

impl Eq for Entry {}

impl Ord for Entry {
    /// The heap gives the greatest; ours is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

//! What the connections of one worker thread share, without locks: clock, random numbers, buffers, deadlines,
//! and the worker's own view of every cluster (pools, balancer, statistics).
//!
//! The worker thread makes one and hands an `Rc` to every connection it accepts.
//! Invariant: it never leaves its thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::http::{buffer::Buffers, clock::WallClock, deadline::Deadlines};

/// The thread-local context of the data path.
#[derive(Debug)]
pub struct Worker {
    /// Number of the worker, from 0: its shard in statistics.
    pub index: usize,
    /// Wall-clock time.
    pub clock: WallClock,
    /// Deadlines of connections and streams.
    pub deadlines: Rc<Deadlines>,
    /// Read buffers.
    pub buffers: Buffers,
    random: RefCell<fastrand::Rng>,
    ticking: Cell<bool>,
}

impl Worker {
    /// The context of worker `index`.
    pub fn new(index: usize) -> Rc<Self> {
        Rc::new(Self {
            index,
            clock: WallClock::new(),
            deadlines: Rc::default(),
            buffers: Buffers::default(),
            random: RefCell::new(fastrand::Rng::new()),
            ticking: Cell::new(false),
        })
    }

    /// A random number; fast, not for secrets.
    #[inline]
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Starts the deadline ticker on the current `LocalSet`; later calls do nothing.
    pub fn start(&self) {
        if !self.ticking.replace(true) {
            tokio::task::spawn_local(self.deadlines.clone().run());
        }
    }
}

//! Requests that wait for a connection of one pool, and when further connections are made for them.
//!
//! [`super::cluster::ClusterState::wait`] joins the queue when its pool has nothing at hand; whatever frees a connection or
//! a stream calls [`Queue::kick`]. Invariant: whoever came first is served first, and who leaves is forgotten at once, so
//! that a queue is never longer than `max_pending_requests` allow.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Waker},
};

use crate::upstream::connect::ConnectError;

/// The queue of one pool.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Rc<Ticket>>>,
    /// Connections of the pool: idle, in use and being made.
    open: Cell<u32>,
    /// Those that are being made.
    connecting: Cell<u32>,
}

/// A place in the queue.
#[derive(Debug, Default)]
struct Ticket {
    waker: RefCell<Option<Waker>>,
    kicked: Cell<bool>,
    failure: RefCell<Option<ConnectError>>,
}

/// A request in the queue; dropping it leaves.
#[derive(Debug)]
pub struct Place {
    queue: Rc<Queue>,
    ticket: Rc<Ticket>,
}

/// A connection that is being made for the queue.
#[derive(Debug)]
pub struct Attempt(Rc<Queue>);

/// A connection of the pool, for as long as it lasts.
#[derive(Debug)]
pub struct Opened(Rc<Queue>);

impl Queue {
    /// True when nobody waits: then what is idle may be taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Number of requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// True when the pool has no connection at all, not even one in the making.
    pub fn is_without_connection(&self) -> bool {
        self.open.get() == 0
    }

    /// True when more requests wait than connections in the making, with so many streams each, will serve.
    pub fn wants_connection(&self, streams: u32) -> bool {
        self.len() as u64 > u64::from(self.connecting.get()) * u64::from(streams)
    }

    /// Something may be free: the first who waits has a look.
    #[inline]
    pub fn kick(&self) {
        if let Some(first) = self.waiting.borrow().front() {
            first.kicked.set(true);
            first.wake();
        }
    }

    /// No connection can be made: all who wait fail, as in Envoy.
    pub fn fail(&self, error: &ConnectError) {
        // Nobody is taken out here: each leaves as it learns of it.
        for ticket in self.waiting.borrow().iter() {
            ticket.failure.borrow_mut().get_or_insert_with(|| error.clone());
            ticket.wake();
        }
    }

    /// A place at the end of the queue.
    pub fn join(self: &Rc<Self>) -> Place {
        let ticket = Rc::<Ticket>::default();
        ticket.kicked.set(true);
        self.waiting.borrow_mut().push_back(ticket.clone());
        Place { queue: self.clone(), ticket }
    }

    /// A connection is being made.
    pub fn attempt(self: &Rc<Self>) -> Attempt {
        self.open.set(self.open.get() + 1);
        self.connecting.set(self.connecting.get() + 1);
        Attempt(self.clone())
    }
}

impl Ticket {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl Place {
    /// True when this is the first in the queue.
    pub fn is_first(&self) -> bool {
        self.queue.waiting.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.ticket))
    }

    /// Why it waited in vain.
    pub fn failure(&self) -> Option<ConnectError> {
        self.ticket.failure.borrow_mut().take()
    }

    /// True once after each kick, and when it has just joined.
    pub fn was_kicked(&self) -> bool {
        self.ticket.kicked.replace(false)
    }

    /// The task to wake.
    pub fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.ticket.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.borrow_mut();
        let Some(at) = waiting.iter().position(|other| Rc::ptr_eq(other, &self.ticket)) else { return };
        waiting.remove(at);
        drop(waiting);
        // Whatever woke this one may serve the next.
        if at == 0 {
            self.queue.kick();
        }
    }
}

impl Attempt {
    /// It is there.
    pub fn connected(self) -> Opened {
        // The attempt's drop takes its own share away.
        self.0.open.set(self.0.open.get() + 1);
        Opened(self.0.clone())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get() - 1);
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.kick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ResetReason, Side, StreamError};

    #[test]
    fn the_first_is_served_first_and_who_leaves_passes_the_word_on() {
        let queue = Rc::new(Queue::default());
        let (first, second, third) = (queue.join(), queue.join(), queue.join());
        assert!(first.was_kicked() && second.was_kicked() && third.was_kicked());
        assert!(first.is_first() && !second.is_first());
        queue.kick();
        assert!(!second.was_kicked() && first.was_kicked());
        drop(second);
        assert_eq!(queue.len(), 2);
        drop(first);
        assert!(third.is_first() && third.was_kicked());
        drop(third);
        assert!(queue.is_empty());
    }

    #[test]
    fn connections_are_made_for_those_that_wait_and_no_more() {
        let queue = Rc::new(Queue::default());
        let _places = [queue.join(), queue.join()];
        assert!(queue.wants_connection(1) && queue.is_without_connection());
        let attempt = queue.attempt();
        assert!(queue.wants_connection(1) && !queue.wants_connection(2));
        let other = queue.attempt();
        assert!(!queue.wants_connection(1));
        drop(other);
        let opened = attempt.connected();
        assert!(queue.wants_connection(1) && !queue.is_without_connection());
        drop(opened);
        assert!(queue.is_without_connection());
    }

    #[test]
    fn a_failure_is_everybodys() {
        let queue = Rc::new(Queue::default());
        let places = [queue.join(), queue.join()];
        let error = StreamError::new(Side::Local, ResetReason::ConnectionTimeout);
        queue.fail(&ConnectError { error, transport: String::new() });
        assert!(places.iter().all(|place| place.failure().is_some()));
        let late = queue.join();
        assert!(late.failure().is_none());
    }
}

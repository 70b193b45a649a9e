//! Draining: telling live connections, on their own thread, that they should end.
//!
//! A worker keeps one [`Group`] per filter chain; every connection on that chain holds a [`Ticket`] of it. Asking a
//! ticket is reading a `Cell`; waiting on it is storing a waker once.
//! Invariant: phases only move forward, and nobody is cut off before [`Phase::Closed`].

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::task::AbortHandle;

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Open,
    /// Finish: `Connection: close` on HTTP/1 responses, GOAWAY on HTTP/2; idle connections may stay.
    Draining,
    /// As `Draining`, and connections without a request in flight close now.
    CloseIdle,
    /// The time is over: whatever is left is cut off.
    Closed,
}

/// The connections of one filter chain on one worker. `Rc<Group>` is the worker's end.
#[derive(Debug)]
pub struct Group {
    phase: Cell<Phase>,
    wakers: RefCell<Vec<Option<Waker>>>,
    tasks: RefCell<Vec<Option<AbortHandle>>>,
    free: RefCell<Vec<u32>>,
    live: Cell<usize>,
}

impl Group {
    /// A group in phase [`Phase::Open`].
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Open),
            wakers: RefCell::default(),
            tasks: RefCell::default(),
            free: RefCell::default(),
            live: Cell::new(0),
        })
    }

    /// A ticket for one more connection.
    pub fn ticket(self: &Rc<Self>) -> Ticket {
        self.live.set(self.live.get() + 1);
        let free = self.free.borrow_mut().pop();
        let slot = free.unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            self.tasks.borrow_mut().push(None);
            (wakers.len() - 1) as u32
        });
        Ticket { group: self.clone(), slot }
    }

    /// Notes the task that serves the connection of a ticket, so that the end of a drain can end it.
    pub fn own(&self, slot: u32, task: AbortHandle) {
        self.tasks.borrow_mut()[slot as usize] = Some(task);
    }

    /// Connections that hold a ticket.
    pub fn live(&self) -> usize {
        self.live.get()
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Moves on to `phase` (never back) and wakes every connection that waits.
    pub fn advance(&self, phase: Phase) {
        if phase <= self.phase.get() {
            return;
        }
        self.phase.set(phase);
        let wakers: Vec<Waker> = self.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
        for waker in wakers {
            waker.wake();
        }
        if phase == Phase::Closed {
            self.tasks.borrow().iter().flatten().for_each(AbortHandle::abort);
        }
    }
}

/// One connection's place in its group; giving it back (dropping it) says that the connection has ended.
#[derive(Debug)]
pub struct Ticket {
    group: Rc<Group>,
    slot: u32,
}

impl Ticket {
    /// The connection's place in its group.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// True once the connection should end as soon as it politely can.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.group.phase.get() != Phase::Open
    }

    /// The current phase.
    #[inline]
    pub fn phase(&self) -> Phase {
        self.group.phase.get()
    }

    /// Ready when the group is at least at `phase`; else the task is woken at the next change. Cheap to call again
    /// from the same task.
    #[inline]
    pub fn poll_phase(&self, cx: &mut Context<'_>, phase: Phase) -> Poll<()> {
        if self.group.phase.get() >= phase {
            return Poll::Ready(());
        }
        let mut wakers = self.group.wakers.borrow_mut();
        let place = &mut wakers[self.slot as usize];
        match place {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => *place = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until the group is at least at `phase`.
    pub async fn reached(&self, phase: Phase) {
        poll_fn(|cx| self.poll_phase(cx, phase)).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.group.live.set(self.group.live.get() - 1);
        self.group.wakers.borrow_mut()[self.slot as usize] = None;
        self.group.tasks.borrow_mut()[self.slot as usize] = None;
        self.group.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_wakes_those_who_wait_and_slots_are_used_again() {
        let group = Group::new();
        let first = group.ticket();
        drop(group.ticket());
        let second = group.ticket();
        assert_eq!((group.live(), second.slot), (2, 1));

        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.poll_phase(&mut cx, Phase::Draining).is_pending());
        group.advance(Phase::CloseIdle);
        group.advance(Phase::Draining);
        assert!(first.poll_phase(&mut cx, Phase::CloseIdle).is_ready());
        assert!(first.poll_phase(&mut cx, Phase::Closed).is_pending());
        assert!(second.is_draining());
    }
}

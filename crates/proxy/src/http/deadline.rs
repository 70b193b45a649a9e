//! Deadlines without a timer per request: tasks write when they are due into a table, one ticker per worker looks.
//!
//! Every connection (or HTTP/2 stream) task holds one [`Deadline`] and moves it as its request goes on, which is a
//! store; the ticker sleeps until the earliest and is disturbed only when an earlier one comes in.
//! Invariants: `next` is never later than the earliest deadline in the table; a task that is woken finds by [`clock::now`] that
//! its time has come.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::http::clock;

/// All deadlines of a worker.
#[derive(Debug, Default)]
pub struct Deadlines {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    next: Cell<Option<Instant>>,
    ticker: RefCell<Option<Waker>>,
}

#[derive(Debug, Default)]
struct Slot {
    at: Option<Instant>,
    due: bool,
    waker: Option<Waker>,
}

/// One task's deadline; unset at first.
#[derive(Debug)]
pub struct Deadline {
    all: Rc<Deadlines>,
    slot: u32,
}

impl Deadlines {
    /// A deadline for one task.
    pub fn register(self: &Rc<Self>) -> Deadline {
        let free = self.free.borrow_mut().pop();
        let slot = free.unwrap_or_else(|| {
            let mut slots = self.slots.borrow_mut();
            slots.push(Slot::default());
            (slots.len() - 1) as u32
        });
        Deadline { all: self.clone(), slot }
    }

    /// Wakes tasks whose deadline has come; runs until the worker ends.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.next.set(self.look());
            let next = self.next.get();
            let disturbed = poll_fn(|cx| self.poll_earlier(cx, next));
            match next {
                None => disturbed.await,
                // At most a thousand looks per second, however close deadlines lie.
                Some(at) => {
                    let at = at.max(Instant::now() + Duration::from_millis(1));
                    tokio::select! { () = tokio::time::sleep_until(at.into()) => {} () = disturbed => {} }
                }
            }
        }
    }

    fn poll_earlier(&self, cx: &mut Context<'_>, planned: Option<Instant>) -> Poll<()> {
        if self.next.get() != planned {
            return Poll::Ready(());
        }
        *self.ticker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The ticker's look. By the clock that tasks go by: one that is woken before its time by that would ask to be woken
    /// again at once, and its thread would never come to rest, nor that clock to a new reading.
    fn look(&self) -> Option<Instant> {
        self.wake_due(clock::read())
    }

    /// Wakes what is due and returns the earliest of the rest.
    fn wake_due(&self, now: Instant) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        for slot in self.slots.borrow_mut().iter_mut() {
            let Some(at) = slot.at else { continue };
            if at <= now {
                slot.at = None;
                slot.due = true;
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            } else if earliest.is_none_or(|earliest| at < earliest) {
                earliest = Some(at);
            }
        }
        earliest
    }

    fn hasten(&self, at: Instant) {
        if self.next.get().is_none_or(|next| at < next) {
            self.next.set(Some(at));
            if let Some(waker) = self.ticker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Deadline {
    /// Moves the deadline; `None` is never.
    #[inline]
    pub fn set(&self, at: Option<Instant>) {
        let mut slots = self.all.slots.borrow_mut();
        let slot = &mut slots[self.slot as usize];
        slot.at = at;
        slot.due = false;
        drop(slots);
        if let Some(at) = at {
            self.all.hasten(at);
        }
    }

    /// Ready once the deadline has come; else the task is woken then.
    #[inline]
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.all.slots.borrow_mut();
        let slot = &mut slots[self.slot as usize];
        if slot.due || slot.at.is_some_and(|at| at <= clock::now()) {
            return Poll::Ready(());
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.slots.borrow_mut()[self.slot as usize] = Slot::default();
        self.all.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_wakes_its_task_and_an_earlier_one_disturbs_the_ticker() {
        let all = Rc::new(Deadlines::default());
        let (first, second) = (all.register(), all.register());
        let mut cx = Context::from_waker(Waker::noop());
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        first.set(Some(now + hour));
        assert_eq!(all.wake_due(now), Some(now + hour));
        assert!(first.poll(&mut cx).is_pending());
        second.set(Some(now + hour / 2));
        assert_eq!(all.next.get(), Some(now + hour / 2));
        assert_eq!(all.wake_due(now + hour / 2), Some(now + hour));
        assert!(second.poll(&mut cx).is_ready());
        assert!(first.poll(&mut cx).is_pending());
        second.set(None);
        assert!(second.poll(&mut cx).is_pending());
    }

    #[test]
    fn who_is_woken_finds_that_its_time_has_come() {
        let all = Rc::new(Deadlines::default());
        let deadline = all.register();
        clock::woke();
        let at = clock::now() + Duration::from_millis(1);
        deadline.set(Some(at));
        std::thread::sleep(Duration::from_millis(2));
        // The thread has not waited since: its time is that of before.
        assert!(clock::now() < at);
        assert_eq!(all.look(), None);
        assert!(deadline.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(clock::now() >= at);
    }
}

//! The futures of a connection's streams, polled by the connection's own task.
//!
//! A task per stream would be an allocation, a queue entry and a wakeup of the connection for each; here a slot's
//! future serves one stream after another in the same memory, and all that are ready run in one turn.
//! Invariant: a slot is polled only when its waker was called or a stream was just given to it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Slots that are kept while nothing happens.
const KEPT: usize = 4;
/// Slots whose readiness shares a word.
const WORD: usize = 64;

/// How a slot's future gets its next stream.
#[derive(Debug)]
pub struct Mailbox<T> {
    next: RefCell<Option<T>>,
    idle: Cell<bool>,
}

impl<T> Mailbox<T> {
    /// Waits for the next stream. Whoever waits here is free.
    pub async fn next(&self) -> T {
        poll_fn(|_| match self.next.borrow_mut().take() {
            Some(next) => {
                self.idle.set(false);
                Poll::Ready(next)
            }
            None => {
                self.idle.set(true);
                Poll::Pending
            }
        })
        .await
    }
}

/// Which slots of a group are ready.
#[derive(Debug)]
struct Group {
    ready: AtomicU64,
    task: Arc<Task>,
}

/// The connection's task.
#[derive(Debug, Default)]
struct Task {
    waker: AtomicWaker,
    woken: AtomicBool,
}

struct SlotWaker {
    group: Arc<Group>,
    bit: u64,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.group.ready.fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0
            && !self.group.task.woken.swap(true, Ordering::AcqRel)
        {
            self.group.task.waker.wake();
        }
    }
}

struct Slot<F, T> {
    future: Pin<Box<F>>,
    mailbox: Rc<Mailbox<T>>,
    waker: Waker,
}

/// The slots of a connection.
pub struct Slots<F, T> {
    slots: Vec<Slot<F, T>>,
    free: Vec<usize>,
    groups: Vec<Arc<Group>>,
    task: Arc<Task>,
}

impl<F, T> fmt::Debug for Slots<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("all", &self.slots.len()).field("free", &self.free.len()).finish()
    }
}

impl<F, T> Default for Slots<F, T> {
    /// No slots yet.
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), groups: Vec::new(), task: Arc::default() }
    }
}

impl<F: Future<Output = ()>, T> Slots<F, T> {
    /// The task to wake when a slot becomes ready; to be called at the start of each of its turns.
    pub fn begin_turn(&self, cx: &Context<'_>) {
        self.task.waker.register(cx.waker());
        self.task.woken.store(false, Ordering::Release);
    }

    /// Gives a stream to a free slot, or to a new one that `make` fills, and lets it run.
    pub fn start(&mut self, next: T, make: impl FnOnce(Rc<Mailbox<T>>) -> F) {
        let at = self.free.pop().unwrap_or_else(|| self.add(make));
        *self.slots[at].mailbox.next.borrow_mut() = Some(next);
        self.poll(at);
    }

    fn add(&mut self, make: impl FnOnce(Rc<Mailbox<T>>) -> F) -> usize {
        let at = self.slots.len();
        if at / WORD == self.groups.len() {
            self.groups.push(Arc::new(Group { ready: AtomicU64::new(0), task: self.task.clone() }));
        }
        let group = self.groups[at / WORD].clone();
        let mailbox = Rc::new(Mailbox { next: RefCell::new(None), idle: Cell::new(false) });
        self.slots.push(Slot {
            future: Box::pin(make(mailbox.clone())),
            mailbox,
            waker: Waker::from(Arc::new(SlotWaker { group, bit: 1 << (at % WORD) })),
        });
        at
    }

    /// Polls what is ready; true when anything was.
    pub fn poll_ready(&mut self) -> bool {
        let mut any = false;
        for group in 0..self.groups.len() {
            let mut ready = self.groups[group].ready.swap(0, Ordering::AcqRel);
            while ready != 0 {
                let at = group * WORD + ready.trailing_zeros() as usize;
                ready &= ready - 1;
                // A slot that is gone may have been woken before it went.
                if at < self.slots.len() && !self.slots[at].mailbox.idle.get() {
                    any = true;
                    self.poll(at);
                }
            }
        }
        any
    }

    fn poll(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        // Slots serve streams without end; they are dropped, they do not return.
        let _ = slot.future.as_mut().poll(&mut Context::from_waker(&slot.waker));
        if slot.mailbox.idle.get() {
            self.free.push(at);
            if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
                self.slots.truncate(KEPT);
                self.free = (0..KEPT).collect();
            }
        }
    }

    /// Slots that work on a stream.
    pub fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each stream ends when its number was said twice; wakers are handed out.
    #[test]
    fn slots_run_when_woken_and_serve_again() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let mut slots = Slots::default();
        let make = |mailbox: Rc<Mailbox<u32>>| {
            let (log, wakers) = (log.clone(), wakers.clone());
            async move {
                loop {
                    let n = mailbox.next().await;
                    log.borrow_mut().push(n);
                    let mut first = true;
                    poll_fn(|cx| {
                        wakers.borrow_mut().push(cx.waker().clone());
                        if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }
                    })
                    .await;
                    log.borrow_mut().push(n);
                }
            }
        };
        for n in 0..100 {
            slots.start(n, make);
        }
        assert_eq!((slots.busy(), slots.poll_ready()), (100, false));
        let woken: Vec<Waker> = [99, 7, 7].iter().map(|at: &usize| wakers.borrow()[*at].clone()).collect();
        woken.iter().for_each(Waker::wake_by_ref);
        assert!(slots.poll_ready() && !slots.poll_ready());
        assert_eq!((slots.busy(), &log.borrow()[100..]), (98, &[7, 99][..]));
        slots.start(100, make);
        assert_eq!(slots.busy(), 99);
        wakers.borrow().iter().for_each(Waker::wake_by_ref);
        slots.poll_ready();
        assert_eq!((slots.busy(), slots.slots.len()), (0, KEPT));
        slots.start(101, make);
        assert_eq!(slots.busy(), 1);
    }

    #[test]
    fn the_task_is_woken_once_per_turn() {
        struct Count(AtomicU64);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicU64::new(0)));
        let task = Waker::from(count.clone());
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let mut slots = Slots::default();
        for n in 0..2 {
            let wakers = wakers.clone();
            slots.start(n, |mailbox: Rc<Mailbox<u32>>| async move {
                mailbox.next().await;
                poll_fn(|cx| {
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::<()>::Pending
                })
                .await;
            });
        }
        for turn in 1..3 {
            slots.begin_turn(&Context::from_waker(&task));
            wakers.borrow().iter().for_each(Waker::wake_by_ref);
            assert_eq!(count.0.load(Ordering::Relaxed), turn);
            assert!(slots.poll_ready());
        }
    }
}

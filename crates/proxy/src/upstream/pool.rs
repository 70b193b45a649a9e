//! Idle HTTP/1 connections of one worker, and the task that notices when an endpoint closes one.
//!
//! [`super::cluster::ClusterState`] keeps a [`Pool`] per endpoint. The connection used last is used first, so that
//! the others can grow old. Invariant: a connection in the pool was quiet when it came in, and one that was disturbed
//! since is never handed out.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    http::clock,
    upstream::{h1::Client, limits::Permit, queue::Queue},
};

/// An idle connection.
#[derive(Debug)]
struct Idle {
    client: Box<Client>,
    connection: Permit,
    until: Option<Until>,
    /// Just made for those who wait: if it fails, that is for the request on it to find out.
    fresh: bool,
}

/// When an idle connection is closed.
#[derive(Debug, Clone, Copy)]
struct Until {
    at: Instant,
    /// For its age, not for being idle.
    aged: bool,
}

/// How long connections of a pool may live.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lifetime {
    /// Without a request.
    pub idle: Option<Duration>,
    /// At all.
    pub age: Option<Duration>,
}

impl Lifetime {
    fn until(self, client: &Client) -> Option<Until> {
        let idle = self.idle.map(|limit| Until { at: clock::now() + limit, aged: false });
        let aged = self.age.map(|limit| Until { at: client.created() + limit, aged: true });
        idle.into_iter().chain(aged).min_by_key(|until| until.at)
    }
}

impl Idle {
    /// True when its time is over, which is then counted.
    fn is_over(&self, now: Instant) -> bool {
        let Some(until) = self.until.filter(|until| until.at <= now) else { return false };
        if until.aged {
            self.connection.aged()
        } else {
            self.connection.timed_out()
        }
        true
    }

    /// False when the endpoint has ended it.
    fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        let quiet = self.client.is_quiet(cx);
        if !quiet {
            self.connection.closed_by_peer();
        }
        quiet
    }
}

/// Idle connections to one endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Requests that wait for one of them.
    pub queue: Rc<Queue>,
    /// Whether the reaper knows this pool.
    listed: Cell<bool>,
}

impl Pool {
    /// The idle connection that was used last and is still good; also drops what is not.
    pub fn take(&self) -> Option<(Box<Client>, Permit)> {
        let mut idle = self.idle.borrow_mut();
        while let Some(entry) = idle.pop() {
            let mut cx = Context::from_waker(Waker::noop());
            if entry.is_over(clock::now()) {
                continue;
            }
            if entry.fresh || entry.is_quiet(&mut cx) {
                entry.connection.set_busy(true);
                return Some((entry.client, entry.connection));
            }
        }
        None
    }

    /// Keeps a connection for later, or for the first who waits.
    pub fn put(
        self: &Rc<Self>,
        mut client: Box<Client>,
        connection: Permit,
        life: Lifetime,
        reaper: &Reaper,
    ) {
        client.release();
        if reaper.watch(self, &client, life) {
            let until = life.until(&client);
            self.idle.borrow_mut().push(Idle { client, connection, until, fresh: false });
            self.queue.kick();
        }
    }

    /// Takes a connection in that was just made.
    pub fn add(self: &Rc<Self>, client: Box<Client>, connection: Permit, life: Lifetime, reaper: &Reaper) {
        if self.queue.is_empty() {
            return self.put(client, connection, life, reaper);
        }
        reaper.watch(self, &client, life);
        let until = life.until(&client);
        self.idle.borrow_mut().push(Idle { client, connection, until, fresh: true });
        self.queue.kick();
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Number of idle connections.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// True without idle connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Closes idle connections that the endpoint closed, or that are idle for too long, without waiting for a request.
#[derive(Debug, Default)]
pub struct Reaper {
    pools: RefCell<Vec<Weak<Pool>>>,
    waker: RefCell<Option<Waker>>,
    /// The shortest time after which a connection of any pool ends.
    shortest: Cell<Option<Duration>>,
}

/// How often idle times are looked at, at least and at most.
const SWEEP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Reaper {
    /// Looks often enough for a pool's connections.
    fn follow(&self, life: Lifetime) {
        if let Some(limit) = life.idle.into_iter().chain(life.age).min()
            && self.shortest.get().is_none_or(|shortest| limit < shortest)
        {
            self.shortest.set(Some(limit));
            // The pause at hand may be too long.
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// How long to wait before the next look.
    fn pause(&self) -> Duration {
        self.shortest.get().map_or(SWEEP.1, |shortest| (shortest / 8).clamp(SWEEP.0, SWEEP.1))
    }

    /// Has the reaper woken when the connection is disturbed; false when it is already.
    fn watch(&self, pool: &Rc<Pool>, client: &Client, life: Lifetime) -> bool {
        if !pool.listed.replace(true) {
            self.pools.borrow_mut().push(Rc::downgrade(pool));
            self.follow(life);
        }
        match &*self.waker.borrow() {
            Some(waker) => client.is_quiet(&mut Context::from_waker(waker)),
            None => true,
        }
    }

    /// Runs until the worker ends.
    pub async fn run(self: Rc<Self>) {
        loop {
            let pause = self.pause();
            let woken = poll_fn(|cx| self.poll_reap(cx, pause));
            // Idle times need no precision, only an end.
            if tokio::time::timeout(pause, woken).await.is_err() {
                self.sweep();
            }
        }
    }

    /// Ready when the next look is due earlier than in `pause`.
    fn poll_reap(&self, cx: &mut Context<'_>, pause: Duration) -> Poll<()> {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        for pool in self.pools.borrow().iter() {
            if let Some(pool) = pool.upgrade() {
                pool.idle.borrow_mut().retain(|entry| entry.fresh || entry.is_quiet(cx));
            }
        }
        if self.pause() < pause { Poll::Ready(()) } else { Poll::Pending }
    }

    fn sweep(&self) {
        let now = clock::now();
        self.pools.borrow_mut().retain(|pool| {
            let Some(pool) = pool.upgrade() else { return false };
            pool.idle.borrow_mut().retain(|entry| !entry.is_over(now));
            true
        });
    }
}

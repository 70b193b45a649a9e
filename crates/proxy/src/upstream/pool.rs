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

use crate::{http::clock, upstream::h1::Client, upstream::limits::Permit};

/// An idle connection.
#[derive(Debug)]
struct Idle {
    client: Box<Client>,
    connection: Permit,
    since: Instant,
}

impl Idle {
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
    /// Whether the reaper knows this pool.
    listed: Cell<bool>,
}

impl Pool {
    /// The idle connection that was used last and is still good; also drops what is not.
    pub fn take(&self, idle_timeout: Option<Duration>) -> Option<(Box<Client>, Permit)> {
        let mut idle = self.idle.borrow_mut();
        while let Some(entry) = idle.pop() {
            let aged = idle_timeout.is_some_and(|limit| clock::now().duration_since(entry.since) >= limit);
            let mut cx = Context::from_waker(Waker::noop());
            if aged {
                entry.connection.timed_out();
            } else if entry.is_quiet(&mut cx) {
                entry.connection.set_busy(true);
                return Some((entry.client, entry.connection));
            }
        }
        None
    }

    /// Keeps a connection for later.
    pub fn put(self: &Rc<Self>, mut client: Box<Client>, connection: Permit, reaper: &Reaper) {
        client.release();
        if reaper.watch(self, &client) {
            self.idle.borrow_mut().push(Idle { client, connection, since: clock::now() });
        }
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
    pools: RefCell<Vec<(Weak<Pool>, Option<Duration>)>>,
    waker: RefCell<Option<Waker>>,
    idle_timeout: Cell<Option<Duration>>,
}

/// How often idle times are looked at.
const SWEEP: Duration = Duration::from_secs(5);

impl Reaper {
    /// The idle timeout of pools that become known from now on.
    pub fn set_idle_timeout(&self, limit: Option<Duration>) {
        self.idle_timeout.set(limit);
    }

    /// Has the reaper woken when the connection is disturbed; false when it is already.
    fn watch(&self, pool: &Rc<Pool>, client: &Client) -> bool {
        if !pool.listed.replace(true) {
            self.pools.borrow_mut().push((Rc::downgrade(pool), self.idle_timeout.get()));
        }
        match &*self.waker.borrow() {
            Some(waker) => client.is_quiet(&mut Context::from_waker(waker)),
            None => true,
        }
    }

    /// Runs until the worker ends.
    pub async fn run(self: Rc<Self>) {
        loop {
            let woken = poll_fn(|cx| self.poll_reap(cx));
            // Idle times need no precision, only an end.
            if tokio::time::timeout(SWEEP, woken).await.is_err() {
                self.sweep();
            }
        }
    }

    fn poll_reap(&self, cx: &mut Context<'_>) -> Poll<()> {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        for (pool, _) in self.pools.borrow().iter() {
            if let Some(pool) = pool.upgrade() {
                pool.idle.borrow_mut().retain(|entry| entry.is_quiet(cx));
            }
        }
        Poll::Pending
    }

    fn sweep(&self) {
        self.pools.borrow_mut().retain(|(pool, limit)| {
            let Some(pool) = pool.upgrade() else { return false };
            if let Some(limit) = limit {
                let now = clock::now();
                pool.idle.borrow_mut().retain(|entry| {
                    let stays = now.duration_since(entry.since) < *limit;
                    if !stays {
                        entry.connection.timed_out();
                    }
                    stays
                });
            }
            true
        });
    }
}

//! Where the process is between start and exit, and how it is asked to end.
//!
//! [`crate::run`] drives it; admin (`/ready`, `/drain_listeners`, `/quitquitquit`, `/healthcheck/*`) and signals ask.
//! Invariant: draining is never taken back but by `/healthcheck/ok`, and nothing here is on the request path.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use crate::{drain::Phase, worker::Workers};

/// `ServerInfo.State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Serving.
    Live,
    /// Failing health checks, finishing what is open.
    Draining,
    /// Before anything was loaded.
    PreInitializing,
    /// Loading; listeners wait for their clusters and routes.
    Initializing,
}

impl State {
    /// As `/server_info` and `/ready` say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }

    /// The number behind `server.state`.
    pub const fn number(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
            Self::Initializing => 3,
        }
    }
}

/// The process's state. Clones are the same.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    workers: Workers,
    started: Instant,
    drain_time: Duration,
    initialized: watch::Sender<bool>,
    initialization: OnceLock<Duration>,
    failing: AtomicBool,
    draining: AtomicBool,
    quit: Notify,
}

impl Lifecycle {
    /// A process that has just started.
    pub fn new(workers: Workers, drain_time: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                workers,
                started: Instant::now(),
                drain_time,
                initialized: watch::Sender::new(false),
                initialization: OnceLock::new(),
                failing: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                quit: Notify::new(),
            }),
        }
    }

    /// The state now.
    pub fn state(&self) -> State {
        let inner = &self.inner;
        if inner.failing.load(Ordering::Relaxed) || inner.draining.load(Ordering::Relaxed) {
            State::Draining
        } else if *inner.initialized.borrow() {
            State::Live
        } else {
            State::Initializing
        }
    }

    /// Everything that had to be loaded is in force.
    pub fn set_initialized(&self) {
        let inner = &self.inner;
        inner.initialization.get_or_init(|| inner.started.elapsed());
        inner.initialized.send_replace(true);
    }

    /// How long it took to get there.
    pub fn initialization(&self) -> Option<Duration> {
        self.inner.initialization.get().copied()
    }

    /// Waits until [`Self::set_initialized`] was called.
    pub async fn initialized(&self) {
        // The sender lives as long as we do.
        let _ = self.inner.initialized.subscribe().wait_for(|done| *done).await;
    }

    /// When the process started.
    pub fn started(&self) -> Instant {
        self.inner.started
    }

    /// `--drain-time-s`.
    pub fn drain_time(&self) -> Duration {
        self.inner.drain_time
    }

    /// `/healthcheck/fail` and `/healthcheck/ok`.
    pub fn set_failing(&self, failing: bool) {
        self.inner.failing.store(failing, Ordering::Relaxed);
    }

    /// `/drain_listeners`: listeners (all, or inbound ones) stop accepting, at once or, when `graceful`, after the
    /// drain time, in which clients are asked to leave.
    pub fn drain_listeners(&self, inbound_only: bool, graceful: bool) {
        let workers = self.inner.workers.clone();
        if !graceful {
            return workers.stop_accepting(inbound_only);
        }
        self.set_failing(true);
        drop(workers.drain(Phase::Draining));
        let time = self.inner.drain_time;
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            workers.stop_accepting(inbound_only);
        });
    }

    /// `/quitquitquit`: ends the process soon, without waiting for connections.
    pub fn quit(&self) {
        self.inner.quit.notify_one();
    }

    /// Waits for [`Self::quit`].
    pub async fn quitting(&self) {
        self.inner.quit.notified().await;
    }

    /// SIGTERM: not ready any more, no new connections, those that are open finish. Returns when none is left or the
    /// drain time is over, whichever is first.
    pub async fn drain(&self) {
        let inner = &self.inner;
        inner.draining.store(true, Ordering::Relaxed);
        inner.workers.stop_accepting(false);
        // Idle connections get a moment: a client may be about to use one.
        let grace = (inner.drain_time / 4).min(Duration::from_secs(1));
        let finished = inner.workers.drain(Phase::Draining).wait();
        if tokio::time::timeout(grace, finished).await.is_ok() {
            return;
        }
        let finished = inner.workers.drain(Phase::CloseIdle).wait();
        let rest = inner.drain_time.saturating_sub(grace);
        if tokio::time::timeout(rest, finished).await.is_err() {
            tracing::warn!("the drain time is over: closing the connections that are left");
            let closed = inner.workers.drain(Phase::Closed).wait();
            // Aborting needs only a turn of each worker.
            let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
        }
    }
}

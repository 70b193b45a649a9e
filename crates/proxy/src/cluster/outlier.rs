//! Outlier detection: hosts whose answers stand out badly get no traffic for a while.
//!
//! Workers report what becomes of requests ([`Cluster::report`]); one task per cluster, started by its first report,
//! ejects hosts and takes them back. Invariant: Envoy's rules
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>): the share of ejected hosts never
//! passes `max_ejection_percent`, and each ejection of a host lasts longer than the one before.

mod detector;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{Cluster, Endpoint};
use crate::stats::groups::OutlierStats;

/// A compiled `OutlierDetection`, with Envoy's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// `interval`, default 10 s.
    pub interval: Duration,
    /// `base_ejection_time`, default 30 s.
    pub base_ejection_time: Duration,
    /// `max_ejection_time`, default 300 s or the base if that is more.
    pub max_ejection_time: Duration,
    /// `max_ejection_time_jitter`, default none.
    pub jitter: Duration,
    /// `consecutive_5xx`, default 5, and its enforcing share, default 100.
    pub consecutive_5xx: (u32, u32),
    /// `consecutive_gateway_failure`, default 5, and its enforcing share, default 0.
    pub consecutive_gateway: (u32, u32),
    /// `consecutive_local_origin_failure`, default 5, and its enforcing share, default 100.
    pub consecutive_local: (u32, u32),
    /// `max_ejection_percent`, default 10.
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`.
    pub always_one: bool,
    /// `split_external_local_origin_errors`.
    pub split: bool,
    /// `success_rate_minimum_hosts`, default 5; `success_rate_request_volume`, default 100.
    pub success_rate: (u32, u32),
    /// `success_rate_stdev_factor` in thousandths, default 1900.
    pub stdev_factor: u32,
    /// Enforcing shares of success rate, external (100) and local origin (100).
    pub enforcing_success_rate: (u32, u32),
    /// `failure_percentage_minimum_hosts`, default 5; `failure_percentage_request_volume`, default 50.
    pub failure_percentage: (u32, u32),
    /// `failure_percentage_threshold`, default 85.
    pub failure_threshold: u32,
    /// Enforcing shares of failure percentage, external (0) and local origin (0).
    pub enforcing_failure_percentage: (u32, u32),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            jitter: Duration::ZERO,
            consecutive_5xx: (5, 100),
            consecutive_gateway: (5, 0),
            consecutive_local: (5, 100),
            max_ejection_percent: 10,
            always_one: false,
            split: false,
            success_rate: (5, 100),
            stdev_factor: 1900,
            enforcing_success_rate: (100, 100),
            failure_percentage: (5, 50),
            failure_threshold: 85,
            enforcing_failure_percentage: (0, 0),
        }
    }
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response with this status.
    Status(u16),
    /// A connection was made; only counts where errors are split.
    Connected,
    /// No connection, or it broke before a response.
    Failed,
    /// No response in time.
    TimedOut,
}

/// Why a host is to be ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// So many 5xx in a row.
    Consecutive5xx,
    /// So many 502, 503, 504 in a row.
    ConsecutiveGateway,
    /// So many failed connections in a row.
    ConsecutiveLocal,
    /// Its success rate stands out.
    SuccessRate,
    /// Likewise, of connections.
    SuccessRateLocal,
    /// Too many of its answers are errors.
    FailurePercentage,
    /// Likewise, of connections.
    FailurePercentageLocal,
}

/// What is known of a host; made by its first report.
#[derive(Debug, Default)]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    /// Requests and successes of this interval: by answers, by connections.
    counts: [(AtomicU32, AtomicU32); 2],
    /// Success rates of the last interval in hundredths of a percent, as far as they say anything.
    pub(super) rates: Mutex<[Option<u32>; 2]>,
    history: Mutex<History>,
}

/// Ejections of a host.
#[derive(Debug, Default, Clone, Copy)]
struct History {
    /// How often the base time the next ejection lasts, less one.
    backoff: u32,
    ejected: Option<Instant>,
    returned: Option<Instant>,
    jitter: Duration,
}

/// The detector of a cluster.
#[derive(Debug)]
pub struct Detector {
    /// Its settings.
    pub settings: Settings,
    /// `cluster.<stat_name>.outlier_detection.`
    pub stats: OutlierStats,
    events: mpsc::Sender<Event>,
    /// Taken by the task when it starts.
    receiver: Mutex<Option<mpsc::Receiver<Event>>>,
    started: AtomicBool,
    runtime: Option<Handle>,
}

/// A host that has failed too often in a row.
type Event = (Arc<Endpoint>, Kind);

/// Events that may wait; more than that say nothing new.
const EVENTS: usize = 256;

impl Detector {
    /// A detector whose task will run on `runtime`.
    pub fn new(settings: Settings, runtime: Option<Handle>) -> Self {
        let (events, receiver) = mpsc::channel(EVENTS);
        let receiver = Mutex::new(Some(receiver));
        let stats = OutlierStats::default();
        Self { settings, stats, events, receiver, started: AtomicBool::new(false), runtime }
    }

    fn count(&self, host: &Arc<Endpoint>, outcome: Outcome) {
        let monitor = host.monitor.get_or_init(Box::default);
        match (outcome, self.settings.split) {
            (Outcome::Status(status), _) => self.external(host, monitor, status),
            (Outcome::Connected, true) => self.local(host, monitor, true),
            (Outcome::Connected, false) => {}
            (Outcome::Failed | Outcome::TimedOut, true) => self.local(host, monitor, false),
            (Outcome::Failed, false) => self.external(host, monitor, 503),
            (Outcome::TimedOut, false) => self.external(host, monitor, 504),
        }
    }

    fn external(&self, host: &Arc<Endpoint>, monitor: &Monitor, status: u16) {
        let (all, good) = &monitor.counts[0];
        all.fetch_add(1, Ordering::Relaxed);
        if !(500..600).contains(&status) {
            good.fetch_add(1, Ordering::Relaxed);
            monitor.consecutive_5xx.store(0, Ordering::Relaxed);
            monitor.consecutive_gateway.store(0, Ordering::Relaxed);
            return;
        }
        match (502..=504).contains(&status) {
            true => self.strike(
                host,
                &monitor.consecutive_gateway,
                self.settings.consecutive_gateway.0,
                Kind::ConsecutiveGateway,
            ),
            false => monitor.consecutive_gateway.store(0, Ordering::Relaxed),
        }
        self.strike(host, &monitor.consecutive_5xx, self.settings.consecutive_5xx.0, Kind::Consecutive5xx);
    }

    fn local(&self, host: &Arc<Endpoint>, monitor: &Monitor, good: bool) {
        let (all, successes) = &monitor.counts[1];
        all.fetch_add(1, Ordering::Relaxed);
        if good {
            successes.fetch_add(1, Ordering::Relaxed);
            monitor.consecutive_local.store(0, Ordering::Relaxed);
            return;
        }
        let limit = self.settings.consecutive_local.0;
        self.strike(host, &monitor.consecutive_local, limit, Kind::ConsecutiveLocal);
    }

    fn strike(&self, host: &Arc<Endpoint>, count: &AtomicU32, limit: u32, kind: Kind) {
        if limit > 0 && count.fetch_add(1, Ordering::Relaxed) + 1 >= limit {
            // When the queue is full, the next error says it again.
            let _ = self.events.try_send((host.clone(), kind));
        }
    }
}

impl Cluster {
    /// Reports what became of a try at a host. Costs a load where there is no detector.
    #[inline]
    pub fn report(self: &Arc<Self>, host: &Arc<Endpoint>, outcome: Outcome) {
        let Some(detector) = &self.outlier else { return };
        if !detector.started.load(Ordering::Relaxed) {
            self.watch_outliers();
        }
        detector.count(host, outcome);
    }

    /// Begins without ejections: those of the cluster before end with it, as in Envoy.
    pub(crate) fn forgive(&self) {
        if self.endpoints.is_cold() {
            return;
        }
        let set = self.endpoints.load_full();
        let out: Vec<_> = set.iter().filter(|host| host.is_ejected()).collect();
        out.iter().for_each(|host| host.set_ejected(false));
        if !out.is_empty() {
            self.endpoints.refresh();
        }
    }

    #[cold]
    fn watch_outliers(self: &Arc<Self>) {
        let Some(detector) = &self.outlier else { return };
        if detector.started.swap(true, Ordering::Relaxed) {
            return;
        }
        let receiver = detector.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(runtime), Some(receiver)) = (&detector.runtime, receiver) {
            runtime.spawn(detector::run(Arc::downgrade(self), detector.settings.interval, receiver));
        }
    }
}

impl Monitor {
    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Success rates of the last interval, by answers and by connections, in percent.
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.map(|rate| rate.map(|rate| f64::from(rate) / 100.0))
    }

    fn forget_streaks(&self) {
        for streak in [&self.consecutive_5xx, &self.consecutive_gateway, &self.consecutive_local] {
            streak.store(0, Ordering::Relaxed);
        }
    }
}

//! The task that ejects hosts and takes them back.
//!
//! Started by a cluster's first report; ends with the cluster. Invariant: it alone changes who is ejected.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{Cluster, Detector, Endpoint, Kind};
use crate::stats::Counter;

/// Runs until the cluster is gone.
pub(super) async fn run(
    cluster: Weak<Cluster>,
    interval: Duration,
    mut events: mpsc::Receiver<(Arc<Endpoint>, Kind)>,
) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first is at once.
    ticks.tick().await;
    loop {
        let event = tokio::select! {
            _ = ticks.tick() => None,
            event = events.recv() => match event {
                Some(event) => Some(event),
                None => return,
            },
        };
        let Some(cluster) = cluster.upgrade() else { return };
        let Some(detector) = &cluster.outlier else { return };
        let round = Round { cluster: &cluster, detector, now: Instant::now() };
        match event {
            Some((host, kind)) => round.consecutive(&host, kind),
            None => round.interval(),
        }
    }
}

/// One look at a cluster.
pub(super) struct Round<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) detector: &'a Detector,
    pub(super) now: Instant,
}

impl Round<'_> {
    /// A host has failed too often in a row.
    pub(super) fn consecutive(&self, host: &Arc<Endpoint>, kind: Kind) {
        let set = self.cluster.endpoints.load_full();
        let hosts: Vec<_> = set.iter().cloned().collect();
        if host.is_ejected() || !hosts.iter().any(|known| Arc::ptr_eq(known, host)) {
            return;
        }
        let changed = self.eject(host, kind, &hosts);
        if let Some(monitor) = host.monitor.get() {
            let streak = match kind {
                Kind::ConsecutiveGateway => &monitor.consecutive_gateway,
                Kind::ConsecutiveLocal => &monitor.consecutive_local,
                _ => {
                    self.detector.stats.ejections_consecutive_5xx.inc();
                    &monitor.consecutive_5xx
                }
            };
            streak.store(0, Ordering::Relaxed);
        }
        if changed {
            self.cluster.endpoints.refresh();
        }
    }

    /// An interval has passed: hosts come back, success rates are compared.
    pub(super) fn interval(&self) {
        let set = self.cluster.endpoints.load_full();
        let hosts: Vec<_> = set.iter().cloned().collect();
        let mut changed = false;
        for host in &hosts {
            changed |= self.take_back(host);
        }
        for local in [false, true] {
            changed |= self.compare(&hosts, local);
        }
        let interval = self.detector.settings.interval;
        for host in hosts.iter().filter(|host| !host.is_ejected()) {
            let Some(monitor) = host.monitor.get() else { continue };
            let mut history = monitor.history();
            if history.returned.is_some_and(|at| self.now.duration_since(at) >= interval) {
                history.backoff = history.backoff.saturating_sub(1);
            }
        }
        // Hosts that are gone have taken their ejections with them.
        self.detector
            .stats
            .ejections_active
            .set(hosts.iter().filter(|host| host.is_ejected()).count() as i64);
        if changed {
            self.cluster.endpoints.refresh();
        }
    }

    fn take_back(&self, host: &Endpoint) -> bool {
        let Some(monitor) = host.monitor.get().filter(|_| host.is_ejected()) else { return false };
        let settings = &self.detector.settings;
        let mut history = monitor.history();
        let lasts =
            settings.base_ejection_time.saturating_mul(history.backoff).min(settings.max_ejection_time);
        let since = history.ejected.map_or(Duration::MAX, |at| self.now.duration_since(at));
        if since < lasts.saturating_add(history.jitter) {
            return false;
        }
        history.returned = Some(self.now);
        drop(history);
        monitor.forget_streaks();
        host.set_ejected(false);
        tracing::info!(cluster = %self.cluster.name, host = %host.label, "host is back after its ejection");
        true
    }

    /// Ejects a host unless too many are out already; true when it is out now.
    fn eject(&self, host: &Endpoint, kind: Kind, hosts: &[Arc<Endpoint>]) -> bool {
        let (settings, stats) = (&self.detector.settings, &self.detector.stats);
        detected(self.detector, kind).inc();
        let active = hosts.iter().filter(|host| host.is_ejected()).count();
        let share = 100.0 * (active + 1) as f64 / hosts.len().max(1) as f64;
        let allowed = share <= f64::from(settings.max_ejection_percent.min(100));
        if !(allowed || settings.always_one && active == 0) {
            stats.ejections_overflow.inc();
            return false;
        }
        if matches!(kind, Kind::Consecutive5xx | Kind::SuccessRate) {
            stats.ejections_total.inc();
        }
        let (enforcing, enforced) = enforced(self.detector, kind);
        if fastrand::u32(..100) >= enforcing {
            return false;
        }
        enforced.inc();
        stats.ejections_enforced_total.inc();
        stats.ejections_active.inc();
        let monitor = host.monitor.get_or_init(Box::default);
        let mut history = monitor.history();
        history.ejected = Some(self.now);
        history.jitter = Duration::from_millis(fastrand::u64(..=settings.jitter.as_millis() as u64));
        let next = settings.base_ejection_time.saturating_mul(history.backoff);
        if next < settings.max_ejection_time + settings.base_ejection_time {
            history.backoff += 1;
        }
        drop(history);
        host.set_ejected(true);
        tracing::warn!(cluster = %self.cluster.name, host = %host.label, ?kind, "host is ejected");
        true
    }

    /// Success rates of the interval that ended, by answers or by connections.
    fn compare(&self, hosts: &[Arc<Endpoint>], local: bool) -> bool {
        let settings = &self.detector.settings;
        let mut rated = Vec::new();
        for host in hosts {
            let Some(monitor) = host.monitor.get() else { continue };
            let (all, good) = &monitor.counts[usize::from(local)];
            let (all, good) = (all.swap(0, Ordering::Relaxed), good.swap(0, Ordering::Relaxed));
            let rate = (all > 0).then(|| 100.0 * f64::from(good) / f64::from(all));
            let volume = settings.success_rate.1.min(settings.failure_percentage.1);
            let shown = rate.filter(|_| all >= volume).map(|rate| (rate * 100.0) as u32);
            monitor.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[usize::from(local)] =
                shown;
            if let Some(rate) = rate.filter(|_| !host.is_ejected()) {
                rated.push((host, rate, all));
            }
        }
        let mut changed = false;
        let enough = |volume: u32| rated.iter().filter(move |(_, _, all)| *all >= volume);
        let (minimum, volume) = settings.success_rate;
        let count = enough(volume).count();
        if count > 0 && count >= minimum as usize {
            let mean = enough(volume).map(|(_, rate, _)| rate).sum::<f64>() / count as f64;
            let variance =
                enough(volume).map(|(_, rate, _)| (rate - mean).powi(2)).sum::<f64>() / count as f64;
            let threshold = mean - f64::from(settings.stdev_factor) / 1000.0 * variance.sqrt();
            let kind = if local { Kind::SuccessRateLocal } else { Kind::SuccessRate };
            for (host, _, _) in enough(volume).filter(|(_, rate, _)| *rate < threshold) {
                self.detector.stats.ejections_success_rate.inc();
                changed |= self.eject(host, kind, hosts);
            }
        }
        let (minimum, volume) = settings.failure_percentage;
        let count = enough(volume).count();
        if count > 0 && count >= minimum as usize {
            let kind = if local { Kind::FailurePercentageLocal } else { Kind::FailurePercentage };
            let bad = |rate: f64| 100.0 - rate >= f64::from(settings.failure_threshold);
            for (host, _, _) in enough(volume).filter(|(host, rate, _)| bad(*rate) && !host.is_ejected()) {
                changed |= self.eject(host, kind, hosts);
            }
        }
        changed
    }
}

fn detected(detector: &Detector, kind: Kind) -> &Counter {
    let stats = &detector.stats;
    match kind {
        Kind::Consecutive5xx => &stats.ejections_detected_consecutive_5xx,
        Kind::ConsecutiveGateway => &stats.ejections_detected_consecutive_gateway_failure,
        Kind::ConsecutiveLocal => &stats.ejections_detected_consecutive_local_origin_failure,
        Kind::SuccessRate => &stats.ejections_detected_success_rate,
        Kind::SuccessRateLocal => &stats.ejections_detected_local_origin_success_rate,
        Kind::FailurePercentage => &stats.ejections_detected_failure_percentage,
        Kind::FailurePercentageLocal => &stats.ejections_detected_local_origin_failure_percentage,
    }
}

/// The share of ejections that are carried out, and where those are counted.
fn enforced(detector: &Detector, kind: Kind) -> (u32, &Counter) {
    let (settings, stats) = (&detector.settings, &detector.stats);
    match kind {
        Kind::Consecutive5xx => (settings.consecutive_5xx.1, &stats.ejections_enforced_consecutive_5xx),
        Kind::ConsecutiveGateway => {
            (settings.consecutive_gateway.1, &stats.ejections_enforced_consecutive_gateway_failure)
        }
        Kind::ConsecutiveLocal => {
            (settings.consecutive_local.1, &stats.ejections_enforced_consecutive_local_origin_failure)
        }
        Kind::SuccessRate => (settings.enforcing_success_rate.0, &stats.ejections_enforced_success_rate),
        Kind::SuccessRateLocal => {
            (settings.enforcing_success_rate.1, &stats.ejections_enforced_local_origin_success_rate)
        }
        Kind::FailurePercentage => {
            (settings.enforcing_failure_percentage.0, &stats.ejections_enforced_failure_percentage)
        }
        Kind::FailurePercentageLocal => (
            settings.enforcing_failure_percentage.1,
            &stats.ejections_enforced_local_origin_failure_percentage,
        ),
    }
}

//! The task that asks the hosts of one cluster, each at its own pace.
//!
//! Started by the plane, ended by it. Invariant: it never keeps the cluster alive while it waits.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use rustc_hash::FxHashMap;

use super::{
    Change, Checker, Failure, Settings, Streak, Verdict,
    probe::{self, Asked, Link},
};
use crate::cluster::{Cluster, Endpoint};

/// What came of asking a host.
struct Answer {
    host: usize,
    verdict: Verdict,
    link: Option<Link>,
}

type Asking = FuturesUnordered<BoxFuture<'static, Answer>>;

/// A host that is asked.
struct Host {
    endpoint: Arc<Endpoint>,
    streak: Streak,
}

/// Asks the cluster's hosts until it is gone. `used` becomes true once the cluster has traffic; `all_asked` is called when each
/// host of the beginning was asked once.
pub async fn watch(
    cluster: Weak<Cluster>,
    checker: Arc<Checker>,
    used: Arc<AtomicBool>,
    all_asked: impl FnOnce() + Send,
) {
    let mut watch =
        Watch { checker: checker.clone(), used, hosts: FxHashMap::default(), asking: Asking::new() };
    let mut all_asked = Some(all_asked);
    loop {
        let Some(strong) = cluster.upgrade() else { return };
        watch.follow(&strong);
        drop(strong);
        if watch.hosts.values().all(|host| !host.streak.is_new())
            && let Some(all_asked) = all_asked.take()
        {
            all_asked();
        }
        let answer = tokio::select! {
            Some(answer) = watch.asking.next() => Some(answer),
            () = checker.moved.notified() => None,
        };
        let (Some(answer), Some(cluster)) = (answer, cluster.upgrade()) else { continue };
        watch.take(&cluster, answer);
    }
}

struct Watch {
    checker: Arc<Checker>,
    used: Arc<AtomicBool>,
    /// By address of the endpoint's `Arc`.
    hosts: FxHashMap<usize, Host>,
    asking: Asking,
}

impl Watch {
    /// Asks hosts that are new, forgets those that are gone.
    fn follow(&mut self, cluster: &Cluster) {
        let set = cluster.endpoints.load_full();
        let mut now: FxHashMap<usize, &Arc<Endpoint>> = FxHashMap::default();
        for host in set.iter().filter(|host| !host.check.as_ref().is_some_and(|check| check.disabled)) {
            now.insert(Arc::as_ptr(host) as usize, host);
        }
        let before = self.hosts.len();
        self.hosts.retain(|key, _| now.contains_key(key));
        let mut changed = self.hosts.len() != before;
        for (key, endpoint) in now {
            if !self.hosts.contains_key(&key) {
                let host = Host { endpoint: endpoint.clone(), streak: Streak::default() };
                let jitter = self.checker.settings.initial_jitter.as_millis() as u64;
                let pause = if jitter > 0 { fastrand::u64(..jitter) } else { 0 };
                self.ask(cluster, key, &host, Duration::from_millis(pause), None);
                self.hosts.insert(key, host);
                changed = true;
            }
        }
        if changed {
            self.count();
        }
    }

    /// Asks after a pause.
    fn ask(&self, cluster: &Cluster, key: usize, host: &Host, pause: Duration, link: Option<Link>) {
        let settings = self.checker.settings.clone();
        let asked = Asked {
            endpoint: host.endpoint.clone(),
            settings: cluster.settings.clone(),
            name: cluster.name.clone(),
            alt_port: settings.port,
        };
        self.asking.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let link = link.filter(|_| settings.reuse);
            let asking = probe::ask(&asked, &settings.check, link);
            let (verdict, link) = match tokio::time::timeout(settings.timeout, asking).await {
                Ok(found) => found,
                Err(_) => (Verdict::Bad(Failure::Timeout), None),
            };
            Answer { host: key, verdict, link }
        }));
    }

    fn take(&mut self, cluster: &Cluster, answer: Answer) {
        let Settings { healthy_threshold, unhealthy_threshold, .. } = *self.checker.settings;
        // One that is gone was asked for nothing.
        let Some(host) = self.hosts.get_mut(&answer.host) else { return };
        let stats = &self.checker.stats;
        stats.attempt.inc();
        match answer.verdict {
            Verdict::Good { .. } => stats.success.inc(),
            Verdict::Bad(failure) => {
                stats.failure.inc();
                if matches!(failure, Failure::Network | Failure::Timeout) {
                    stats.network_failure.inc();
                }
            }
        }
        let change =
            host.streak.take(&host.endpoint, answer.verdict, (healthy_threshold, unhealthy_threshold));
        let healthy = !host.endpoint.has_failed_check();
        let used = self.used.load(Ordering::Relaxed);
        let pause = self.checker.settings.pause(healthy, change, used, &mut fastrand::Rng::new());
        if change == Change::Changed {
            let host = &host.endpoint.label;
            tracing::info!(cluster = %cluster.name, %host, healthy, "health check");
            cluster.endpoints.refresh();
            self.count();
        }
        if let Some(host) = self.hosts.get(&answer.host) {
            self.ask(cluster, answer.host, host, pause, answer.link);
        }
    }

    fn count(&self) {
        let healthy = self.hosts.values().filter(|host| !host.endpoint.has_failed_check());
        self.checker.stats.healthy.set(healthy.count() as i64);
        let degraded = self.hosts.values().filter(|host| host.endpoint.is_degraded_by_check());
        self.checker.stats.degraded.set(degraded.count() as i64);
    }
}

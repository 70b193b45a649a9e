//! Statistics that nobody counts: they are read off clusters, listeners and the process when somebody asks.
//!
//! Invariant: names are Envoy's, and what Envoy shows from the start is shown from the start.

use std::sync::atomic::Ordering;

use super::Admin;
use crate::{
    cluster::{Cluster, ClusterSlot, Health, Limits},
    lifecycle::State,
    stats::{
        Group, Sample,
        groups::{CircuitBreakerStats, ClusterStats, MembershipStats, ServerStats},
    },
    upstream::limits::{InUse, Resource},
    xds::view::{Kind, Resource as Known},
};

impl Admin {
    /// What is known of clusters without any worker: hosts, discovery, circuit breakers; and what workers would say of
    /// those that they never used.
    pub(super) fn of_clusters(&self, add: &mut Add<'_>) {
        let used = self.workers.stats();
        for slot in self.view.slots() {
            let Some(cluster) = slot.load().clone() else { continue };
            let prefix = format!("cluster.{}.", cluster.stat_name);
            membership(&slot, &cluster).visit(&mut |name, sample| add(&prefix, name, sample));
            if !used.has::<ClusterStats>(&prefix) {
                ClusterStats::default().visit(&mut |name, sample| add(&prefix, name, sample));
            }
            if let Some(health) = &cluster.health {
                let prefix = format!("{prefix}health_check.");
                health.stats.visit(&mut |name, sample| add(&prefix, name, sample));
            }
            if let Some(outlier) = &cluster.outlier {
                let prefix = format!("{prefix}outlier_detection.");
                outlier.stats.visit(&mut |name, sample| add(&prefix, name, sample));
            }
            for (priority, high) in [("default", false), ("high", true)] {
                let prefix = format!("{prefix}circuit_breakers.{priority}.");
                let (limits, in_use) = (cluster.settings.limits_at(high), slot.in_use_at(high));
                breakers(in_use, limits).visit(&mut |name, sample| add(&prefix, name, sample));
                if limits.tracks_remaining {
                    for (name, resource, limit) in remaining(limits) {
                        let left = limit.saturating_sub(in_use.get(resource));
                        add(&prefix, name, Sample::Gauge(left.into()));
                    }
                }
            }
        }
    }

    pub(super) fn of_process(&self, add: &mut Add<'_>) {
        let state = self.lifecycle.state();
        let listeners = self.workers.listeners();
        let open =
            listeners.iter().flat_map(|(_, shards)| shards).map(|shard| shard.downstream_cx_active.get());
        let server = ServerStats::default();
        server.live.set(i64::from(state == State::Live));
        server.state.set(state.number() as i64);
        server.uptime.set(self.lifecycle.started().elapsed().as_secs() as i64);
        server.concurrency.set(self.workers.count() as i64);
        server.total_connections.set(open.sum());
        // Envoy's "none".
        server.days_until_first_cert_expiring.set(i64::from(u32::MAX));
        let memory = super::super::resident() as i64;
        for gauge in [&server.memory_allocated, &server.memory_heap_size, &server.memory_physical_size] {
            gauge.set(memory);
        }
        if let Some(took) = self.lifecycle.initialization() {
            server.initialization_time_ms.record(took.as_millis() as u64);
        }
        server.visit(&mut |name, sample| add("server.", name, sample));
        for (prefix, kind, name) in [
            ("cluster_manager.", Kind::Cluster, "clusters"),
            ("listener_manager.", Kind::Listener, "listeners"),
        ] {
            let resources = self.view.resources(kind);
            let of = |pick: fn(&Known) -> bool| resources.iter().filter(|(_, known)| pick(known)).count();
            let (active, warming) = (of(|known| known.active.is_some()), of(|known| known.warming.is_some()));
            let (active_name, warming_name) = match kind {
                Kind::Cluster => (format!("active_{name}"), format!("warming_{name}")),
                _ => (format!("total_{name}_active"), format!("total_{name}_warming")),
            };
            add(prefix, &active_name, Sample::Gauge(active as i64));
            add(prefix, &warming_name, Sample::Gauge(warming as i64));
        }
        add("listener_manager.", "workers_started", Sample::Gauge(1));
    }
}

/// Takes prefix, name and sample.
pub(super) type Add<'a> = dyn FnMut(&str, &str, Sample) + 'a;

fn membership(slot: &ClusterSlot, cluster: &Cluster) -> MembershipStats {
    let stats = MembershipStats::default();
    let hosts = cluster.endpoints.peek();
    let of = |health| hosts.iter().filter(|host| host.health() == health).count() as i64;
    stats.membership_total.set(hosts.iter().count() as i64);
    stats.membership_healthy.set(of(Health::Healthy));
    stats.membership_degraded.set(of(Health::Degraded));
    stats.max_host_weight.set(hosts.iter().map(|host| i64::from(host.weight())).max().unwrap_or(0));
    stats.membership_change.add(u64::from(slot.changes.load(Ordering::Relaxed)));
    let subsets = hosts.subsets.as_ref().map_or(0, |subsets| subsets.active());
    stats.lb_subsets_active.set(subsets.into());
    let updates = u64::from(slot.updates.load(Ordering::Relaxed));
    stats.update_success.add(updates);
    stats.update_attempt.add(updates);
    stats
}

/// What `track_remaining` counts down from.
fn remaining(limits: &Limits) -> [(&'static str, Resource, u32); 4] {
    [
        ("remaining_cx", Resource::Connections, limits.connections),
        ("remaining_pending", Resource::Pending, limits.pending_requests),
        ("remaining_rq", Resource::Requests, limits.requests),
        ("remaining_retries", Resource::Retries, limits.retries),
    ]
}

/// Which limits are reached now.
fn breakers(in_use: &InUse, limits: &Limits) -> CircuitBreakerStats {
    let stats = CircuitBreakerStats::default();
    for (gauge, resource, limit) in [
        (&stats.cx_open, Resource::Connections, limits.connections),
        (&stats.rq_open, Resource::Requests, limits.requests),
        (&stats.rq_pending_open, Resource::Pending, limits.pending_requests),
        (&stats.rq_retry_open, Resource::Retries, limits.retries),
    ] {
        // As in Envoy, a limit of none is reached once something passes all the same.
        gauge.set(i64::from(in_use.get(resource) >= limit.max(1)));
    }
    stats
}

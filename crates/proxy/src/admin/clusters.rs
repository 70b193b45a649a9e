//! `/clusters`: every cluster in force with its endpoints, as text or in the shape of `envoy.admin.v3.Clusters`.
//!
//! Invariant: what is printed was read at one moment per cluster, without stopping a worker.

use std::fmt::Write;

use http::StatusCode;
use meltemi_xds::json;
use serde_json::{Value, json};

use super::{Admin, Answer, Query};
use crate::cluster::{Cluster, Endpoint, Health};

impl Admin {
    pub(super) fn clusters(&self, query: &Query<'_>) -> Answer {
        let filter = query.get("filter").map(|filter| regex::Regex::new(&filter)).transpose();
        let filter = match filter {
            Ok(filter) => filter,
            Err(error) => return super::text(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n")),
        };
        let mut clusters = self.view.clusters();
        clusters.retain(|cluster| filter.as_ref().is_none_or(|filter| filter.is_match(&cluster.name)));
        if query.wants_json() {
            let statuses: Vec<_> = clusters.iter().map(|cluster| self.cluster_status(cluster)).collect();
            return super::json(super::pretty(&json!({ "cluster_statuses": statuses })));
        }
        let mut text = String::new();
        for cluster in clusters {
            // Writing to a string cannot fail.
            let _ = self.cluster_text(&mut text, &cluster);
        }
        super::text(StatusCode::OK, text)
    }

    fn cluster_text(&self, out: &mut String, cluster: &Cluster) -> std::fmt::Result {
        let name = &cluster.name;
        writeln!(out, "{name}::observability_name::{}", cluster.stat_name)?;
        for (priority, high) in [("default", false), ("high", true)] {
            let limits = cluster.settings.limits_at(high);
            writeln!(out, "{name}::{priority}_priority::max_connections::{}", limits.connections)?;
            writeln!(out, "{name}::{priority}_priority::max_pending_requests::{}", limits.pending_requests)?;
            writeln!(out, "{name}::{priority}_priority::max_requests::{}", limits.requests)?;
            writeln!(out, "{name}::{priority}_priority::max_retries::{}", limits.retries)?;
        }
        writeln!(out, "{name}::added_via_api::{}", self.view.added_via_api(name))?;
        for endpoint in cluster.endpoints.peek().iter() {
            let at = &endpoint.label;
            writeln!(out, "{name}::{at}::cx_active::{}", endpoint.connections())?;
            writeln!(out, "{name}::{at}::rq_active::{}", endpoint.active())?;
            writeln!(out, "{name}::{at}::hostname::{}", endpoint.hostname.as_deref().unwrap_or(""))?;
            writeln!(out, "{name}::{at}::health_flags::{}", health_flags(endpoint))?;
            writeln!(out, "{name}::{at}::weight::{}", endpoint.weight())?;
            if let Some(locality) = &endpoint.locality {
                writeln!(out, "{name}::{at}::region::{}", locality.region)?;
                writeln!(out, "{name}::{at}::zone::{}", locality.zone)?;
                writeln!(out, "{name}::{at}::sub_zone::{}", locality.sub_zone)?;
            }
            writeln!(out, "{name}::{at}::priority::{}", endpoint.priority)?;
            let rates = endpoint.monitor.get().map(|monitor| monitor.success_rates()).unwrap_or_default();
            for (rate, of) in rates.into_iter().zip(["success_rate", "local_origin_success_rate"]) {
                writeln!(out, "{name}::{at}::{of}::{}", rate.unwrap_or(-1.0))?;
            }
        }
        Ok(())
    }

    fn cluster_status(&self, cluster: &Cluster) -> Value {
        let hosts: Vec<_> = cluster.endpoints.peek().iter().map(|endpoint| host(endpoint)).collect();
        let mut status = json!({
            "name": &*cluster.name,
            "observability_name": &*cluster.stat_name,
            "host_statuses": hosts,
        });
        if self.view.added_via_api(&cluster.name) {
            status["added_via_api"] = true.into();
        }
        status
    }
}

/// Envoy's words for how a host is, in Envoy's order.
fn health_flags(endpoint: &Endpoint) -> String {
    let told = endpoint.told_health();
    let flags: String = [
        (endpoint.has_failed_check(), "/failed_active_hc"),
        (endpoint.is_ejected(), "/failed_outlier_check"),
        (told == Health::Unhealthy, "/failed_eds_health"),
        (endpoint.is_degraded_by_check(), "/degraded_active_hc"),
        (told == Health::Degraded, "/degraded_eds_health"),
        (endpoint.is_leaving(), "/pending_dynamic_removal"),
        (endpoint.awaits_check(), "/pending_active_hc"),
        (endpoint.check_timed_out(), "/active_hc_timeout"),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .collect();
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}

fn host(endpoint: &Endpoint) -> Value {
    let address = json::to_value(&super::listeners::address(&endpoint.address));
    let health = match endpoint.told_health() {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
    };
    let mut host = json!({
        "address": address,
        "stats": [{ "name": "rq_active", "type": "GAUGE", "value": endpoint.active().to_string() }],
        "health_status": { "eds_health_status": health },
        "weight": endpoint.weight(),
    });
    for (set, name) in [
        (endpoint.is_ejected(), "failed_outlier_check"),
        (endpoint.has_failed_check(), "failed_active_health_check"),
        (endpoint.is_degraded_by_check(), "failed_active_degraded_check"),
        (endpoint.is_leaving(), "pending_dynamic_removal"),
        (endpoint.awaits_check(), "pending_active_hc"),
        (endpoint.check_timed_out(), "active_hc_timeout"),
    ] {
        if set {
            host["health_status"][name] = true.into();
        }
    }
    if endpoint.priority != 0 {
        host["priority"] = endpoint.priority.into();
    }
    if let Some(hostname) = &endpoint.hostname {
        host["hostname"] = (**hostname).into();
    }
    if let Some(locality) = &endpoint.locality {
        host["locality"] =
            json!({ "region": &*locality.region, "zone": &*locality.zone, "sub_zone": &*locality.sub_zone });
    }
    host
}

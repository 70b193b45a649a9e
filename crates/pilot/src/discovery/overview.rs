//! The state of pilot as JSON and text: for the dashboard, `proxy-status`, debug pages and Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::Pilot;
use super::status::{Proxy, TYPES, TypeStatus};
use crate::registry::{Service, Workload};
use crate::snapshot::Snapshot;

impl Pilot {
    /// Services, workloads, proxies with sync state and age, findings: what the dashboard shows.
    pub fn overview(&self) -> Value {
        let snapshot = self.snapshot();
        let proxies = self.proxies();
        let services: Vec<Value> =
            snapshot.registry.all().map(|service| service_json(&snapshot, service)).collect();
        let workloads: Vec<Value> =
            distinct(&snapshot).map(|workload| workload_json(workload, &proxies)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "config_version": snapshot.version,
            "uptime": self.0.started.elapsed().as_secs_f64(),
            "services": services,
            "workloads": workloads,
            "proxies": proxies.iter().map(proxy_json).collect::<Vec<_>>(),
            "findings": *self.findings(),
            "resources": self.kinds(),
        })
    }

    fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for object in self.objects().iter().filter(|object| object.kind.is_mesh()) {
            *kinds.entry(object.kind.as_str()).or_default() += 1;
        }
        kinds
    }

    /// Connected proxies with the state of each type, for `proxy-status`.
    pub fn syncz(&self) -> Value {
        self.proxies().iter().map(proxy_json).collect()
    }

    /// Objects in force, for `/debug/configz`.
    pub fn configz(&self) -> Value {
        let objects = self.objects();
        let object = |object: &meltemi_config::Object| {
            json!({
                "apiVersion": &*object.api_version,
                "kind": object.kind.as_str(),
                "metadata": &*object.metadata,
                "spec": &object.spec,
            })
        };
        objects.iter().map(object).collect()
    }

    /// Services and endpoints, for `/debug/registryz`.
    pub fn registryz(&self) -> Value {
        let snapshot = self.snapshot();
        let service = |service: &std::sync::Arc<Service>| {
            let instances = snapshot.registry.instances_of(service).iter().map(|instance| {
                json!({
                    "address": &*instance.address,
                    "port": instance.port,
                    "servicePort": instance.service_port,
                    "healthy": instance.healthy,
                    "workload": &*instance.workload.name,
                    "labels": instance.workload.labels,
                })
            });
            let mut value = service_json(&snapshot, service);
            value["instances"] = instances.collect();
            value
        };
        snapshot.registry.all().map(service).collect()
    }

    /// Counters in Prometheus' text form, under Istio's names.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let counters = &self.0.counters;
        family(&mut text, "pilot_xds_pushes", "counter", "Responses by type.");
        for (name, count) in TYPES.iter().zip(&counters.sent) {
            sample(
                &mut text,
                &format!("pilot_xds_pushes{{type=\"{name}\"}}"),
                count.load(Ordering::Relaxed) as f64,
            );
        }
        family(&mut text, "pilot_total_xds_rejects", "counter", "Responses that proxies refused, by type.");
        for (name, count) in TYPES.iter().zip(&counters.rejected) {
            sample(
                &mut text,
                &format!("pilot_total_xds_rejects{{type=\"{name}\"}}"),
                count.load(Ordering::Relaxed) as f64,
            );
        }
        let snapshot = self.snapshot();
        let changes = counters.changes.load(Ordering::Relaxed) as f64;
        let seconds = |micros: u64| micros as f64 / 1e6;
        for (name, kind, help, value) in [
            ("pilot_xds", "gauge", "Connected proxies.", self.0.proxies().len() as f64),
            ("pilot_services", "gauge", "Services.", snapshot.registry.all().count() as f64),
            ("pilot_virt_services", "gauge", "VirtualServices.", snapshot.virtual_services.len() as f64),
            ("pilot_config_changes", "counter", "Configurations published.", changes),
            (
                "pilot_debounce_time_sum",
                "counter",
                "Seconds that changes were held back.",
                seconds(counters.debounced.load(Ordering::Relaxed)),
            ),
            (
                "pilot_pushcontext_init_seconds_sum",
                "counter",
                "Seconds that snapshots took.",
                seconds(counters.building.load(Ordering::Relaxed)),
            ),
            (
                "pilot_uptime_seconds",
                "gauge",
                "Seconds since the start.",
                self.0.started.elapsed().as_secs_f64(),
            ),
        ] {
            family(&mut text, name, kind, help);
            sample(&mut text, name, value);
        }
        text
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, value: f64) {
    let _ = writeln!(text, "{name} {value}");
}

/// A workload with several addresses is there once.
fn distinct(snapshot: &Snapshot) -> impl Iterator<Item = &Workload> {
    let workloads = snapshot.registry.workloads.iter();
    workloads
        .filter(|(address, workload)| workload.addresses.first() == Some(address))
        .map(|(_, workload)| &**workload)
}

fn service_json(snapshot: &Snapshot, service: &Service) -> Value {
    let ports = service.ports.iter().map(|port| {
        json!({ "number": port.number, "name": &*port.name, "protocol": if port.protocol.is_auto() { "auto" } else { port.protocol.as_str() } })
    });
    let instances = snapshot.registry.instances_of(service);
    let mut addresses: Vec<(&str, u32)> = instances.iter().map(|i| (&*i.address, i.port)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    json!({
        "host": service.host.as_str(),
        "name": &*service.name,
        "namespace": &*service.namespace,
        "addresses": service.addresses,
        "ports": ports.collect::<Vec<_>>(),
        "endpoints": addresses.len(),
    })
}

fn workload_json(workload: &Workload, proxies: &[Proxy]) -> Value {
    let proxy = proxies.iter().any(|proxy| workload.addresses.contains(&proxy.address));
    json!({
        "name": &*workload.name,
        "namespace": &*workload.namespace,
        "address": workload.addresses.first(),
        "labels": workload.labels,
        "ready": workload.ready,
        "proxy": proxy,
    })
}

fn proxy_json(proxy: &Proxy) -> Value {
    json!({
        "id": &*proxy.id,
        "name": &*proxy.name,
        "namespace": &*proxy.namespace,
        "role": proxy.role,
        "address": &*proxy.address,
        "program": proxy.program,
        "admin": proxy.admin,
        "protocol": if proxy.delta { "delta" } else { "sotw" },
        "connected": proxy.connected.elapsed().as_secs_f64(),
        "types": proxy.types.iter().map(|(name, status)| type_json(name, status)).collect::<Vec<_>>(),
    })
}

fn type_json(name: &str, status: &TypeStatus) -> Value {
    let age = |instant: Option<Instant>| instant.map(|instant| instant.elapsed().as_secs_f64());
    json!({
        "type": name,
        "state": status.state(),
        "resources": status.resources,
        "sent": age(status.sent),
        "age": age(status.acknowledged),
        "nonce": status.nonce,
        "rejections": status.rejections,
        "error": status.error,
    })
}

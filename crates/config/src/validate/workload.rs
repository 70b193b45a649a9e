//! WorkloadEntry, WorkloadGroup and ProxyConfig.

use super::gateway::is_unix;
use super::virtual_service::labels;
use super::{Check, Path, names};
use crate::networking::workload::{HealthCheckMethod, ReadinessProbe};
use crate::networking::{ProxyConfig, WorkloadEntry, WorkloadGroup};
use crate::text;

pub(super) fn entry(it: &WorkloadEntry, check: &mut Check<'_>, at: &Path<'_>) {
    match it.address.as_deref() {
        None if it.network.is_none() => check.error(&at.key("address"), "`address` is missing"),
        None => {}
        Some(address) if address.parse::<std::net::IpAddr>().is_ok() => {}
        Some(address) if is_unix(address) && it.ports.is_empty() => {}
        Some(address) if is_unix(address) => check.error(&at.key("ports"), "a Unix socket has no ports"),
        Some(address) => check.accept(&at.key("address"), names::fqdn(address)),
    }
    fields(it, check, at);
}

/// What an entry says besides its address; the same for endpoints of a ServiceEntry.
pub(super) fn fields(it: &WorkloadEntry, check: &mut Check<'_>, at: &Path<'_>) {
    let ports = at.key("ports");
    for (name, number) in &it.ports {
        check.accept(&ports.key(name), names::port(*number));
        check.accept(&ports.key(name), names::port_name(name));
    }
    labels(&it.labels, check, &at.key("labels"));
    let is_locality = |text: &&str| text.split('/').count() <= 3 && !text.starts_with('/');
    if let Some(locality) = it.locality.as_deref().filter(|text| !is_locality(text)) {
        let message = format!("{} is not a locality", text::quoted(locality));
        check.error_hint(&at.key("locality"), message, "region/zone/subzone");
    }
}

pub(super) fn group(it: &WorkloadGroup, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(metadata) = &it.metadata {
        let metadata_at = at.key("metadata");
        labels(&metadata.labels, check, &metadata_at.key("labels"));
    }
    fields(&it.template, check, &at.key("template"));
    if let Some(probe) = &it.probe {
        self::probe(probe, check, &at.key("probe"));
    }
}

fn probe(it: &ReadinessProbe, check: &mut Check<'_>, at: &Path<'_>) {
    for (name, value) in [
        ("initialDelaySeconds", it.initial_delay_seconds),
        ("timeoutSeconds", it.timeout_seconds),
        ("periodSeconds", it.period_seconds),
        ("successThreshold", it.success_threshold),
        ("failureThreshold", it.failure_threshold),
    ] {
        if value < 0 {
            check.error(&at.key(name), format!("{value} is below zero"));
        }
    }
    match &it.method {
        None => check.error_hint(at, "how to ask is missing", "httpGet, tcpSocket, exec or grpc"),
        Some(HealthCheckMethod::HttpGet(get)) => {
            let at = at.key("httpGet");
            port_of(get.port, check, &at);
            if let Some(scheme) = get.scheme.as_deref().filter(|s| !matches!(*s, "" | "HTTP" | "HTTPS")) {
                let message = format!("{} is not a scheme", text::quoted(scheme));
                check.error_hint(&at.key("scheme"), message, "HTTP or HTTPS");
            }
            let headers = at.key("httpHeaders");
            for (index, header) in get.http_headers.iter().enumerate() {
                let item = headers.index(index);
                check.accept(&item.key("name"), names::header_name(&header.name));
            }
        }
        Some(HealthCheckMethod::TcpSocket(tcp)) => port_of(tcp.port, check, &at.key("tcpSocket")),
        Some(HealthCheckMethod::Grpc(grpc)) => port_of(grpc.port, check, &at.key("grpc")),
        Some(HealthCheckMethod::Exec(exec)) => {
            if exec.command.first().is_none_or(|word| word.is_empty()) {
                let exec_at = at.key("exec");
                check.error(&exec_at.key("command"), "the command is empty");
            }
        }
    }
}

fn port_of(number: u32, check: &mut Check<'_>, at: &Path<'_>) {
    if number != 0 || check.is_given(&at.key("port")) {
        check.accept(&at.key("port"), names::port(number));
    }
}

pub(super) fn proxy_config(it: &ProxyConfig, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(selector) = &it.selector {
        let selector_at = at.key("selector");
        labels(&selector.match_labels, check, &selector_at.key("matchLabels"));
    }
    if let Some(threads) = it.concurrency.filter(|threads| *threads < 0) {
        check.error_hint(&at.key("concurrency"), format!("{threads} is below zero"), "0 means all cores");
    }
}

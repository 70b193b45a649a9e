//! `/stats/prometheus`: families, labels and text, from Envoy's dotted names.
//!
//! Called by [`super`]. Invariant: whose a statistic is stands in labels, as Envoy's tag extraction has it, never in the
//! family's name.

use std::fmt::Write;

use super::Statistic;
use crate::stats::{BUCKETS, HistogramSnapshot, INNER, Sample};

/// A family with the labels of one series.
type Series = (String, Vec<(&'static str, String)>);

/// Names and labels of a statistic.
fn series(statistic: &Statistic) -> Series {
    let (prefix, name) = statistic.name.split_at(statistic.prefix);
    let mut labels = Vec::new();
    let name = code(name, &mut labels);
    let scope = scope(prefix, &mut labels);
    let family = format!("envoy_{scope}{name}");
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    (family.chars().map(legal).collect(), labels)
}

/// Takes a response code, or the class of one, out of a name.
fn code(name: &str, labels: &mut Vec<(&'static str, String)>) -> String {
    match name.rsplit_once('_') {
        Some((root, class)) if class.len() == 3 && class.ends_with("xx") => {
            labels.push(("envoy_response_code_class", class[..1].to_owned()));
            format!("{root}_xx")
        }
        Some((root, code)) if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            labels.push(("envoy_response_code", code.to_owned()));
            root.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// What of a prefix (`listener.0.0.0.0_80.http.in.`) belongs to the family (`listener.http.`); the rest become labels.
fn scope(prefix: &str, labels: &mut Vec<(&'static str, String)>) -> String {
    let (group, owner) = prefix.split_once('.').unwrap_or((prefix, ""));
    let label = match group {
        "cluster" => "envoy_cluster_name",
        "http" => "envoy_http_conn_manager_prefix",
        "listener" => "envoy_listener_address",
        "tcp" => "envoy_tcp_prefix",
        "vhost" => return within_host(owner, labels),
        // There is one of it: `server.`, `cluster_manager.cds.`
        _ => return prefix.to_owned(),
    };
    let inner = INNER.iter().copied().find(|inner| owner.ends_with(&format!(".{inner}")));
    let (owner, inner) = match (group, inner) {
        (_, Some(inner)) => (&owner[..owner.len() - inner.len()], inner),
        ("listener", None) => within_listener(owner, labels),
        _ => (owner, ""),
    };
    labels.push((label, owner.trim_end_matches('.').to_owned()));
    format!("{group}.{inner}")
}

/// What follows `vhost.`: a host, and a route or a virtual cluster of it.
fn within_host(owner: &str, labels: &mut Vec<(&'static str, String)>) -> String {
    for (mark, label) in [(".vcluster.", "envoy_virtual_cluster"), (".route.", "envoy_route")] {
        if let Some((host, name)) = owner.rsplit_once(mark) {
            labels.push((label, name.trim_end_matches('.').to_owned()));
            labels.push(("envoy_virtual_host", host.to_owned()));
            return format!("vhost{mark}");
        }
    }
    format!("vhost.{owner}")
}

/// Takes a worker or a connection manager out of what follows `listener.`.
fn within_listener<'a>(owner: &'a str, labels: &mut Vec<(&'static str, String)>) -> (&'a str, &'static str) {
    if let Some((listener, worker)) = owner.rsplit_once(".worker_") {
        labels.push(("envoy_worker_id", worker.trim_end_matches('.').to_owned()));
        return (listener, "worker.");
    }
    if let Some((listener, manager)) = owner.split_once(".http.") {
        labels.push(("envoy_http_conn_manager_prefix", manager.trim_end_matches('.').to_owned()));
        return (listener, "http.");
    }
    (owner, "")
}

/// Text: one TYPE line per family, then its series.
pub(super) fn exposition(statistics: &[Statistic]) -> String {
    let mut all: Vec<_> = statistics.iter().map(|statistic| (series(statistic), &statistic.sample)).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (mut text, mut last) = (String::new(), "");
    for ((family, labels), sample) in &all {
        if family != last {
            let kind = match sample {
                Sample::Counter(_) => "counter",
                Sample::Gauge(_) => "gauge",
                Sample::Histogram(_) => "histogram",
            };
            let _ = writeln!(text, "# TYPE {family} {kind}");
            last = family;
        }
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = labels.join(",");
        let _ = match sample {
            Sample::Counter(value) => writeln!(text, "{family}{{{labels}}} {value}"),
            Sample::Gauge(value) => writeln!(text, "{family}{{{labels}}} {value}"),
            Sample::Histogram(histogram) => write_buckets(&mut text, family, &labels, histogram),
        };
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn write_buckets(
    text: &mut String,
    family: &str,
    labels: &str,
    histogram: &HistogramSnapshot,
) -> std::fmt::Result {
    let comma = if labels.is_empty() { "" } else { "," };
    for bound in BUCKETS {
        writeln!(text, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {}", histogram.count_up_to(bound))?;
    }
    let count = histogram.count();
    writeln!(text, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}")?;
    writeln!(text, "{family}_sum{{{labels}}} {}", histogram.sum())?;
    writeln!(text, "{family}_count{{{labels}}} {count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_families_and_labels() {
        let of = |prefix: &str, name: &str| {
            let name = format!("{prefix}{name}");
            series(&Statistic { name, prefix: prefix.len(), sample: Sample::Counter(0) })
        };
        let labels = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        for (prefix, name, family, expected) in [
            ("server.", "uptime", "envoy_server_uptime", labels(&[])),
            (
                "cluster.outbound|80||a.b.",
                "upstream_rq_2xx",
                "envoy_cluster_upstream_rq_xx",
                labels(&[("envoy_response_code_class", "2"), ("envoy_cluster_name", "outbound|80||a.b")]),
            ),
            (
                "cluster.a.circuit_breakers.high.",
                "rq_open",
                "envoy_cluster_circuit_breakers_high_rq_open",
                labels(&[("envoy_cluster_name", "a")]),
            ),
            (
                "cluster_manager.cds.",
                "update_success",
                "envoy_cluster_manager_cds_update_success",
                labels(&[]),
            ),
            (
                "cluster.a.",
                "external.upstream_rq_503",
                "envoy_cluster_external_upstream_rq",
                labels(&[("envoy_response_code", "503"), ("envoy_cluster_name", "a")]),
            ),
            (
                "listener.0.0.0.0_80.http.in.",
                "downstream_rq_completed",
                "envoy_listener_http_downstream_rq_completed",
                labels(&[("envoy_http_conn_manager_prefix", "in"), ("envoy_listener_address", "0.0.0.0_80")]),
            ),
            (
                "listener.0.0.0.0_80.worker_3.",
                "downstream_cx_active",
                "envoy_listener_worker_downstream_cx_active",
                labels(&[("envoy_worker_id", "3"), ("envoy_listener_address", "0.0.0.0_80")]),
            ),
            (
                "http.in.fault.",
                "aborts_injected",
                "envoy_http_fault_aborts_injected",
                labels(&[("envoy_http_conn_manager_prefix", "in")]),
            ),
            (
                "vhost.a.b.vcluster.other.",
                "upstream_rq_2xx",
                "envoy_vhost_vcluster_upstream_rq_xx",
                labels(&[
                    ("envoy_response_code_class", "2"),
                    ("envoy_virtual_cluster", "other"),
                    ("envoy_virtual_host", "a.b"),
                ]),
            ),
            (
                "tcp.t.",
                "downstream_cx_total",
                "envoy_tcp_downstream_cx_total",
                labels(&[("envoy_tcp_prefix", "t")]),
            ),
        ] {
            assert_eq!(of(prefix, name), (family.to_owned(), expected), "{prefix}{name}");
        }
    }
}

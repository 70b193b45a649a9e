//! `/stats` and `/stats/prometheus`.
//!
//! Samples are read when asked and summed over workers. Invariant: names, labels and order are Envoy's.

mod derived;

use std::fmt::Write;

use http::StatusCode;
use regex::Regex;
use serde_json::{Value, json};

use super::{Admin, Answer, Query};
use crate::stats::{BUCKETS, HistogramSnapshot, Sample, sum};

/// A statistic under its full dotted name, of which the first `prefix` bytes name whose it is.
struct Statistic {
    name: String,
    prefix: usize,
    sample: Sample,
}

/// Quantiles of the text form.
const QUANTILES: [(&str, f64); 10] = [
    ("P0", 0.0),
    ("P25", 0.25),
    ("P50", 0.5),
    ("P75", 0.75),
    ("P90", 0.9),
    ("P95", 0.95),
    ("P99", 0.99),
    ("P99.5", 0.995),
    ("P99.9", 0.999),
    ("P100", 1.0),
];

impl Admin {
    pub(super) fn stats(&self, query: &Query<'_>) -> Answer {
        match query.get("format").as_deref() {
            Some("prometheus") => return self.prometheus(query),
            None | Some("json" | "text") => {}
            Some(_) => {
                let usage = "usage: /stats?format=(text|json|prometheus)\n\n";
                return super::text(StatusCode::BAD_REQUEST, usage);
            }
        }
        let statistics = match self.selected(query) {
            Ok(statistics) => statistics,
            Err(problem) => return *problem,
        };
        if query.wants_json() {
            let stats: Vec<_> =
                statistics.iter().map(|s| json!({ "name": s.name, "value": value(&s.sample) })).collect();
            return super::json(super::pretty(&json!({ "stats": stats })));
        }
        let mut text = String::new();
        for statistic in statistics {
            let _ = match &statistic.sample {
                Sample::Counter(value) => writeln!(text, "{}: {value}", statistic.name),
                Sample::Gauge(value) => writeln!(text, "{}: {value}", statistic.name),
                Sample::Histogram(histogram) => {
                    writeln!(text, "{}: {}", statistic.name, quantiles(histogram))
                }
            };
        }
        super::text(StatusCode::OK, text)
    }

    pub(super) fn prometheus(&self, query: &Query<'_>) -> Answer {
        match self.selected(query) {
            Ok(statistics) => super::text(StatusCode::OK, exposition(&statistics)),
            Err(problem) => *problem,
        }
    }

    fn selected(&self, query: &Query<'_>) -> Result<Vec<Statistic>, Box<Answer>> {
        let filter = query.get("filter").map(|filter| Regex::new(&filter)).transpose();
        let filter = filter.map_err(|error| {
            Box::new(super::text(StatusCode::BAD_REQUEST, format!("Invalid re2 regex: {error}\n")))
        })?;
        let used_only = query.has("usedonly");
        let mut statistics = self.all();
        statistics.retain(|statistic| {
            filter.as_ref().is_none_or(|filter| filter.is_match(&statistic.name))
                && (!used_only || statistic.sample.is_used())
        });
        statistics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(statistics)
    }

    fn all(&self) -> Vec<Statistic> {
        let mut all = Vec::new();
        let mut add = |prefix: &str, name: &str, sample| {
            all.push(Statistic { name: format!("{prefix}{name}"), prefix: prefix.len(), sample });
        };
        self.workers.stats().read(|prefix, samples| {
            samples.iter().for_each(|(name, sample)| add(prefix, name, sample.clone()));
        });
        for (listener, shards) in self.workers.listeners() {
            let prefix = format!("listener.{}.", listener.stat_prefix);
            for (name, sample) in sum(shards.iter().map(|shard| &**shard as _)) {
                add(&prefix, &name, sample);
            }
            for (worker, shard) in shards.iter().enumerate() {
                let prefix = format!("{prefix}worker_{worker}.");
                add(&prefix, "downstream_cx_active", Sample::Gauge(shard.downstream_cx_active.get()));
                add(&prefix, "downstream_cx_total", Sample::Counter(shard.downstream_cx_total.get()));
            }
        }
        self.of_clusters(&mut add);
        self.of_process(&mut add);
        all
    }
}

fn value(sample: &Sample) -> Value {
    match sample {
        Sample::Counter(value) => json!(value),
        Sample::Gauge(value) => json!(value),
        Sample::Histogram(histogram) => json!({
            "count": histogram.count(),
            "quantiles": QUANTILES.iter().map(|(name, q)| json!({ *name: histogram.quantile(*q) })).collect::<Vec<_>>(),
        }),
    }
}

/// `P0(nan,1) P25(nan,2) …`: there are no intervals here, only totals.
fn quantiles(histogram: &HistogramSnapshot) -> String {
    if histogram.count() == 0 {
        return "No recorded values".into();
    }
    let texts =
        QUANTILES.map(|(name, q)| format!("{name}(nan,{})", histogram.quantile(q).unwrap_or(f64::NAN)));
    texts.join(" ")
}

/// A Prometheus family with the labels of one series.
fn family(statistic: &Statistic) -> (String, Vec<(&'static str, String)>) {
    let (prefix, name) = statistic.name.split_at(statistic.prefix);
    let (group, owner) =
        prefix.trim_end_matches('.').split_once('.').unwrap_or((prefix.trim_end_matches('.'), ""));
    let mut labels = Vec::new();
    let name = match name.rsplit_once('_') {
        Some((root, class)) if class.len() == 3 && class.ends_with("xx") => {
            labels.push(("envoy_response_code_class", class[..1].to_owned()));
            format!("{root}_xx")
        }
        Some((root, code)) if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => {
            labels.push(("envoy_response_code", code.to_owned()));
            root.to_owned()
        }
        _ => name.to_owned(),
    };
    let label = match group {
        "cluster" => "envoy_cluster_name",
        "http" => "envoy_http_conn_manager_prefix",
        "listener" => "envoy_listener_address",
        _ => "envoy_tcp_prefix",
    };
    if !owner.is_empty() {
        labels.push((label, owner.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")));
    }
    let family: String = format!("envoy_{group}_{name}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    (family, labels)
}

/// Prometheus text: one TYPE line per family, then its series.
fn exposition(statistics: &[Statistic]) -> String {
    let mut series: Vec<_> =
        statistics.iter().map(|statistic| (family(statistic), &statistic.sample)).collect();
    series.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (mut text, mut last) = (String::new(), "");
    for ((family, labels), sample) in &series {
        if family != last {
            let kind = match sample {
                Sample::Counter(_) => "counter",
                Sample::Gauge(_) => "gauge",
                Sample::Histogram(_) => "histogram",
            };
            let _ = writeln!(text, "# TYPE {family} {kind}");
            last = family;
        }
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = labels.join(",");
        let _ = match sample {
            Sample::Counter(value) => writeln!(text, "{family}{{{labels}}} {value}"),
            Sample::Gauge(value) => writeln!(text, "{family}{{{labels}}} {value}"),
            Sample::Histogram(histogram) => write_buckets(&mut text, family, &labels, histogram),
        };
    }
    text
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

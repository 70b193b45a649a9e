//! `/stats` and `/stats/prometheus`.
//!
//! Samples are read when asked and summed over workers. Invariant: names, labels and order are Envoy's.

mod derived;
mod prometheus;

use std::fmt::Write;

use http::StatusCode;
use regex::Regex;
use serde_json::{Value, json};

use super::{Admin, Answer, Query};
use crate::stats::{HistogramSnapshot, Sample, sum};

/// A statistic under its full dotted name, of which the first `prefix` bytes name whose it is.
struct Statistic {
    name: String,
    prefix: usize,
    sample: Sample,
}

/// What `type` chooses by.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// There are none here.
    TextReadout,
}

impl Kind {
    fn of(sample: &Sample) -> Self {
        match sample {
            Sample::Counter(_) => Self::Counter,
            Sample::Gauge(_) => Self::Gauge,
            Sample::Histogram(_) => Self::Histogram,
        }
    }
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
                let usage = "usage: /stats?format=(json|prometheus|text)\n\n";
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
            Ok(statistics) => super::text(StatusCode::OK, prometheus::exposition(&statistics)),
            Err(problem) => *problem,
        }
    }

    fn selected(&self, query: &Query<'_>) -> Result<Vec<Statistic>, Box<Answer>> {
        let filter = query.get("filter").map(|filter| Regex::new(&filter)).transpose();
        let filter = filter.map_err(|error| {
            Box::new(super::text(StatusCode::BAD_REQUEST, format!("Invalid re2 regex: {error}\n")))
        })?;
        let used_only = query.has("usedonly");
        let inverted = query.has("invert_filter");
        let kind = match query.get("type").as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "all") => None,
            Some("counters") => Some(Kind::Counter),
            Some("gauges") => Some(Kind::Gauge),
            Some("histograms") => Some(Kind::Histogram),
            Some("textreadouts") => Some(Kind::TextReadout),
            Some(_) => return Err(Box::new(super::text(StatusCode::BAD_REQUEST, "invalid &type= param"))),
        };
        let mut statistics = self.all();
        statistics.retain(|statistic| {
            filter.as_ref().is_none_or(|filter| filter.is_match(&statistic.name) != inverted)
                && kind.is_none_or(|kind| kind == Kind::of(&statistic.sample))
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

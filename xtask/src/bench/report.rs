//! Samples to medians, the table for people and the JSON for programs.
//!
//! Invariant: what failed is shown; a target without a number is never `met`.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::{
    peer::Peer,
    scenario::{Metric, Scenario, Target},
};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// All values of all rounds.
#[derive(Default)]
pub(super) struct Samples {
    values: BTreeMap<(Scenario, Metric, Peer), Vec<f64>>,
    failures: Vec<(Scenario, Peer, String)>,
}

impl Samples {
    /// One round's values.
    pub(super) fn add(&mut self, scenario: Scenario, peer: Peer, values: Vec<(Metric, f64)>) {
        for (metric, value) in values {
            self.values.entry((scenario, metric, peer)).or_default().push(value);
        }
    }

    /// One round that yielded nothing.
    pub(super) fn fail(&mut self, scenario: Scenario, peer: Peer, error: &str) {
        eprintln!("FAILED: {scenario}, {peer}: {error}");
        self.failures.push((scenario, peer, error.to_owned()));
    }

    /// What failed, with why.
    pub(super) fn failures(&self) -> &[(Scenario, Peer, String)] {
        &self.failures
    }

    fn median(&self, scenario: Scenario, metric: Metric, peer: Peer) -> Option<f64> {
        let mut values = self.values.get(&(scenario, metric, peer))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
    }

    fn ratio(&self, scenario: Scenario, metric: Metric, peer: Peer) -> Option<f64> {
        let envoy = self.median(scenario, metric, Peer::Envoy).filter(|value| *value != 0.0)?;
        Some(self.median(scenario, metric, peer)? / envoy)
    }

    fn met(&self, scenario: Scenario, metric: Metric, target: Target) -> Option<bool> {
        let ours = self.median(scenario, metric, Peer::Meltemi)?;
        Some(match target {
            Target::Ratio(most) => self.ratio(scenario, metric, Peer::Meltemi)? <= most,
            Target::Most(most) => ours <= most,
            Target::Below(peer) => ours < self.median(scenario, metric, peer)?,
        })
    }

    fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.values.keys().map(|key| key.2).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Scenarios with their metrics, in the order of their definition.
    fn rows(&self) -> BTreeMap<Scenario, Vec<Metric>> {
        let mut rows: BTreeMap<Scenario, Vec<Metric>> = BTreeMap::new();
        for (scenario, metric, _) in self.values.keys() {
            let metrics = rows.entry(*scenario).or_default();
            if !metrics.contains(metric) {
                metrics.push(*metric);
            }
        }
        rows
    }
}

/// The table, with colours for a terminal.
pub(super) fn table(samples: &Samples) -> String {
    let mut text = String::new();
    let peers = samples.peers();
    for (scenario, metrics) in samples.rows() {
        let _ = writeln!(text, "\n{BOLD}{scenario}{PLAIN}  {DIM}{}{PLAIN}", scenario.about());
        let _ = write!(text, "  {:<18}", "");
        for peer in &peers {
            let _ = write!(text, "{DIM}{:>10} {:>7}{PLAIN}", peer.to_string(), ratio_title(*peer));
        }
        text.push('\n');
        for metric in metrics {
            row(&mut text, samples, &peers, scenario, metric);
        }
    }
    for (scenario, peer, error) in &samples.failures {
        let _ = writeln!(text, "{RED}failed{PLAIN}: {scenario}, {peer}: {error}");
    }
    text
}

fn ratio_title(peer: Peer) -> &'static str {
    if peer == Peer::Envoy { "" } else { "/envoy" }
}

fn row(text: &mut String, samples: &Samples, peers: &[Peer], scenario: Scenario, metric: Metric) {
    let _ = write!(text, "  {:<18}", metric.label(scenario));
    for &peer in peers {
        let value = samples.median(scenario, metric, peer).map_or_else(|| "–".into(), number);
        let ratio = samples.ratio(scenario, metric, peer).filter(|_| peer != Peer::Envoy);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×"));
        let _ = write!(text, "{value:>10} {ratio:>7}");
    }
    for (_, target) in scenario.targets().iter().filter(|(of, _)| *of == metric) {
        let _ = match samples.met(scenario, metric, *target) {
            Some(true) => write!(text, "   {GREEN}{} met{PLAIN}", goal(*target)),
            Some(false) => write!(text, "   {RED}{} missed{PLAIN}", goal(*target)),
            None => write!(text, "   {} {DIM}unknown{PLAIN}", goal(*target)),
        };
    }
    text.push('\n');
}

fn goal(target: Target) -> String {
    match target {
        Target::Ratio(most) => format!("≤ {most:.2}×"),
        Target::Most(most) => format!("≤ {most}"),
        Target::Below(peer) => format!("< {peer}"),
    }
}

/// Three or more digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => format!("{value:.0}"),
        large if large >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Everything, samples included.
pub(super) fn json(samples: &Samples) -> Value {
    let rows: Vec<Value> = samples
        .rows()
        .into_iter()
        .map(|(scenario, metrics)| scenario_json(samples, scenario, &metrics))
        .collect();
    let failures: Vec<Value> = samples
        .failures
        .iter()
        .map(|(scenario, peer, error)| json!({"scenario": scenario.to_string(), "peer": peer.to_string(), "error": error}))
        .collect();
    json!({ "scenarios": rows, "failures": failures })
}

fn scenario_json(samples: &Samples, scenario: Scenario, metrics: &[Metric]) -> Value {
    let mut all = serde_json::Map::new();
    for &metric in metrics {
        let mut peers = serde_json::Map::new();
        for peer in samples.peers() {
            let Some(median) = samples.median(scenario, metric, peer) else { continue };
            let ratio = samples.ratio(scenario, metric, peer);
            let rounds = &samples.values[&(scenario, metric, peer)];
            peers.insert(
                peer.to_string(),
                json!({"median": median, "ratio_to_envoy": ratio, "rounds": rounds}),
            );
        }
        let targets: Vec<Value> = scenario
            .targets()
            .iter()
            .filter(|(of, _)| *of == metric)
            .map(
                |(_, target)| json!({"target": goal(*target), "met": samples.met(scenario, metric, *target)}),
            )
            .collect();
        all.insert(metric.key().into_owned(), json!({"peers": peers, "targets": targets}));
    }
    json!({ "name": scenario.to_string(), "about": scenario.about(), "metrics": all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let mut samples = Samples::default();
        for (peer, values) in [
            (Peer::Meltemi, [9.0, 30.0, 10.0]),
            (Peer::Envoy, [40.0, 41.0, 39.0]),
            (Peer::Nginx, [9.5, 9.5, 9.5]),
        ] {
            for value in values {
                samples.add(Scenario::Http1, peer, vec![(Metric::Cpu, value)]);
            }
        }
        samples
    }

    #[test]
    fn medians_ratios_and_targets() {
        let text = anstream::adapter::strip_str(&table(&samples())).to_string();
        let row = text.lines().find(|line| line.contains("CPU, µs/request")).unwrap();
        let words: Vec<&str> = row.split_whitespace().skip(2).collect();
        assert_eq!(words[..5], ["10.00", "0.25×", "40.00", "9.50", "0.24×"]);
        assert!(row.ends_with("≤ 0.26× met   < nginx missed   < haproxy unknown"), "{row}");
    }

    #[test]
    fn json_keeps_every_round_and_failure() {
        let mut samples = samples();
        samples.fail(Scenario::Start, Peer::Haproxy, "gone");
        let json = json(&samples);
        let cpu = &json["scenarios"][0]["metrics"]["cpu_us"];
        assert_eq!(
            cpu["peers"]["meltemi"],
            json!({"median": 10.0, "ratio_to_envoy": 0.25, "rounds": [9.0, 30.0, 10.0]})
        );
        assert_eq!(cpu["targets"][2]["met"], Value::Null);
        assert_eq!(json["failures"][0]["peer"], "haproxy");
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_too() {
        let mut samples = Samples::default();
        samples.add(Scenario::Start, Peer::Envoy, vec![(Metric::Ready, 1.0)]);
        samples.add(Scenario::Start, Peer::Envoy, vec![(Metric::Ready, 2.0)]);
        assert_eq!(samples.median(Scenario::Start, Metric::Ready, Peer::Envoy), Some(1.5));
        assert_eq!(samples.met(Scenario::Start, Metric::Ready, Target::Most(25.0)), None);
    }
}

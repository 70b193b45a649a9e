//! An explanation, for people and for machines.

use crate::console::outln;
use meltemi_proxy::explain::{Branch, Explanation, Outcome, Seat, Step};
use owo_colors::{OwoColorize, Style};
use serde_json::{Value, json};

/// The contract's JSON; `docs/explain.md` says what is in it.
pub(super) fn json(explanation: &Explanation) -> Value {
    let step = |step: &Step| {
        let mut value = json!({
            "what": step.what.name(),
            "name": step.name,
            "matched": step.matched,
            "because": step.because,
            "file": step.file,
            "line": step.line,
        });
        if !step.resource.is_empty() {
            value["resource"] = named(&step.resource).into();
        }
        if !step.endpoints.is_empty() {
            value["endpoints"] = step.endpoints.iter().map(seat_json).collect();
        }
        value
    };
    json!({
        "outcome": outcome_json(&explanation.outcome),
        "steps": explanation.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn seat_json(seat: &Seat) -> Value {
    json!({
        "address": seat.address,
        "health": seat.health,
        "priority": seat.priority,
        "weight": seat.weight,
        "locality": seat.locality,
    })
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Forwarded { clusters, mirrors, path, authority } => {
            let total = total(clusters);
            let cluster = |branch: &Branch| {
                let mut value = json!({
                    "name": &*branch.cluster,
                    "weight": branch.weight,
                    "percent": percent(branch.weight, total),
                });
                if let Some(problem) = &branch.problem {
                    value["reason"] = problem.as_str().into();
                }
                value
            };
            json!({
                "forwarded": {
                    "clusters": clusters.iter().map(cluster).collect::<Vec<_>>(),
                    "mirrors": mirrors.iter().map(|name| &**name).collect::<Vec<_>>(),
                    "path": path,
                    "authority": authority,
                },
            })
        }
        Outcome::Answered { status, grpc_status, location, flag, reason } => {
            let mut answered =
                json!({ "status": status, "location": location, "flag": flag, "reason": reason });
            if let Some(grpc_status) = grpc_status {
                answered["grpcStatus"] = (*grpc_status).into();
            }
            json!({ "answered": answered })
        }
        Outcome::Refused { reason } => json!({ "refused": { "reason": reason } }),
    }
}

fn total(clusters: &[Branch]) -> u32 {
    clusters.iter().map(|branch| branch.weight).sum()
}

/// To a hundredth.
fn percent(weight: u32, total: u32) -> f64 {
    (f64::from(weight) * 10_000.0 / f64::from(total.max(1))).round() / 100.0
}

/// A trace, a line a step.
pub(super) fn text(explanation: &Explanation) {
    let (taken, passed) = (Style::new().green().bold(), Style::new().dimmed());
    let (mark, faint) = (Style::new().cyan(), Style::new().dimmed());
    for step in &explanation.steps {
        let sign = if step.matched { "✔" } else { "✘" };
        let style = if step.matched { taken } else { passed };
        let what = format!("{:<13}", step.what.name());
        outln!("{} {} {}", sign.style(style), what.style(faint), step.name.style(mark));
        let origin = origin(step);
        let because = format!("{:16}{}", "", step.because);
        match origin.is_empty() {
            true => outln!("{because}"),
            false => outln!("{because}\n{:16}{}", "", origin.style(faint)),
        }
    }
    outln!("\n{} {}", "⇒".style(taken), outcome(&explanation.outcome).bold());
}

/// Resource and place, as far as they are known.
fn origin(step: &Step) -> String {
    let place = match (&step.file, step.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => String::new(),
    };
    match (named(&step.resource), place) {
        (resource, place) if resource.is_empty() => place,
        (resource, place) if place.is_empty() => resource,
        (resource, place) => format!("{resource} at {place}"),
    }
}

/// `VirtualService default/reviews` of Istio's path `/apis/…/namespaces/default/virtual-service/reviews`.
fn named(path: &str) -> String {
    let parts: Vec<&str> = path.rsplit('/').collect();
    let [name, kind, namespace, ..] = parts[..] else { return path.to_owned() };
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let kind: String =
        kind.split('-').filter(|word| word.is_ascii() && !word.is_empty()).map(capital).collect();
    format!("{kind} {namespace}/{name}")
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forwarded { clusters, mirrors, path, authority } => {
            let total = total(clusters);
            let share = |branch: &Branch| {
                let failing = if branch.problem.is_some() { ", which fails" } else { "" };
                match clusters.len() {
                    1 => branch.cluster.to_string(),
                    _ => format!("{} ({} %{failing})", branch.cluster, percent(branch.weight, total)),
                }
            };
            let to = clusters.iter().map(share).collect::<Vec<_>>().join(", ");
            let copies = match mirrors.len() {
                0 => String::new(),
                _ => format!("; a copy to {}", mirrors.join(", ")),
            };
            if path.is_empty() { format!("to {to}") } else { format!("{authority}{path} to {to}{copies}") }
        }
        Outcome::Answered { status, grpc_status, location, flag, reason } => {
            let grpc = grpc_status.map(|status| format!(", gRPC status {status}")).unwrap_or_default();
            let location = location.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
            let flag = if flag.is_empty() { String::new() } else { format!(" ({flag})") };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("answered by the proxy: {status}{grpc}{location}{flag}{reason}")
        }
        Outcome::Refused { reason } => format!("the connection is closed: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn resources_are_called_as_people_call_them() {
        let path = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews";
        assert_eq!(named(path), "VirtualService default/reviews");
        assert_eq!(named("x"), "x");
        assert_eq!(named(""), "");
    }
}

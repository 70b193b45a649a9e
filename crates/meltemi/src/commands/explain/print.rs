//! An explanation, for people and for machines.

use meltemi_proxy::explain::{Explanation, Outcome, Step};
use owo_colors::{OwoColorize, Style};
use serde_json::{Value, json};

/// The contract's JSON.
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
        value
    };
    json!({
        "outcome": outcome_json(&explanation.outcome),
        "steps": explanation.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Forwarded { clusters, path, authority } => json!({
            "forwarded": {
                "clusters": clusters.iter().map(|(name, weight)| json!({"name": **name, "weight": weight})).collect::<Vec<_>>(),
                "path": path,
                "authority": authority,
            },
        }),
        Outcome::Answered { status, location, flag } => json!({
            "answered": { "status": status, "location": location, "flag": flag },
        }),
        Outcome::Refused { reason } => json!({ "refused": { "reason": reason } }),
    }
}

/// A trace, a line a step.
pub(super) fn text(explanation: &Explanation) {
    let (taken, passed) = (Style::new().green().bold(), Style::new().dimmed());
    let (mark, faint) = (Style::new().cyan(), Style::new().dimmed());
    for step in &explanation.steps {
        let sign = if step.matched { "✔" } else { "✘" };
        let style = if step.matched { taken } else { passed };
        let what = format!("{:<13}", step.what.name());
        anstream::println!("{} {} {}", sign.style(style), what.style(faint), step.name.style(mark));
        let origin = origin(step);
        let because = format!("{:16}{}", "", step.because);
        match origin.is_empty() {
            true => anstream::println!("{because}"),
            false => anstream::println!("{because}\n{:16}{}", "", origin.style(faint)),
        }
    }
    anstream::println!("\n{} {}", "⇒".style(taken), outcome(&explanation.outcome).bold());
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
        Outcome::Forwarded { clusters, path, authority } => {
            let total: u32 = clusters.iter().map(|(_, weight)| weight).sum();
            let share = |(name, weight): &(std::sync::Arc<str>, u32)| match clusters.len() {
                1 => name.to_string(),
                _ => format!("{name} ({weight} of {total})"),
            };
            let to = clusters.iter().map(share).collect::<Vec<_>>().join(", ");
            if path.is_empty() { format!("to {to}") } else { format!("{authority}{path} to {to}") }
        }
        Outcome::Answered { status, location, flag } => {
            let location = location.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
            let flag = if flag.is_empty() { String::new() } else { format!(" ({flag})") };
            format!("answered by the proxy: {status}{location}{flag}")
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

//! What the rounds say, beside what is to be reached and what istiod 1.32-dev does on two such cores.

use std::fmt::Write;

use super::{Protocol, Round, Value, json};

/// A figure to reach, with istiod's.
struct Goal {
    services: usize,
    protocol: Protocol,
    what: &'static str,
    target: f64,
    istiod: Option<f64>,
}

const fn goal(services: usize, what: &'static str, target: f64, istiod: f64) -> Goal {
    Goal { services, protocol: Protocol::Delta, what, target, istiod: Some(istiod) }
}

const GOALS: &[Goal] = &[
    goal(1000, "everything delivered: CPU ms", 1500.0, 11_000.0),
    goal(1000, "peak memory: MiB", 120.0, 560.0),
    goal(1000, "one endpoint changes: CPU ms", 5.0, 41.0),
    goal(1000, "one endpoint changes: ms to the last client", 20.0, 122.0),
    goal(1000, "one endpoint changes: bytes a client", 2200.0, 2100.0),
    goal(1000, "one VirtualService changes: CPU ms", 20.0, 812.0),
    goal(1000, "one VirtualService changes: ms to the last client", 150.0, 580.0),
    goal(1000, "one VirtualService changes: bytes a client", 5000.0, 1_326_000.0),
    goal(1000, "one service is added: CPU ms", 30.0, 864.0),
    goal(1000, "one service is added: ms to the last client", 150.0, 600.0),
    goal(1000, "one service is added: bytes a client", 8000.0, 1_342_000.0),
    Goal {
        services: 1000,
        protocol: Protocol::Sotw,
        what: "one VirtualService changes: CPU ms",
        target: 80.0,
        istiod: None,
    },
    goal(5000, "cold start, one client: ms", 1000.0, f64::NAN),
    goal(5000, "everything delivered: CPU ms", f64::NAN, 35_000.0),
    goal(5000, "peak memory: MiB", f64::NAN, 2200.0),
    goal(5000, "one endpoint changes: CPU ms", f64::NAN, 72.0),
    goal(5000, "one VirtualService changes: CPU ms", f64::NAN, 2975.0),
    goal(5000, "one service is added: CPU ms", f64::NAN, 3150.0),
];

/// All figures of a round, named.
fn figures(round: &Round) -> Vec<(String, f64)> {
    let mut figures = vec![
        ("everything delivered: CPU ms".to_owned(), round.load_cpu),
        ("peak memory: MiB".to_owned(), round.memory),
        ("cold start, one client: ms".to_owned(), round.cold),
        ("first client ready: ms".to_owned(), round.first_ready),
        ("all clients ready: ms".to_owned(), round.all_ready),
        ("everything: kB a client".to_owned(), round.load_kb),
    ];
    for event in &round.events {
        for (what, value) in [
            ("CPU ms", event.cpu),
            ("ms to the first client", event.first),
            ("ms to half of the clients", event.middle),
            ("ms to the last client", event.last),
            ("bytes a client", event.bytes),
        ] {
            figures.push((format!("{}: {what}", event.name), value));
        }
    }
    figures
}

/// The table that is printed.
pub(super) fn table(rounds: &[Round]) -> String {
    let mut text = String::new();
    for round in rounds {
        let form = if round.protocol == Protocol::Delta { "delta" } else { "state of the world" };
        let _ = writeln!(text, "\n{} services, {} clients, {form}", round.services, round.clients);
        let _ =
            writeln!(text, "{:<52}{:>10}{:>10}{:>12}{:>10}", "", "Meltemi", "target", "istiod", "istiod/us");
        for (what, value) in figures(round) {
            let goal = GOALS.iter().find(|goal| {
                goal.services == round.services && goal.protocol == round.protocol && goal.what == what
            });
            let target = goal.map(|goal| goal.target).filter(|target| target.is_finite());
            let istiod = goal.and_then(|goal| goal.istiod).filter(|istiod| istiod.is_finite());
            let missed = target.is_some_and(|target| value > target);
            let _ = writeln!(
                text,
                "{what:<52}{value:>10.1}{:>10}{:>12}{:>10}{}",
                target.map(|target| target.to_string()).unwrap_or_default(),
                istiod.map(|istiod| istiod.to_string()).unwrap_or_default(),
                istiod.map(|istiod| format!("{:.1}", istiod / value)).unwrap_or_default(),
                if missed { "  missed" } else { "" },
            );
        }
    }
    text.push_str(&growth(rounds));
    text
}

/// How the CPU of a change grows from the smallest mesh to the largest of as many clients.
fn growth(rounds: &[Round]) -> String {
    let of = |services: usize| {
        rounds.iter().find(|round| round.services == services && round.protocol == Protocol::Delta)
    };
    let (Some(small), Some(large)) = (of(100), of(5000)) else { return String::new() };
    let mut text = String::from("\nCPU of a change from 100 to 5,000 services (target: below +50 %)\n");
    for (before, after) in small.events.iter().zip(&large.events) {
        let growth = (after.cpu / before.cpu - 1.0) * 100.0;
        let _ =
            writeln!(text, "{:<52}{:>8.1} → {:.1} ms ({growth:+.0} %)", before.name, before.cpu, after.cpu);
    }
    text
}

/// The same for machines.
pub(super) fn json(rounds: &[Round]) -> Value {
    let round = |round: &Round| {
        let figures = figures(round).into_iter().map(|(what, value)| (what, json!(value)));
        json!({
            "services": round.services,
            "clients": round.clients,
            "protocol": format!("{:?}", round.protocol).to_lowercase(),
            "figures": figures.collect::<serde_json::Map<_, _>>(),
        })
    };
    rounds.iter().map(round).collect()
}

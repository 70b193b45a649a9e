//! Other shapes of load: many files at once, many proxies that come back at once.
//!
//! Run after the events of a round, on the same control plane. Invariant: each ends when everybody has what it brings, or fails.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use super::client::{Client, Fleet};
use super::config::{Config, host};
use super::{Cpu, Event, Running, settle};

/// Files that are written at once.
const EDITS: usize = 500;
/// Proxies that come at once.
const RECONNECTING: usize = 200;

/// Edits files as fast as they can be written; every proxy must have the last word of each.
pub(super) async fn burst(running: &mut Running, config: &Config, delta: bool) -> anyhow::Result<Event> {
    let id = running.process.id();
    let clients = running.fleet.got.len();
    let received = |running: &Running| -> u64 { (0..clients).map(|at| running.fleet.got(at).bytes).sum() };
    let rules = (config.services / 5).max(1);
    let (cpu, bytes, began) = (Cpu::of(id)?, received(running), Instant::now());
    for edit in 0..EDITS {
        config.virtual_service(edit % rules, 1_000 + edit)?;
    }
    let written = Instant::now();
    // The last edits come in after the last is written.
    let names: Vec<String> = match delta {
        true => (EDITS - EDITS.min(rules)..EDITS)
            .map(|edit| format!("VHDS 8080/{}:8080", host(edit % rules)))
            .collect(),
        false => vec!["RDS 8080".to_owned()],
    };
    let times = running.until(written, |_, got| {
        let fresh = |name: &String| got.last.get(name).copied().filter(|at| *at > began);
        names.iter().map(fresh).try_fold(began, |latest, at| Some(latest.max(at?)))
    });
    let times = times.await.context("500 files change at once")?;
    settle().await;
    let cpu = Cpu::of(id)?.since(cpu);
    Ok(event("500 files change at once", cpu, &times, (received(running) - bytes) as f64 / clients as f64))
}

/// Proxies that come at once to a control plane that runs, beside those that are there.
pub(super) async fn reconnect(running: &Running, wanted: &[String], delta: bool) -> anyhow::Result<Event> {
    let id = running.process.id();
    let fleet = Fleet::new(RECONNECTING);
    let (cpu, began) = (Cpu::of(id)?, Instant::now());
    let tasks: Vec<_> = (0..RECONNECTING)
        .map(|at| {
            let client = Client { at: 1_000 + at, slot: at, delta, fleet: Arc::clone(&fleet) };
            tokio::spawn(client.run(running.address.clone()))
        })
        .collect();
    let times = super::until(&fleet, began, |_, got| {
        let came = wanted.iter().map(|name| got.last.get(name).copied());
        came.into_iter().try_fold(began, |latest, at| Some(latest.max(at?)))
    });
    let times = times.await.context("200 proxies come at once")?;
    settle().await;
    let cpu = Cpu::of(id)?.since(cpu);
    let bytes: u64 = (0..RECONNECTING).map(|at| fleet.got(at).bytes).sum();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(event("200 proxies come at once", cpu, &times, bytes as f64 / RECONNECTING as f64))
}

fn event(name: &'static str, cpu: Cpu, times: &[f64], bytes: f64) -> Event {
    Event {
        name,
        cpu: (cpu.user + cpu.kernel) * 1e3,
        first: times[0],
        middle: times[times.len() / 2],
        last: times[times.len() - 1],
        bytes,
    }
}

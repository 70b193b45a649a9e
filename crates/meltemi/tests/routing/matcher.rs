//! The first of the three ways: the mesh translated and compiled in this process, and the calls put to the matcher alone.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use meltemi_config::Options;
use meltemi_pilot::{node::Node, offline, snapshot::Snapshot};
use meltemi_proxy::explain::{self, Branch, Config, Explanation, Outcome, Request};
use meltemi_testkit::table::Expect;

use super::{
    Call, File, Tcp,
    world::{World, node},
};

/// The problems that the matcher has with a file's expectations.
pub(crate) fn check(world: &World, file: &File) -> Vec<String> {
    let loaded = meltemi_config::load::load_text("mesh.yaml", &world.fill(&file.mesh), &Options::default());
    let errors: Vec<_> = loaded
        .diagnostics
        .iter()
        .filter(|finding| finding.severity == meltemi_config::Severity::Error)
        .map(ToString::to_string)
        .collect();
    if !errors.is_empty() {
        return errors;
    }
    let settings = file.mesh_config.as_deref().unwrap_or("{}");
    let (mut settings, _) = meltemi_config::load::mesh_config("settings.yaml", &world.fill(settings));
    if let Some(networks) = &file.mesh_networks {
        settings.networks = meltemi_config::load::mesh_networks("networks.yaml", &world.fill(networks)).0;
    }
    let snapshot = Snapshot::build(1, &loaded.objects, Arc::new(settings));
    let config = |call: &Call| {
        let from = call.from.as_deref().map(|name| (name, &file.clients[name]));
        let node = node(call.through, from);
        let node = Node::parse(&node.id(), &node.metadata()).unwrap();
        let sent = offline::translate(&snapshot, &node);
        Config::new(&sent.listeners, &sent.routes, &sent.clusters, &sent.endpoints).unwrap()
    };
    let mut configs = BTreeMap::new();
    let mut problems = Vec::new();
    for call in &file.calls {
        let config = configs.entry((call.through, &call.from)).or_insert_with(|| config(call));
        let explanation = explain::explain(config, &as_explained(world, call));
        if let Some(problem) = problem(world, call, &explanation) {
            problems.push(format!("matcher: {}: {problem}\n{:#?}", call.name, explanation.steps));
        }
    }
    problems
}

fn as_explained(world: &World, call: &Call) -> explain::Call {
    let http = call.tcp.is_none().then(|| Request {
        method: call.method.clone(),
        authority: world.fill(&call.host),
        path: call.path.clone(),
        headers: call
            .headers
            .iter()
            .flat_map(|(name, values)| values.split('\n').map(move |value| (name.clone(), world.fill(value))))
            .collect(),
        http2: false,
    });
    let server_name = match &call.tcp {
        Some(Tcp::Sni(name)) => Some(name.clone()),
        _ => None,
    };
    explain::Call {
        destination: world.destination(call),
        looked_up: None,
        source: SocketAddr::from(([127, 0, 0, 1], 40000)),
        inbound: call.inbound,
        server_name,
        http,
        random: 0,
    }
}

/// What the explanation and the call's expectation disagree about.
fn problem(world: &World, call: &Call, explanation: &Explanation) -> Option<String> {
    let expect = call.matcher.as_ref().unwrap_or(&call.expect);
    match &explanation.outcome {
        Outcome::Forwarded { path, authority, clusters, mirrors } => {
            if !call.shares.is_empty() {
                let shares_at_rest = if call.at_rest.is_empty() { &call.shares } else { &call.at_rest };
                let mut found = shares(world, explanation, clusters);
                // The rest is what is drawn before an upstream: faults. Then only who is reached is certain.
                let wanted: Vec<_> =
                    shares_at_rest.iter().filter(|(name, _)| world.is_upstream(name)).collect();
                // Nor does configuration say who is not there.
                let all = wanted.len() == shares_at_rest.len() && found.remove("dead").is_none();
                let near = |name: &String, share: u32| {
                    found.get(name.as_str()).is_some_and(|found| !all || found.abs_diff(share) <= 1)
                };
                let same =
                    found.len() == wanted.len() && wanted.iter().all(|(name, share)| near(name, **share));
                return (!same).then(|| format!("shares {found:?}, wanted {shares_at_rest:?}"));
            }
            let mirrored = call.mirrored.as_deref();
            let copies: Vec<_> =
                mirrors.iter().flat_map(|cluster| of_cluster(world, explanation, cluster)).collect();
            if mirrored.is_some_and(|wanted| !copies.is_empty() && !copies.contains(&wanted))
                || mirrored.is_some() && mirrors.is_empty()
            {
                return Some(format!("copies go to {copies:?}, wanted {mirrored:?}"));
            }
            let reached = upstreams(world, explanation);
            let wanted =
                expect.upstream.clone().or_else(|| expect.body.clone().filter(|_| call.tcp.is_some()));
            let Some(wanted) = wanted else {
                return (expect.status / 100 == 3 || expect.status == 404)
                    .then(|| format!("it is forwarded to {reached:?} instead of status {}", expect.status));
            };
            differ("upstream", &Some(wanted), &Some(reached.join(" or ")))
                .or_else(|| differ("path", &expect.path, &Some(path.clone())))
                .or_else(|| {
                    differ(
                        "host",
                        &expect.host.as_deref().map(|host| world.fill(host)),
                        &Some(authority.clone()),
                    )
                })
        }
        Outcome::Answered { status, location, flag, reason, .. } => differ_status(expect, *status)
            .or_else(|| {
                let wanted =
                    expect.headers.get("location").cloned().flatten().map(|location| world.fill(&location));
                differ("location", &wanted, location)
            })
            .or_else(|| differ("reason", &call.reason, &Some(world.forget(reason))))
            .or_else(|| {
                (!flag.is_empty() && reason.is_empty()).then(|| format!("no reason is given for {flag}"))
            }),
        Outcome::Refused { reason } => (expect.status != 0).then(|| reason.clone()),
    }
}

fn differ_status(expect: &Expect, status: u16) -> Option<String> {
    (expect.status != status).then(|| format!("status {status}, wanted {}", expect.status))
}

fn differ(what: &str, wanted: &Option<String>, got: &Option<String>) -> Option<String> {
    (wanted.is_some() && wanted != got).then(|| format!("{what} {got:?}, wanted {wanted:?}"))
}

/// The names of the upstreams behind the clusters.
fn upstreams(world: &World, explanation: &Explanation) -> Vec<&'static str> {
    let reached =
        explanation.steps.iter().filter(|step| step.what == explain::What::Endpoints && step.matched);
    let mut names: Vec<_> = reached.flat_map(|step| of_step(world, step)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The upstreams of one step on endpoints, those that are well.
fn of_step<'a>(world: &'a World, step: &'a explain::Step) -> impl Iterator<Item = &'static str> + use<'a> {
    let usable = step.endpoints.iter().filter(|seat| seat.is_usable());
    usable.filter_map(|seat| world.upstream(seat.address.rsplit(':').next()?))
}

fn of_cluster(world: &World, explanation: &Explanation, cluster: &str) -> Vec<&'static str> {
    let steps = explanation.steps.iter();
    let steps = steps.filter(|step| step.what == explain::What::Endpoints && step.name == cluster);
    steps.flat_map(|step| of_step(world, step)).collect()
}

/// Percent by upstream: of the clusters' weights, and within a cluster of the endpoints'.
fn shares(world: &World, explanation: &Explanation, clusters: &[Branch]) -> BTreeMap<&'static str, u32> {
    let total: u32 = clusters.iter().map(|branch| branch.weight).sum();
    let mut shares: BTreeMap<&'static str, f64> = BTreeMap::new();
    for branch in clusters {
        let part = f64::from(branch.weight) * 100.0 / f64::from(total.max(1));
        let step = explanation
            .steps
            .iter()
            .find(|step| step.what == explain::What::Endpoints && step.name == *branch.cluster);
        let Some(step) = step else { continue };
        let first = step.endpoints.iter().filter(|seat| seat.is_usable()).map(|seat| seat.priority).min();
        let seats: Vec<_> =
            step.endpoints.iter().filter(|seat| seat.is_usable() && Some(seat.priority) == first).collect();
        let all: u32 = seats.iter().map(|seat| seat.weight).sum();
        for seat in seats {
            if let Some(name) = seat.address.rsplit(':').next().and_then(|port| world.upstream(port)) {
                *shares.entry(name).or_default() += part * f64::from(seat.weight) / f64::from(all.max(1));
            }
        }
    }
    shares.into_iter().map(|(name, share)| (name, share.round() as u32)).collect()
}

//! What follows when a request goes to a cluster: changes, copies, the cluster, its endpoints.
//!
//! Invariant: changes are made in the router's order ([`crate::http::router`]): header rules, host, path.

use std::sync::Arc;

use super::{Branch, Endpoints, Hop, Outcome, Trace, What, answered, http::Matched, words};
use crate::{
    http::{connection_manager::mutation::Levels, reason::blame::Destination},
    route::{Forward, HeaderOp, HeaderRules, MirrorTarget, Target, rewrite::Picked},
};

impl Trace<'_> {
    pub(super) fn forward(&mut self, matched: &Matched<'_>, forward: &Forward, hop: &Hop) -> Outcome {
        let part = match forward.target.pick(self.call.random) {
            Picked::Weighted(part) => Some(part),
            _ => None,
        };
        let levels: Vec<_> = Levels::new(matched.table, matched.host, matched.route, part).rules().collect();
        let mut sent = hop.clone();
        levels.iter().for_each(|rules| put(rules, &mut sent));
        let host = part.and_then(|part| part.host_rewrite.as_deref().map(str::to_owned));
        let host = host.or_else(|| forward.host_rewrite.apply(&sent).map(Into::into));
        let authority = host.unwrap_or_else(|| sent.authority.clone());
        let path = forward.rewrite.apply(&sent.path).unwrap_or_else(|| sent.path.clone());
        let name = format!("{} {authority}{path}", hop.method);
        self.step(What::Request, name, true, words::in_force(forward));
        for rules in levels {
            let sides = [("request", &rules.request), ("answer", &rules.response)];
            for (side, operations) in sides.into_iter().filter(|(_, operations)| !operations.is_empty()) {
                self.step(What::Headers, side, true, words::operations(operations));
            }
        }
        let mirrors = self.mirrors(forward, &sent);
        let clusters: Vec<(Arc<str>, u32)> = match &forward.target {
            Target::Cluster(slot) => vec![(slot.name.clone(), 1)],
            Target::Weighted { parts, .. } => {
                parts.iter().map(|part| (part.cluster.name.clone(), part.weight)).collect()
            }
            Target::Header { name, .. } => vec![(sent.named_cluster(name).into(), 1)],
        };
        let hashes = clusters.iter().any(|(name, _)| self.config.hashes(name));
        if hashes && !forward.hash.is_empty() {
            let because = words::hashed(&forward.hash, &sent, self.call.source.ip());
            self.step(What::Hash, words::hash_names(&forward.hash), true, because);
        } else if hashes {
            self.step(
                What::Hash,
                "(none)",
                false,
                "the route says not what to hash by: endpoints are drawn at random",
            );
        }
        let clusters = self.clusters(&clusters);
        let (all, unknown) = (clusters.iter().all(|c| c.problem.is_some()), |branch: &&Branch| {
            !self.config.has_cluster(&branch.cluster)
        });
        match clusters.iter().find_map(|branch| branch.problem.clone()) {
            Some(reason) if all && clusters.iter().filter(unknown).count() == clusters.len() => {
                answered(forward.not_found_status, "NC", reason)
            }
            Some(reason) if all => answered(503, "UH", reason),
            _ => Outcome::Forwarded { clusters, mirrors, path, authority },
        }
    }

    fn mirrors(&mut self, forward: &Forward, hop: &Hop) -> Vec<Arc<str>> {
        let mut clusters = Vec::new();
        for mirror in &forward.mirrors {
            let cluster: Arc<str> = match &mirror.target {
                MirrorTarget::Cluster(slot) => slot.name.clone(),
                MirrorTarget::Header(name, _) => hop.named_cluster(name).into(),
            };
            let share = words::requests(mirror.share.unwrap_or((1, 1)));
            let known = self.config.has_cluster(&cluster);
            let because = match known {
                true => format!("{share} copied to it; its answers are thrown away"),
                false => "no copy is made: there is no such cluster".to_owned(),
            };
            let resource = self.config.cluster_resource(&cluster);
            self.step(What::Mirror, &*cluster, known, because);
            self.name_resource(resource);
            if known {
                clusters.push(cluster);
            }
        }
        clusters
    }

    /// Steps for clusters and their endpoints, with what calls to them fail of.
    pub(super) fn clusters(&mut self, clusters: &[(Arc<str>, u32)]) -> Vec<Branch> {
        let total: u32 = clusters.iter().map(|(_, weight)| weight).sum();
        let branches = clusters.iter().filter(|(_, weight)| *weight > 0 || total == 0);
        branches.map(|(name, weight)| self.cluster(name, *weight, total)).collect()
    }

    fn cluster(&mut self, name: &Arc<str>, weight: u32, total: u32) -> Branch {
        let share = match weight == total {
            true => "all of it".to_owned(),
            false => format!("{} ({weight} of {total})", words::percent((weight, total))),
        };
        let problem = |reason: String| Branch { cluster: name.clone(), weight, problem: Some(reason) };
        let Some(known) = self.config.cluster(name) else {
            let rule = if self.rule.is_empty() { "the listener" } else { &self.rule };
            let reason = Destination::of(name, None).unknown(rule);
            self.step(What::Cluster, &**name, false, reason.clone());
            return problem(reason);
        };
        let facts: Vec<&str> =
            std::iter::once(&*share).chain(known.facts.iter().map(String::as_str)).collect();
        self.step(What::Cluster, &**name, true, facts.join("; "));
        self.name_resource(known.resource.clone());
        let (ok, because, seats) = match &known.endpoints {
            Endpoints::Elsewhere(how) => (true, how.clone(), Vec::new()),
            Endpoints::Known(seats) => {
                let bad = seats.iter().filter(|seat| !seat.is_usable()).count();
                let rule =
                    known.resource.as_ref().map(|origin| &*origin.resource).filter(|rule| !rule.is_empty());
                let destination = Destination::of(name, rule);
                let shown = seats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                match seats.len() {
                    0 => (false, destination.no_endpoints(), Vec::new()),
                    all if bad == all && known.panics => {
                        (true, format!("{shown}; as none is healthy, all are used"), seats.clone())
                    }
                    all if bad == all => (false, destination.none_healthy(bad, all), seats.clone()),
                    _ => (true, shown, seats.clone()),
                }
            }
        };
        let reason = (!ok).then(|| because.clone());
        self.step(What::Endpoints, &**name, ok, because);
        if let Some(step) = self.steps.last_mut() {
            step.endpoints = seats;
        }
        Branch { cluster: name.clone(), weight, problem: reason }
    }
}

/// What header rules do to the head's own parts.
fn put(rules: &HeaderRules, hop: &mut Hop) {
    for operation in &rules.request {
        let HeaderOp::Put { name, value, .. } = operation else { continue };
        let Some(value) = value.literal() else { continue };
        match &**name {
            ":authority" | "host" => hop.authority = value.to_owned(),
            ":path" => hop.path = value.to_owned(),
            ":method" => hop.method = value.to_owned(),
            _ => {}
        }
    }
}

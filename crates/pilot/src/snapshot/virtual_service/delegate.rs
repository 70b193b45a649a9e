//! Delegation: a rule of one VirtualService stands for the rules of another one, which has no hosts (SEM-033).
//!
//! Invariant: each rule of a delegate takes no request that the delegating rule does not take; one that could is left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_config::Str;
use meltemi_config::networking::virtual_service::{
    Delegate, Destination, HttpMatchRequest, HttpRoute, StringMatch, VirtualService,
};
use rustc_hash::FxHashMap;

use super::{Origin, Resolved};

type ByName = FxHashMap<(Str, Str), Arc<Resolved>>;

/// Whether any rule stands for those of another resource.
pub(super) fn delegates(spec: &VirtualService) -> bool {
    spec.http.iter().any(|rule| rule.delegate.is_some())
}

/// Those that one delegates to, by namespace and name.
pub(super) fn names(root: &Resolved) -> impl Iterator<Item = (Str, Str)> + '_ {
    root.spec.http.iter().filter_map(|rule| rule.delegate.as_ref()).map(|delegate| name_of(delegate, root))
}

fn name_of(delegate: &Delegate, root: &Resolved) -> (Str, Str) {
    let namespace = delegate.namespace.clone().filter(|namespace| !namespace.is_empty());
    (namespace.unwrap_or_else(|| root.namespace.clone()), delegate.name.clone())
}

/// A resource with the rules of those that it delegates to in the place of those that do.
pub(super) fn merged(root: &Resolved, by_name: &ByName) -> Resolved {
    let mut http = Vec::new();
    let mut origins: Vec<Origin> = Vec::new();
    let mut named = Vec::new();
    for (at, rule) in root.spec.http.iter().enumerate() {
        let Some(delegate) = &rule.delegate else {
            http.push(rule.clone());
            origins.extend(root.origins.get(at).cloned());
            continue;
        };
        let key = name_of(delegate, root);
        named.push(key.clone());
        // One that is not there or not to be seen costs this rule alone.
        let Some(lender) = by_name
            .get(&key)
            .filter(|lender| lender.is_delegate() && lender.export_to.visible_in(&root.namespace))
        else {
            continue;
        };
        for (at, lent) in lender.spec.http.iter().enumerate() {
            if let Some(rule) = merged_rule(rule, lent, lender) {
                http.push(rule);
                let place = lender.origins.get(at).and_then(|origin| origin.place.clone());
                origins.push(Origin { resource: root.origin.clone(), place });
            }
        }
    }
    Resolved {
        name: root.name.clone(),
        namespace: root.namespace.clone(),
        domain: root.domain.clone(),
        hosts: root.hosts.clone(),
        gateways: root.gateways.clone(),
        export_to: root.export_to.clone(),
        spec: Arc::new(VirtualService { http, ..VirtualService::clone(&root.spec) }),
        origin: root.origin.clone(),
        origins,
        by_segments: root.by_segments,
        retries: root.retries,
        delegates: named,
        order: root.order.clone(),
    }
}

/// A lent rule under the conditions of the delegating one; `None` if they contradict each other. What the lent rule says wins.
fn merged_rule(root: &HttpRoute, lent: &HttpRoute, lender: &Resolved) -> Option<HttpRoute> {
    let mut rule = lent.clone();
    // Nobody delegates further.
    rule.delegate = None;
    rule.matches = merged_matches(&root.matches, &lent.matches)?;
    rule.name = joined(root.name.as_ref(), lent.name.as_ref());
    rule.rewrite = rule.rewrite.or_else(|| root.rewrite.clone());
    rule.timeout = rule.timeout.or(root.timeout);
    rule.retries = rule.retries.or_else(|| root.retries.clone());
    rule.fault = rule.fault.or_else(|| root.fault.clone());
    rule.mirror = rule.mirror.or_else(|| root.mirror.clone());
    rule.mirror_percent = rule.mirror_percent.or(root.mirror_percent);
    rule.mirror_percentage = rule.mirror_percentage.or_else(|| root.mirror_percentage.clone());
    if rule.mirrors.is_empty() {
        rule.mirrors.clone_from(&root.mirrors);
    }
    rule.cors_policy = rule.cors_policy.or_else(|| root.cors_policy.clone());
    rule.headers = rule.headers.or_else(|| root.headers.clone());
    lent_destinations(&mut rule, lender);
    Some(rule)
}

/// Short names belong to the namespace of the resource that wrote them.
fn lent_destinations(rule: &mut HttpRoute, lender: &Resolved) {
    let resolve = |to: &mut Destination| to.host = lender.destination_host(to);
    rule.route.iter_mut().for_each(|to| resolve(&mut to.destination));
    rule.mirror.iter_mut().for_each(resolve);
    rule.mirrors.iter_mut().filter_map(|mirror| mirror.destination.as_mut()).for_each(resolve);
}

fn joined(root: Option<&Str>, lent: Option<&Str>) -> Option<Str> {
    let filled = |name: Option<&Str>| name.filter(|name| !name.is_empty()).cloned();
    match (filled(root), filled(lent)) {
        (Some(root), Some(lent)) => Some(format!("{root}-{lent}").into()),
        (root, lent) => lent.or(root),
    }
}

/// Each condition of the lender under each of the delegating rule that it does not contradict; `None` if one contradicts all.
fn merged_matches(root: &[HttpMatchRequest], lent: &[HttpMatchRequest]) -> Option<Vec<HttpMatchRequest>> {
    if root.is_empty() || lent.is_empty() {
        return Some(if root.is_empty() { lent } else { root }.to_vec());
    }
    let mut merged = Vec::new();
    for own in lent {
        let before = merged.len();
        merged.extend(root.iter().filter(|root| !contradict(root, own)).map(|root| merged_match(root, own)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merged_match(root: &HttpMatchRequest, lent: &HttpMatchRequest) -> HttpMatchRequest {
    let both = |root: &BTreeMap<Str, StringMatch>, lent: &BTreeMap<Str, StringMatch>| {
        let mut all = root.clone();
        all.extend(lent.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    };
    let mut merged = lent.clone();
    merged.name = joined(root.name.as_ref(), lent.name.as_ref());
    merged.uri = merged.uri.or_else(|| root.uri.clone());
    merged.scheme = merged.scheme.or_else(|| root.scheme.clone());
    merged.method = merged.method.or_else(|| root.method.clone());
    merged.authority = merged.authority.or_else(|| root.authority.clone());
    merged.headers = both(&root.headers, &lent.headers);
    merged.without_headers = both(&root.without_headers, &lent.without_headers);
    merged.query_params = both(&root.query_params, &lent.query_params);
    merged.port = merged.port.filter(|port| *port != 0).or(root.port);
    // A lender says nothing of clients and gateways; what the delegating rule says of them holds on.
    if merged.gateways.is_empty() {
        merged.gateways.clone_from(&root.gateways);
    }
    if merged.source_labels.is_empty() {
        merged.source_labels.clone_from(&root.source_labels);
    }
    merged.source_namespace = merged.source_namespace.or_else(|| root.source_namespace.clone());
    merged.stat_prefix = merged.stat_prefix.or_else(|| root.stat_prefix.clone());
    merged
}

fn contradict(root: &HttpMatchRequest, lent: &HttpMatchRequest) -> bool {
    let texts = [
        (&root.uri, &lent.uri),
        (&root.scheme, &lent.scheme),
        (&root.method, &lent.method),
        (&root.authority, &lent.authority),
    ];
    let outside = |root: &BTreeMap<Str, StringMatch>, lent: &BTreeMap<Str, StringMatch>| {
        lent.iter().any(|(name, value)| !within(root.get(name), Some(value)))
    };
    let port = |port: Option<u32>| port.filter(|port| *port != 0);
    texts.into_iter().any(|(root, lent)| !within(root.as_ref(), lent.as_ref()))
        || outside(&root.headers, &lent.headers)
        || outside(&root.headers, &lent.without_headers)
        || outside(&root.query_params, &lent.query_params)
        || root.ignore_uri_case != lent.ignore_uri_case
        || port(root.port).zip(port(lent.port)).is_some_and(|(root, lent)| root != lent)
}

/// Whether whatever the second takes the first takes too. Patterns beside anything else are not compared, as in Istio.
fn within(root: Option<&StringMatch>, lent: Option<&StringMatch>) -> bool {
    let (Some(root), Some(lent)) = (root, lent) else { return true };
    match (root, lent) {
        (StringMatch::Exact(root), StringMatch::Exact(lent)) => root == lent,
        (StringMatch::Prefix(root), StringMatch::Prefix(lent) | StringMatch::Exact(lent)) => {
            lent.starts_with(&**root)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(uri: StringMatch) -> HttpMatchRequest {
        HttpMatchRequest { uri: Some(uri), ..Default::default() }
    }

    #[test]
    fn a_lent_condition_must_be_within_one_of_the_delegating_rule() {
        let prefix = |text: &str| StringMatch::Prefix(text.into());
        let exact = |text: &str| StringMatch::Exact(text.into());
        let regex = |text: &str| StringMatch::Regex(text.into());
        for (root, lent, taken) in [
            (prefix("/a"), prefix("/a/b"), true),
            (prefix("/a/b"), prefix("/a"), false),
            (prefix("/a"), exact("/ab"), true),
            (exact("/a"), exact("/a"), true),
            (exact("/a"), prefix("/a"), false),
            (regex(".*"), exact("/a"), false),
            (prefix("/a"), regex("/a.*"), false),
        ] {
            let merged = merged_matches(&[uri(root.clone())], &[uri(lent.clone())]);
            assert_eq!(merged.is_some(), taken, "{root:?} {lent:?}");
        }
    }

    #[test]
    fn names_are_joined() {
        let name = |text: &str| Some(Str::from(text));
        assert_eq!(joined(name("a").as_ref(), name("b").as_ref()), name("a-b"));
        assert_eq!(joined(None, name("b").as_ref()), name("b"));
        assert_eq!(joined(name("a").as_ref(), None), name("a"));
    }
}

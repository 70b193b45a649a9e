//! Path and authority rewrites and redirect locations: pure text in, text out, by Envoy's rules.
//!
//! Called by the HTTP data path when a route has matched, and by whatever explains what a route would do.

use std::{borrow::Cow, sync::Arc};

use super::{
    Forward, HostRewrite, Redirect, RequestView, Rewrite, Target, WeightedCluster, matcher::without_query,
};
use crate::cluster::ClusterSlot;

impl Rewrite {
    /// The path (with query) as it goes on; `None` when it stays as it is.
    pub fn apply(&self, path: &str) -> Option<String> {
        let bare = without_query(path);
        let query = &path[bare.len()..];
        match self {
            Self::None => None,
            Self::Prefix { matched, with } => {
                let rest = bare.get((*matched).min(bare.len())..).unwrap_or_default();
                Some([with, rest, query].concat())
            }
            // Also where the pattern finds nothing: as in Envoy, the path then counts as rewritten to itself.
            Self::Regex { pattern, with } => Some(pattern.replace_all(bare, &**with).into_owned() + query),
        }
    }
}

impl HostRewrite {
    /// The authority as it goes on, as far as the request alone decides it; `None` when it stays. `Auto` needs the
    /// endpoint and is up to the caller.
    pub fn apply<'a, V: RequestView>(&'a self, request: &'a V) -> Option<Cow<'a, str>> {
        match self {
            Self::None | Self::Auto => None,
            Self::Literal(host) => Some(Cow::Borrowed(host)),
            Self::Header(name) => request.header(name).filter(|value| !value.is_empty()),
            Self::PathRegex { pattern, with } => {
                Some(pattern.replace_all(without_query(request.path()), &**with))
            }
        }
    }
}

impl Redirect {
    /// The `location` of the answer.
    pub fn location<V: RequestView>(&self, request: &V) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme());
        let host = match &self.host {
            Some(host) => host,
            None => self.request_host(scheme, request),
        };
        let path = self.new_path(request.path());
        match self.port {
            Some(port) => format!("{scheme}://{host}:{port}{path}"),
            None => format!("{scheme}://{host}{path}"),
        }
    }

    /// The request's own host; its port goes when the redirect sets one, or when the scheme changes and the port was
    /// the old scheme's default.
    fn request_host<'a, V: RequestView>(&self, scheme: &str, request: &'a V) -> &'a str {
        let authority = request.authority();
        let colon = match authority.starts_with('[') {
            true => authority.rfind("]:").map(|at| at + 1),
            false => authority.rfind(':'),
        };
        let Some(colon) = colon else { return authority };
        let was_default =
            matches!((request.scheme(), &authority[colon..]), ("https", ":443") | ("http", ":80"));
        let drop = self.port.is_some() || (scheme != request.scheme() && was_default);
        if drop { &authority[..colon] } else { authority }
    }

    fn new_path<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        if let Some(new) = &self.path {
            let query = &path[path.find('?').unwrap_or(path.len())..];
            // A query of its own wins over the request's, and strip_query is not about it.
            return match new.contains('?') || self.strip_query || query.is_empty() {
                true => Cow::Borrowed(new),
                false => Cow::Owned([new, query].concat()),
            };
        }
        let path = self.rewrite.apply(path).map_or(Cow::Borrowed(path), Cow::Owned);
        match path.find('?') {
            Some(query) if self.strip_query => Cow::Owned(path[..query].to_owned()),
            _ => path,
        }
    }
}

/// Where a request goes, once weights are drawn.
#[derive(Debug)]
pub enum Picked<'a> {
    /// To the only cluster.
    Cluster(&'a Arc<ClusterSlot>),
    /// To this part of a weighted set.
    Weighted(&'a WeightedCluster),
    /// To the cluster named by this request header, as the store knows it.
    Header(&'a Arc<str>, &'a Arc<crate::cluster::store::ClusterStore>),
}

impl Target {
    /// Draws by the stream's random number: the same number, the same part.
    #[inline]
    pub fn pick(&self, random: u64) -> Picked<'_> {
        match self {
            Self::Cluster(slot) => Picked::Cluster(slot),
            Self::Header { name, clusters } => Picked::Header(name, clusters),
            Self::Weighted { total, parts } => {
                let mut left = random % u64::from((*total).max(1));
                for part in parts {
                    let weight = u64::from(part.weight);
                    if left < weight {
                        return Picked::Weighted(part);
                    }
                    left -= weight;
                }
                Picked::Weighted(parts.last().expect("invariant: weighted clusters have at least one part"))
            }
        }
    }
}

impl Forward {
    /// Whether the route lets an upgrade pass; `listener` is what the connection manager says.
    pub fn allows_upgrade(&self, upgrade: &str, listener: bool) -> bool {
        let own = self.upgrades.iter().find(|(name, _)| name.eq_ignore_ascii_case(upgrade));
        own.map_or(listener, |(_, enabled)| *enabled)
    }
}

#[cfg(test)]
mod tests;

//! Conditions of an HTTP rule as conditions of a route.

use meltemi_config::Str;
use meltemi_config::networking::virtual_service::{HttpMatchRequest, StringMatch};

use crate::model::route::{ClaimMatch, HeaderMatch, PathMatch, RouteMatch, TextMatch};

/// Names that Istio reserves among header conditions and ignores there (VS-042).
const RESERVED: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// What names of claims begin with.
const CLAIMS: &str = "@request.auth.claims";

/// The conditions that a route can express; `by_segments`: prefixes of paths go by whole segments.
pub(super) fn route_match(request: &HttpMatchRequest, by_segments: bool) -> RouteMatch {
    RouteMatch {
        path: path(request.uri.as_ref(), by_segments),
        ignore_case: request.ignore_uri_case,
        headers: headers(request),
        query: request.query_params.iter().map(|(name, value)| (name.clone(), header_text(value))).collect(),
        claims: claims(request),
    }
}

fn path(uri: Option<&StringMatch>, by_segments: bool) -> PathMatch {
    match uri {
        None | Some(StringMatch::Present) => PathMatch::Prefix("/".into()),
        Some(StringMatch::Exact(path)) => PathMatch::Exact(path.clone()),
        Some(StringMatch::Prefix(prefix)) if by_segments && &**prefix != "/" => {
            PathMatch::Segments(prefix.strip_suffix('/').unwrap_or(prefix).into())
        }
        Some(StringMatch::Prefix(prefix)) => PathMatch::Prefix(prefix.clone()),
        Some(StringMatch::Regex(pattern)) => PathMatch::Regex(pattern.clone()),
    }
}

fn headers(request: &HttpMatchRequest) -> Vec<HeaderMatch> {
    let wanted = request.headers.iter().map(|(name, value)| (name, value, false));
    let unwanted = request.without_headers.iter().map(|(name, value)| (name, value, true));
    let mut headers: Vec<HeaderMatch> = wanted
        .chain(unwanted)
        .filter(|(name, _, _)| !RESERVED.contains(&&***name) && claim(name).is_none())
        .map(|(name, value, invert)| HeaderMatch { name: lower(name), value: header_text(value), invert })
        .collect();
    headers.sort_by(|a, b| a.name.cmp(&b.name).then(a.invert.cmp(&b.invert)));
    let pseudo =
        [(":method", &request.method), (":authority", &request.authority), (":scheme", &request.scheme)];
    for (name, value) in pseudo {
        if let Some(value) = value {
            headers.push(HeaderMatch { name: name.into(), value: text(value), invert: false });
        }
    }
    headers
}

/// Names of headers that are claims (VS-042).
fn claims(request: &HttpMatchRequest) -> Vec<ClaimMatch> {
    let wanted = request.headers.iter().map(|(name, value)| (name, value, false));
    let unwanted = request.without_headers.iter().map(|(name, value)| (name, value, true));
    let claims = wanted.chain(unwanted).filter_map(|(name, value, invert)| {
        Some(ClaimMatch { path: claim(name)?, value: header_text(value), invert })
    });
    let mut claims: Vec<ClaimMatch> = claims.collect();
    claims.sort_by(|a, b| (&a.path, a.invert).cmp(&(&b.path, b.invert)));
    claims
}

/// The claim of `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`.
fn claim(name: &str) -> Option<Vec<Str>> {
    let prefix = name.get(..CLAIMS.len()).filter(|prefix| prefix.eq_ignore_ascii_case(CLAIMS))?;
    let rest = &name[prefix.len()..];
    let parts: Vec<Str> = match rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.split("][").map(Str::from).collect(),
        None => rest.strip_prefix('.')?.split('.').map(Str::from).collect(),
    };
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

fn lower(name: &Str) -> Str {
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.clone() }
}

/// A pattern `*` is no pattern: it asks for presence.
fn header_text(value: &StringMatch) -> TextMatch {
    match value {
        StringMatch::Regex(pattern) if &**pattern == "*" => TextMatch::Present,
        other => text(other),
    }
}

/// A condition on a text.
pub(super) fn text(value: &StringMatch) -> TextMatch {
    match value {
        StringMatch::Present => TextMatch::Present,
        StringMatch::Exact(text) => TextMatch::Exact(text.clone()),
        StringMatch::Prefix(text) => TextMatch::Prefix(text.clone()),
        StringMatch::Regex(pattern) => TextMatch::Regex(pattern.clone()),
    }
}

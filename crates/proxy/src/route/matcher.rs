//! The routes of a virtual host, in order, behind an index that finds the first match without trying all.
//!
//! Built by `xds::route`, asked once per request through [`super::VirtualHost::route`].
//! Invariant: the answer is that of trying every route in order; the index only skips routes that cannot match.

mod index;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::index::PathIndex;
use super::{RequestView, Route, strings::StringMatch};

/// Routes with their conditions.
#[derive(Debug, Default)]
pub struct RouteIndex {
    entries: Vec<Entry>,
    /// Absent while trying all is as cheap.
    index: Option<Box<PathIndex>>,
}

/// A route behind its condition.
#[derive(Debug)]
pub struct Entry {
    /// When it applies.
    pub condition: RouteMatch,
    /// What it says.
    pub route: Arc<Route>,
}

/// Up to this many routes are tried one by one.
const INDEX_FROM: usize = 12;

impl RouteIndex {
    /// An index over routes in the order in which they are to be tried.
    pub fn new(entries: Vec<Entry>) -> Self {
        let index = (entries.len() >= INDEX_FROM).then(|| Box::new(PathIndex::new(&entries)));
        Self { entries, index }
    }

    /// The first route whose condition `request` fulfils.
    #[inline]
    pub fn find<V: RequestView>(&self, request: &V) -> Option<&Arc<Route>> {
        let path = without_query(request.path());
        let hit = match &self.index {
            Some(index) if !path.is_empty() => {
                index.first(path, request, |at| self.entries[at as usize].condition.matches(path, request))
            }
            _ => self
                .entries
                .iter()
                .position(|entry| entry.condition.matches(path, request))
                .map(|at| at as u32),
        };
        hit.map(|at| &self.entries[at as usize].route)
    }

    /// All routes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The naive answer, for comparison.
    #[cfg(test)]
    fn find_by_trying_all<V: RequestView>(&self, request: &V) -> Option<&Arc<Route>> {
        let path = without_query(request.path());
        self.entries.iter().find(|entry| entry.condition.matches(path, request)).map(|entry| &entry.route)
    }
}

/// A compiled `RouteMatch`.
#[derive(Debug)]
pub struct RouteMatch {
    /// Condition on the path without query and fragment.
    pub path: PathMatch,
    /// Everything else; most routes have nothing else.
    pub also: Option<Box<Conditions>>,
}

/// `path_specifier`.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// `prefix`.
    Prefix(Arc<str>),
    /// `path`.
    Exact(Arc<str>),
    /// `path_separated_prefix`: the prefix, then the end or a slash.
    SeparatedPrefix(Arc<str>),
    /// `safe_regex`, anchored.
    Regex(Arc<regex::Regex>),
    /// `connect_matcher`.
    Connect,
    /// A literal one with `case_sensitive: false`; the literal is in lower case.
    IgnoreCase(Box<PathMatch>),
}

/// What a route asks for besides the path; all must hold.
#[derive(Debug, Default)]
pub struct Conditions {
    /// `headers`.
    pub headers: Vec<HeaderMatch>,
    /// `query_parameters`.
    pub query: Vec<QueryMatch>,
    /// `grpc`.
    pub grpc: bool,
    /// `runtime_fraction`'s default: numerator and denominator. There is no runtime to override it.
    pub fraction: Option<(u32, u32)>,
    /// `dynamic_metadata`: a condition on metadata that no filter leaves behind; nothing fulfils it.
    pub lacks_metadata: bool,
}

/// A compiled `HeaderMatcher`.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// Whose value.
    pub name: HeaderName,
    /// What about it.
    pub value: ValueMatch,
    /// `invert_match`.
    pub invert: bool,
    /// `treat_missing_header_as_empty`.
    pub missing_is_empty: bool,
}

/// A header or pseudo header, in lower case.
#[derive(Debug, Clone)]
pub enum HeaderName {
    /// `:path`, with query.
    Path,
    /// `:method`.
    Method,
    /// `:authority`, `host`.
    Authority,
    /// `:scheme`.
    Scheme,
    /// An ordinary one.
    Field(Arc<str>),
}

/// `header_match_specifier`.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// `string_match` and its older forms.
    String(StringMatch),
    /// `range_match`: start (included) and end (excluded).
    Range(i64, i64),
    /// `present_match`.
    Present(bool),
}

/// A compiled `QueryParameterMatcher`.
#[derive(Debug)]
pub struct QueryMatch {
    /// Parameter, compared as it stands in the path, not decoded.
    pub name: Arc<str>,
    /// Condition on its first value.
    pub value: ValueMatch,
}

impl RouteMatch {
    /// True when the request fulfils everything; `path` is its path without query.
    #[inline]
    fn matches<V: RequestView>(&self, path: &str, request: &V) -> bool {
        // Without a path it is a CONNECT, and those only a connect_matcher takes.
        let path_matches = match &self.path {
            PathMatch::Connect => request.method() == "CONNECT",
            _ if path.is_empty() => false,
            condition => condition.matches(path),
        };
        path_matches && self.also.as_ref().is_none_or(|also| also.hold(request))
    }
}

impl PathMatch {
    #[inline]
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => path.as_bytes().starts_with(prefix.as_bytes()),
            Self::Exact(whole) => path == &**whole,
            Self::SeparatedPrefix(prefix) => path
                .as_bytes()
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
            Self::Regex(pattern) => pattern.is_match(path),
            Self::Connect => false,
            Self::IgnoreCase(inner) => inner.matches(&path.to_ascii_lowercase()),
        }
    }

    /// The same without regard to ASCII case; a regex stays as it is.
    pub fn ignoring_case(self) -> Self {
        let lower = |literal: Arc<str>| -> Arc<str> { literal.to_ascii_lowercase().into() };
        let inner = match self {
            Self::Prefix(literal) => Self::Prefix(lower(literal)),
            Self::Exact(literal) => Self::Exact(lower(literal)),
            Self::SeparatedPrefix(literal) => Self::SeparatedPrefix(lower(literal)),
            other => return other,
        };
        Self::IgnoreCase(Box::new(inner))
    }

    /// How many bytes of the path `prefix_rewrite` replaces; the whole path is `usize::MAX`.
    pub fn replaced_len(&self) -> usize {
        match self {
            Self::Prefix(literal) | Self::SeparatedPrefix(literal) => literal.len(),
            Self::IgnoreCase(inner) => inner.replaced_len(),
            Self::Exact(_) | Self::Regex(_) | Self::Connect => usize::MAX,
        }
    }
}

impl Conditions {
    /// True when there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.query.is_empty()
            && !self.grpc
            && self.fraction.is_none()
            && !self.lacks_metadata
    }

    fn hold<V: RequestView>(&self, request: &V) -> bool {
        self.fraction.is_none_or(|(part, whole)| request.random() % u64::from(whole.max(1)) < u64::from(part))
            && !self.lacks_metadata
            && (!self.grpc || is_grpc(request))
            && self.headers.iter().all(|header| header.matches(request))
            && (self.query.is_empty() || {
                let query = query_of(request.path());
                self.query.iter().all(|parameter| parameter.matches(query))
            })
    }
}

impl HeaderMatch {
    /// True when a line of the request's header fulfils the condition. A header that is missing fulfils none but "not
    /// present", inverted or not, unless missing counts as empty.
    #[inline]
    pub fn matches<V: RequestView>(&self, request: &V) -> bool {
        let mut condition = |value: &str| self.value.matches(value);
        let met = match &self.name {
            HeaderName::Path => Some(condition(request.path())),
            HeaderName::Method => Some(condition(request.method())),
            HeaderName::Authority => Some(condition(request.authority())),
            HeaderName::Scheme => Some(condition(request.scheme())),
            HeaderName::Field(name) => request.any_header(name, &mut condition),
        };
        match (&self.value, met) {
            (ValueMatch::Present(wanted), met) => (met.is_some() == *wanted) != self.invert,
            (_, Some(met)) => met != self.invert,
            (_, None) => self.missing_is_empty && self.value.matches("") != self.invert,
        }
    }
}

impl HeaderName {
    /// The name, of a pseudo header with its colon.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Path => ":path",
            Self::Method => ":method",
            Self::Authority => ":authority",
            Self::Scheme => ":scheme",
            Self::Field(name) => name,
        }
    }

    /// The name as the matcher asks for it.
    pub fn new(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            ":path" => Self::Path,
            ":method" => Self::Method,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            other => Self::Field(other.into()),
        }
    }
}

impl ValueMatch {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::String(condition) => condition.matches(value),
            Self::Range(start, end) => value.trim().parse().is_ok_and(|n: i64| n >= *start && n < *end),
            Self::Present(wanted) => *wanted,
        }
    }
}

impl QueryMatch {
    /// The parameter's first value.
    pub(super) fn value_in<'q>(&self, query: &'q str) -> Option<&'q str> {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(name, _)| *name == &*self.name).map(|(_, value)| value)
    }

    pub(super) fn matches(&self, query: &str) -> bool {
        match (&self.value, self.value_in(query)) {
            (ValueMatch::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (condition, Some(value)) => condition.matches(value),
        }
    }
}

/// `application/grpc`, alone or with a `+…` suffix.
pub(crate) fn is_grpc<V: RequestView>(request: &V) -> bool {
    request.header("content-type").is_some_and(|value| {
        value.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
    })
}

/// The path up to query or fragment.
#[inline]
pub(crate) fn without_query(path: &str) -> &str {
    match memchr::memchr2(b'?', b'#', path.as_bytes()) {
        Some(end) => &path[..end],
        None => path,
    }
}

/// What stands between `?` and `#`.
pub(super) fn query_of(path: &str) -> &str {
    let Some(start) = path.find('?') else { return "" };
    let query = &path[start + 1..];
    query.find('#').map_or(query, |end| &query[..end])
}

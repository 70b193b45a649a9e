//! Why a route takes a request or not, in words: the matcher's own conditions, asked one by one.
//!
//! Used by `explain`, never by the data path. Invariant: there is no verdict "taken" on a route that the matcher passes over,
//! nor the other way round; `matcher` itself answers every condition.

use std::fmt;

use super::{
    RequestView,
    matcher::{
        Conditions, HeaderMatch, HeaderName, PathMatch, QueryMatch, RouteMatch, ValueMatch, query_of,
        without_query,
    },
    strings::StringMatch,
};

impl RouteMatch {
    /// The first condition that the request does not fulfil; `None` when it fulfils all.
    pub fn failure<V: RequestView>(&self, request: &V) -> Option<String> {
        let path = without_query(request.path());
        let taken = match &self.path {
            PathMatch::Connect => request.method() == "CONNECT",
            condition => !path.is_empty() && condition.matches(path),
        };
        if !taken {
            return Some(format!("{} is not {}", quoted(path), self.path));
        }
        self.also.as_ref().and_then(|also| also.failure(request))
    }
}

impl Conditions {
    fn failure<V: RequestView>(&self, request: &V) -> Option<String> {
        if let Some((part, whole)) = self.fraction.filter(|fraction| !fraction_takes(*fraction, request)) {
            return Some(format!("the request is not among {part} of {whole}"));
        }
        if self.lacks_metadata {
            return Some("the request has no such claim: no filter has left metadata".to_owned());
        }
        if self.grpc && !super::matcher::is_grpc(request) {
            return Some("the content type is not application/grpc".to_owned());
        }
        if let Some(header) = self.headers.iter().find(|header| !header.matches(request)) {
            return Some(header.failure(request));
        }
        let query = query_of(request.path());
        let parameter = self.query.iter().find(|parameter| !parameter.matches(query))?;
        Some(format!("query parameter {} {}", parameter.name, parameter.wanted(query)))
    }
}

fn fraction_takes<V: RequestView>((part, whole): (u32, u32), request: &V) -> bool {
    request.random() % u64::from(whole.max(1)) < u64::from(part)
}

impl HeaderMatch {
    fn failure<V: RequestView>(&self, request: &V) -> String {
        let (name, found) = match &self.name {
            HeaderName::Path => ("path", Some(request.path().into())),
            HeaderName::Method => ("method", Some(request.method().into())),
            HeaderName::Authority => ("authority", Some(request.authority().into())),
            HeaderName::Scheme => ("scheme", Some(request.scheme().into())),
            HeaderName::Field(name) => (&**name, request.header(name)),
        };
        let what = match &self.name {
            HeaderName::Field(name) => format!("header {name}"),
            _ => name.to_owned(),
        };
        match (&self.value, found) {
            (ValueMatch::Present(wanted), found) => {
                let absent = found.is_none();
                debug_assert_eq!(absent, *wanted != self.invert);
                format!("{what} is {}", if absent { "absent" } else { "present" })
            }
            (_, None) => format!("{what} is absent"),
            (condition, Some(found)) if self.invert => format!("{what} {} is {condition}", quoted(&found)),
            (condition, Some(found)) => format!("{what} {} is not {condition}", quoted(&found)),
        }
    }
}

impl QueryMatch {
    fn wanted(&self, query: &str) -> String {
        match (self.value_in(query), &self.value) {
            (None, _) => "is absent".to_owned(),
            (Some(_), ValueMatch::Present(_)) => "is present".to_owned(),
            (Some(found), condition) => format!("{} is not {condition}", quoted(found)),
        }
    }
}

/// A value as it is shown: in quotes, and cut when it is long.
fn quoted(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(literal) => write!(f, "under prefix {literal:?}"),
            Self::Exact(literal) => write!(f, "exactly {literal:?}"),
            Self::SeparatedPrefix(literal) => write!(f, "{literal:?} or below it"),
            Self::Regex(pattern) => write!(f, "a match of {}", shown(pattern)),
            Self::Connect => f.write_str("a CONNECT"),
            Self::IgnoreCase(inner) => write!(f, "{inner} (in any case)"),
        }
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(literal) => write!(f, "exactly {literal:?}"),
            Self::Prefix(literal) => write!(f, "beginning with {literal:?}"),
            Self::Suffix(literal) => write!(f, "ending with {literal:?}"),
            Self::Contains(literal) => write!(f, "containing {literal:?}"),
            Self::Regex(pattern) => write!(f, "a match of {}", shown(pattern)),
            Self::IgnoreCase(inner) => write!(f, "{inner} (in any case)"),
        }
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(condition) => condition.fmt(f),
            Self::Range(start, end) => write!(f, "a number from {start} up to {end}"),
            Self::Present(true) => f.write_str("present"),
            Self::Present(false) => f.write_str("absent"),
        }
    }
}

impl fmt::Display for RouteMatch {
    /// All conditions, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {}", self.path)?;
        let Some(also) = &self.also else { return Ok(()) };
        for header in &also.headers {
            let name = match &header.name {
                HeaderName::Path => ":path",
                HeaderName::Method => "method",
                HeaderName::Authority => "authority",
                HeaderName::Scheme => "scheme",
                HeaderName::Field(name) => name,
            };
            let not = if header.invert { "not " } else { "" };
            write!(f, ", {name} {not}{}", header.value)?;
        }
        for parameter in &also.query {
            write!(f, ", ?{} {}", parameter.name, parameter.value)?;
        }
        if also.grpc {
            f.write_str(", gRPC")?;
        }
        also.fraction.map_or(Ok(()), |(part, whole)| write!(f, ", {part} of {whole} requests"))
    }
}

/// The pattern as its author wrote it, without our anchors.
fn shown(pattern: &regex::Regex) -> &str {
    let text = pattern.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

//! Hash policies of routes: what a request is hashed by, for clusters that balance by hash.
//!
//! The router asks once per request, and only where the cluster's balancer hashes.
//! Invariant: the number is Envoy's (`HashPolicyImpl::generateHash`), so both lead a request to the same endpoint.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use crate::{
    balancer::hash::xxh64,
    http::{
        headers::{HeaderList, Known},
        message::RequestHead,
    },
};

/// One `hash_policy`.
#[derive(Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// `terminal`: what follows counts only if nothing was hashed so far.
    pub terminal: bool,
}

/// `policy_specifier`.
#[derive(Debug)]
pub enum HashSource {
    /// A header's values.
    Header {
        /// Lower-case name.
        name: Arc<str>,
        /// `regex_rewrite`.
        rewrite: Option<(regex::Regex, Arc<str>)>,
    },
    /// A cookie's value.
    Cookie(Box<Cookie>),
    /// The client's address.
    SourceIp,
    /// The first value of a query parameter.
    Query(Arc<str>),
    /// A filter state object; none here says a hash.
    FilterState,
}

/// A cookie to hash by, made when the request has none and `ttl` is set.
#[derive(Debug)]
pub struct Cookie {
    /// Name.
    pub name: Arc<str>,
    /// `ttl` in seconds; zero is a session cookie; `None` makes none.
    pub ttl: Option<u64>,
    /// What follows name, value and age in `set-cookie`: path and attributes, ready to append.
    pub attributes: String,
}

/// What the hash comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    /// The hash, if any policy found something.
    pub hash: Option<u64>,
    /// Values of `set-cookie` headers for cookies that were made.
    pub cookies: Vec<String>,
}

/// Hashes a request. `client` and `local` are both ends of the downstream connection.
pub fn hash(policies: &[HashPolicy], head: &RequestHead, client: SocketAddr, local: SocketAddr) -> Hashed {
    let mut hashed = Hashed::default();
    for policy in policies {
        let new = match &policy.source {
            HashSource::Header { name, rewrite } => header(head, name, rewrite.as_ref()),
            HashSource::Cookie(cookie) => match value_of(&head.headers, &cookie.name) {
                Some(value) => Some(xxh64(&value, 0)),
                None => cookie.ttl.map(|ttl| cookie.make(ttl, client, local, &mut hashed.cookies)),
            },
            HashSource::SourceIp => Some(xxh64(client.ip().to_string().as_bytes(), 0)),
            HashSource::Query(name) => query(head.path(), name).map(|value| xxh64(value.as_bytes(), 0)),
            HashSource::FilterState => None,
        };
        if let Some(new) = new {
            // Rotated, so that equal rules do not cancel each other out.
            hashed.hash = Some(hashed.hash.map_or(0, |old| old.rotate_left(1)) ^ new);
        }
        if policy.terminal && hashed.hash.is_some() {
            break;
        }
    }
    hashed
}

fn header(head: &RequestHead, name: &str, rewrite: Option<&(regex::Regex, Arc<str>)>) -> Option<u64> {
    if matches!(name, ":authority" | "host" | ":path" | ":method" | ":scheme") {
        let value = match name {
            ":path" => head.path(),
            ":method" => head.method(),
            ":scheme" => head.scheme(),
            _ => head.authority(),
        };
        return Some(xxh64(rewritten(value.as_bytes(), rewrite).as_ref(), 0));
    }
    head.headers.get_named(name)?;
    let lines = head.headers.iter().filter(|field| field.name == name.as_bytes());
    let mut values: Vec<Cow<'_, [u8]>> = lines.map(|field| rewritten(field.value, rewrite)).collect();
    // In whatever order they come.
    values.sort_unstable();
    Some(values.iter().fold(0, |hash, value| xxh64(value, hash)))
}

fn rewritten<'a>(value: &'a [u8], rewrite: Option<&(regex::Regex, Arc<str>)>) -> Cow<'a, [u8]> {
    let Some((pattern, with)) = rewrite else { return Cow::Borrowed(value) };
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Owned(pattern.replace_all(text, &**with).into_owned().into_bytes()),
        Err(_) => Cow::Borrowed(value),
    }
}

/// A cookie's value; an empty one counts as none.
pub fn value_of(headers: &HeaderList, name: &str) -> Option<Vec<u8>> {
    for line in headers.all(Known::Cookie) {
        for pair in line.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii_start();
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            if &pair[..equals] == name.as_bytes() {
                let value = pair[equals + 1..].trim_ascii_end();
                let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                let value = bare.unwrap_or(value);
                return (!value.is_empty()).then(|| value.to_vec());
            }
        }
    }
    None
}

/// The first value of a query parameter, as it stands.
fn query<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

impl Cookie {
    /// Makes a cookie whose value stands for both ends of the connection; returns its hash.
    fn make(&self, ttl: u64, client: SocketAddr, local: SocketAddr, cookies: &mut Vec<String>) -> u64 {
        let value = format!("{:016x}", xxh64(format!("{client}{local}").as_bytes(), 0));
        let age = if ttl > 0 { format!("; Max-Age={ttl}") } else { String::new() };
        cookies.push(format!("{}=\"{value}\"{age}{}; HttpOnly", self.name, self.attributes));
        xxh64(value.as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_path(path);
        headers.iter().for_each(|(name, value)| head.headers.append_named(name.as_bytes(), value.as_bytes()));
        head
    }

    fn by(source: HashSource) -> HashPolicy {
        HashPolicy { source, terminal: false }
    }

    fn header(name: &str) -> HashPolicy {
        by(HashSource::Header { name: name.into(), rewrite: None })
    }

    fn cookie(ttl: Option<u64>) -> HashPolicy {
        let attributes = "; Path=/p".to_owned();
        by(HashSource::Cookie(Box::new(Cookie { name: "c".into(), ttl, attributes })))
    }

    #[test]
    fn values_are_hashed_as_by_envoy() {
        let head = head(
            "/x?a=1&b=foo&b=2",
            &[("user", "foo"), ("cookie", "x=1; c=\"foo\""), ("two", "b"), ("two", "a")],
        );
        let foo = Some(xxh64(b"foo", 0));
        for (policies, wanted) in [
            (vec![header("user")], foo),
            (vec![header("none")], None),
            (vec![header("two")], Some(xxh64(b"b", xxh64(b"a", 0)))),
            (vec![cookie(None)], foo),
            (vec![by(HashSource::Query("b".into()))], foo),
            (vec![by(HashSource::Query("z".into()))], None),
            (vec![by(HashSource::SourceIp)], Some(xxh64(b"127.0.0.1", 0))),
            (vec![header("user"), header("user")], foo.map(|foo| foo.rotate_left(1) ^ foo)),
            (vec![HashPolicy { terminal: true, ..header("user") }, header("two")], foo),
        ] {
            assert_eq!(hash(&policies, &head, HERE, HERE).hash, wanted, "{policies:?}");
        }
    }

    #[test]
    fn cookies_are_made() {
        let hashed = hash(&[cookie(Some(60))], &head("/", &[]), HERE, HERE);
        let value = format!("{:016x}", xxh64(b"127.0.0.1:80127.0.0.1:80", 0));
        assert_eq!(hashed.cookies, [format!("c=\"{value}\"; Max-Age=60; Path=/p; HttpOnly")]);
        assert_eq!(hashed.hash, Some(xxh64(value.as_bytes(), 0)));
        assert_eq!(hash(&[cookie(None)], &head("/", &[]), HERE, HERE), Hashed::default());
    }

    #[test]
    fn headers_are_rewritten_first() {
        let pattern = regex::Regex::new("^/a/([^/]+).*$").unwrap();
        let policy = by(HashSource::Header { name: ":path".into(), rewrite: Some((pattern, "${1}".into())) });
        assert_eq!(hash(&[policy], &head("/a/foo/b", &[]), HERE, HERE).hash, Some(xxh64(b"foo", 0)));
    }
}

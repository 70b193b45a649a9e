//! Path and host normalisation, before anything looks at them.
//!
//! Pure; called once per request by [`super`]. The common case, a path that needs nothing, copies nothing.
//! Invariant: what routes match is what the upstream is sent.

use std::borrow::Cow;

use crate::http::config::{EscapedSlashes, HttpConnectionManager, StripHostPort};

/// What became of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Path {
    /// As it is.
    Unchanged,
    /// Go on with this one.
    Changed(String),
    /// 307 to this one.
    Redirect(String),
    /// 400.
    Reject,
}

/// Applies `path_with_escaped_slashes_action`, `normalize_path` and `merge_slashes`, in Envoy's order.
pub fn path(path: &str, manager: &HttpConnectionManager) -> Path {
    if memchr::memchr(b'#', path.as_bytes()).is_some() {
        return Path::Reject;
    }
    if !needs_work(path, manager) {
        return Path::Unchanged;
    }
    let (mut bare, query) = match path.split_once('?') {
        Some((bare, query)) => (bare.to_owned(), Some(query)),
        None => (path.to_owned(), None),
    };
    let mut redirect = false;
    if has_escaped_slash(&bare) {
        match manager.escaped_slashes {
            EscapedSlashes::Keep => {}
            EscapedSlashes::Reject => return Path::Reject,
            EscapedSlashes::UnescapeForward => bare = unescape_slashes(&bare),
            EscapedSlashes::UnescapeRedirect => {
                bare = unescape_slashes(&bare);
                redirect = true;
            }
        }
    }
    if manager.normalize_path {
        match canonical(&bare) {
            Some(canonical) => bare = canonical,
            None => return Path::Reject,
        }
    }
    if manager.merge_slashes {
        bare = merge(&bare);
    }
    if let Some(query) = query {
        bare.push('?');
        bare.push_str(query);
    }
    match redirect {
        true => Path::Redirect(bare),
        false if bare == path => Path::Unchanged,
        false => Path::Changed(bare),
    }
}

fn needs_work(path: &str, manager: &HttpConnectionManager) -> bool {
    let escaped = manager.escaped_slashes != EscapedSlashes::Keep;
    if !(escaped || manager.normalize_path || manager.merge_slashes) {
        return false;
    }
    let bytes = path.as_bytes();
    memchr::memchr2(b'%', b'\\', bytes).is_some()
        || bytes.windows(2).any(|pair| pair == b"/." || pair == b"//")
}

fn has_escaped_slash(path: &str) -> bool {
    path.as_bytes()
        .windows(3)
        .any(|escape| escape.eq_ignore_ascii_case(b"%2f") || escape.eq_ignore_ascii_case(b"%5c"))
}

fn unescape_slashes(path: &str) -> String {
    path.replace("%2f", "/").replace("%2F", "/").replace("%5c", "\\").replace("%5C", "\\")
}

/// Unescapes unreserved characters, turns `\` into `/` and resolves dot segments, as the URL library in Envoy does.
fn canonical(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let escaped = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            _ if rest.starts_with('\\') => {
                plain.push('/');
                rest = &rest[1..];
            }
            Some(0) => return None,
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                plain.push('%');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    Some(resolve_dots(&plain))
}

fn resolve_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path[1..].split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(part),
        }
    }
    format!("/{}", segments.join("/"))
}

fn merge(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !merged.ends_with('/') {
            merged.push(char);
        }
    }
    merged
}

/// The authority to go on with, when it is not the one received: first the port goes, then the final dot.
pub fn host<'a>(
    authority: &'a str,
    manager: &HttpConnectionManager,
    listener_port: u16,
) -> Option<Cow<'a, str>> {
    let port = port_of(authority);
    let strip = match manager.strip_host_port {
        StripHostPort::No => false,
        StripHostPort::Any => port.is_some(),
        StripHostPort::Matching => port.is_some_and(|port| port.parse() == Ok(listener_port)),
    };
    let (host, port) = match port {
        Some(port) => (&authority[..authority.len() - port.len() - 1], (!strip).then_some(port)),
        None => (authority, None),
    };
    let bare = host.strip_suffix('.').filter(|_| manager.strip_trailing_host_dot).unwrap_or(host);
    match port {
        None if bare.len() == authority.len() => None,
        None => Some(Cow::Borrowed(bare)),
        Some(_) if bare.len() == host.len() => None,
        Some(port) => Some(Cow::Owned(format!("{bare}:{port}"))),
    }
}

/// The port of an authority, if it names one.
pub fn port_of(authority: &str) -> Option<&str> {
    let (host, port) = authority.rsplit_once(':')?;
    let bracketed = host.ends_with(']') || !host.contains(':');
    (bracketed && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_and_escapes() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%2e%2E/x", "/x"),
            ("/a\\b", "/a/b"),
            ("/%41%2f", "/A%2f"),
            ("/%zz%", "/%zz%"),
            ("/é", "/é"),
        ] {
            assert_eq!(canonical(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(canonical("/%00"), None);
        assert_eq!(merge("//a///b/"), "/a/b/");
    }

    #[test]
    fn hosts_lose_ports_and_final_dots() {
        let manager = |strip_host_port, strip_trailing_host_dot| HttpConnectionManager {
            strip_host_port,
            strip_trailing_host_dot,
            ..HttpConnectionManager::for_tests()
        };
        for (manager, host, expected) in [
            (manager(StripHostPort::No, false), "a.:80", None),
            (manager(StripHostPort::No, true), "a.:80", Some("a:80")),
            (manager(StripHostPort::No, true), "a.", Some("a")),
            (manager(StripHostPort::No, true), "a:80", None),
            (manager(StripHostPort::Any, true), "a.:80", Some("a")),
            (manager(StripHostPort::Matching, false), "a:80", Some("a")),
            (manager(StripHostPort::Matching, false), "a:81", None),
            (manager(StripHostPort::Any, false), "[::1]:80", Some("[::1]")),
        ] {
            assert_eq!(super::host(host, &manager, 80).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(port_of("a:80"), Some("80"));
        assert_eq!(port_of("[::1]:80"), Some("80"));
        assert_eq!(port_of("::1"), None);
        assert_eq!(port_of("a"), None);
    }
}

//! What a rule changes: headers, redirects, direct responses.

use meltemi_config::Str;
use meltemi_config::networking::virtual_service::{
    HeaderOperations, Headers, HttpBodySpecifier, HttpDirectResponse, HttpRedirect, RedirectPort,
    RedirectPortSelection,
};

use super::Place;
use crate::model::route::{Action, HeaderChanges, HeaderValue, Redirect, RedirectPath};

/// Header changes: set by key, then added, then removed (SEM-038).
pub(super) fn header_changes(headers: Option<&Headers>) -> HeaderChanges {
    let Some(headers) = headers else { return HeaderChanges::default() };
    let (request, request_remove) = operations(headers.request.as_ref());
    let (response, response_remove) = operations(headers.response.as_ref());
    HeaderChanges { request, request_remove, response, response_remove }
}

fn operations(operations: Option<&HeaderOperations>) -> (Vec<HeaderValue>, Vec<Str>) {
    let Some(operations) = operations else { return Default::default() };
    let value = |append: bool| {
        move |(name, value): (&Str, &Str)| HeaderValue { name: name.clone(), value: value.clone(), append }
    };
    let set = operations.set.iter().filter(|(name, _)| !is_pseudo(name)).map(value(false));
    let add = operations.add.iter().filter(|(name, _)| !is_pseudo(name)).map(value(true));
    let remove = operations.remove.iter().filter(|name| !is_pseudo(name)).cloned();
    (set.chain(add).collect(), remove.collect())
}

/// `host` and names that begin with a colon are no headers; only the authority has a meaning (VS-030).
fn is_pseudo(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// The authority that header changes set; one that is to be added counts as well.
pub(super) fn authority(headers: Option<&Headers>) -> Option<Str> {
    let request = headers?.request.as_ref()?;
    let names = |name: &Str| &**name == ":authority" || name.eq_ignore_ascii_case("host");
    let mut of = [&request.set, &request.add].into_iter().flatten();
    of.find(|(name, value)| names(name) && !value.is_empty()).map(|(_, value)| value.clone())
}

/// Lays changes of a single destination behind those of the route.
pub(super) fn append(route: &mut HeaderChanges, destination: &HeaderChanges) {
    route.request.extend_from_slice(&destination.request);
    route.request_remove.extend_from_slice(&destination.request_remove);
    route.response.extend_from_slice(&destination.response);
    route.response_remove.extend_from_slice(&destination.response_remove);
}

/// A redirect; `None` for a code that is none, which leaves the route without action (SEM-040).
pub(super) fn redirect(redirect: &HttpRedirect, place: Place<'_>) -> Option<Redirect> {
    let code = redirect.redirect_code.filter(|code| *code != 0).unwrap_or(301);
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let filled = |text: &Option<Str>| text.clone().filter(|text| !text.is_empty());
    let path = match (filled(&redirect.prefix_rewrite), filled(&redirect.uri)) {
        (Some(prefix), _) => RedirectPath::Prefix(prefix),
        (None, Some(path)) => RedirectPath::Full(path),
        (None, None) => RedirectPath::Keep,
    };
    let scheme = redirect.scheme.clone().unwrap_or_default();
    Some(Redirect {
        path,
        host: redirect.authority.clone().unwrap_or_default(),
        port: redirect_port(redirect, &scheme, place),
        scheme,
        code,
    })
}

/// A port that is the scheme's own is left out.
fn redirect_port(redirect: &HttpRedirect, scheme: &str, place: Place<'_>) -> u32 {
    let port = match redirect.redirect_port {
        None => return 0,
        Some(RedirectPort::Port(port)) => port,
        Some(RedirectPort::DerivePort(RedirectPortSelection::FromProtocolDefault)) => return 0,
        Some(RedirectPort::DerivePort(RedirectPortSelection::FromRequestPort)) => place.port,
    };
    let scheme = match (scheme, place.tls) {
        ("", true) => "https",
        ("", false) => "http",
        (said, _) => said,
    };
    match (scheme, port) {
        ("http", 80) | ("https", 443) => 0,
        _ => port,
    }
}

/// A fixed response.
pub(super) fn respond(response: &HttpDirectResponse) -> Action {
    let body = response.body.as_ref().and_then(|body| body.specifier.as_ref());
    let body = match body {
        None => Vec::new(),
        Some(HttpBodySpecifier::String(text)) => text.as_bytes().to_vec(),
        Some(HttpBodySpecifier::Bytes(text)) => base64(text),
    };
    Action::Respond { status: response.status, body }
}

/// Decodes base64, standard or for URLs; what is not of it is skipped.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len().max(1)]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes() {
        for (text, bytes) in [("aGVsbG8=", "hello"), ("aGVsbG8h", "hello!"), ("aGVsbA", "hell"), ("", "")] {
            assert_eq!(base64(text), bytes.as_bytes(), "{text}");
        }
    }

    #[test]
    fn redirects_leave_out_the_port_of_their_scheme() {
        let redirect = |scheme: &str, port: RedirectPort| {
            let config =
                HttpRedirect { scheme: Some(scheme.into()), redirect_port: Some(port), ..Default::default() };
            let place = Place { gateways: &[], port: 8080, tls: false };
            super::redirect(&config, place).map(|redirect| redirect.port)
        };
        assert_eq!(redirect("https", RedirectPort::Port(443)), Some(0));
        assert_eq!(redirect("https", RedirectPort::Port(8443)), Some(8443));
        assert_eq!(redirect("", RedirectPort::Port(80)), Some(0));
        let from_request = RedirectPort::DerivePort(RedirectPortSelection::FromRequestPort);
        assert_eq!(redirect("http", from_request), Some(8080));
    }
}

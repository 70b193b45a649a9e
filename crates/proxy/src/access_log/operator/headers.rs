//! Headers by name, with an alternative.
//!
//! Invariant: names are looked up once, when the format is compiled.

use std::sync::Arc;

use super::write::{integer, text};
use crate::{
    access_log::record::Record,
    http::headers::{HeaderList, Known},
};

/// A header's name.
#[derive(Debug, Clone)]
pub(super) enum Header {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Known(Known),
    Other(Arc<str>),
}

/// `X?Y`.
pub(super) fn parse(argument: &str) -> Result<Arc<[Header]>, String> {
    let names: Vec<_> = argument.split('?').map(header).collect();
    if names.len() > 2 {
        return Err("one alternative at most".to_owned());
    }
    Ok(names.into())
}

fn header(name: &str) -> Header {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        ":method" => Header::Method,
        ":path" => Header::Path,
        ":authority" | "host" => Header::Authority,
        ":scheme" => Header::Scheme,
        ":status" => Header::Status,
        _ => {
            Known::lookup(name.as_bytes()).map_or_else(|| Header::Other(name.as_str().into()), Header::Known)
        }
    }
}

/// Appends a request header; `without_query` cuts it before the query.
pub(super) fn of_request(out: &mut Vec<u8>, name: &Header, record: &Record<'_>, without_query: bool) -> bool {
    let Some(head) = record.request else { return false };
    let start = out.len();
    let some = match name {
        Header::Method => text(out, head.method()),
        Header::Path => text(out, head.path()),
        Header::Authority => text(out, head.authority()),
        Header::Scheme => text(out, head.scheme()),
        Header::Status => false,
        Header::Known(_) | Header::Other(_) => of_list(out, name, &head.headers),
    };
    if without_query && let Some(at) = memchr::memchr(b'?', &out[start..]) {
        out.truncate(start + at);
    }
    some
}

/// Appends a response header.
pub(super) fn of_response(out: &mut Vec<u8>, name: &Header, record: &Record<'_>) -> bool {
    match name {
        Header::Status => record.status != 0 && integer(out, u64::from(record.status)),
        _ => record.response.is_some_and(|head| of_list(out, name, &head.headers)),
    }
}

/// Appends a field.
pub(super) fn of_list(out: &mut Vec<u8>, name: &Header, list: &HeaderList) -> bool {
    let value = match name {
        Header::Known(known) => list.get(*known),
        Header::Other(name) => list.get_named(name),
        _ => None,
    };
    let Some(value) = value else { return false };
    out.extend_from_slice(value);
    true
}

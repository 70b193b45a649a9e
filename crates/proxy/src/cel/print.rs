//! Values as text (`%CEL(…)%`) and as JSON (`%TYPED_CEL(…)%`).
//!
//! Invariant: `to_json` of anything is JSON; what has no JSON form is absent.

use std::io::Write as _;

use super::{number, time, value::Value};

impl Value<'_> {
    /// Appends it as text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"NULL"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            Self::Uint(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            Self::Double(value) => number::six_digits(out, *value),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Duration(nanos) => duration(out, *nanos),
            Self::Time(at) => {
                date(out, *at);
                fraction(out, at.rem_euclid(1_000_000_000) as u64);
                out.extend_from_slice(b"+00:00");
            }
            Self::List(_) => out.extend_from_slice(b"CelList value"),
            Self::Json(serde_json::Value::Array(_)) => out.extend_from_slice(b"CelList value"),
            Self::Map(_) | Self::Headers(_) | Self::Group(_) | Self::Json(_) => {
                out.extend_from_slice(b"CelMap value")
            }
            Self::Metadata(metadata) => {
                for (name, fields) in metadata.and_then(|all| all.as_object()).into_iter().flatten() {
                    // A vector takes everything.
                    let _ = write!(out, "filter_metadata {{ key: {} value {{ ", quoted(name));
                    members(out, fields);
                    out.extend_from_slice(b"} } ");
                }
            }
            Self::Type(_) => out.extend_from_slice(b"CelType value"),
        }
    }

    /// Appends it as JSON; false, and nothing, where it has no such form.
    pub fn write_json(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Null | Self::Group(_) | Self::Type(_) => return false,
            Self::Bool(_) => self.write(out),
            Self::Int(value) => number::shortest(out, *value as f64),
            Self::Uint(value) => number::shortest(out, *value as f64),
            Self::Double(value) => number::shortest(out, *value),
            Self::Text(text) => string(out, text),
            Self::Bytes(bytes) => string(out, &base64(bytes)),
            Self::Duration(nanos) => {
                let mut text = Vec::new();
                if *nanos < 0 {
                    text.push(b'-');
                }
                let nanos = nanos.unsigned_abs();
                let _ = write!(text, "{}", nanos / 1_000_000_000);
                groups(&mut text, nanos % 1_000_000_000);
                text.push(b's');
                string(out, &String::from_utf8_lossy(&text));
            }
            Self::Time(at) => {
                let mut text = Vec::new();
                date(&mut text, *at);
                groups(&mut text, at.rem_euclid(1_000_000_000) as u64);
                text.push(b'Z');
                string(out, &String::from_utf8_lossy(&text));
            }
            Self::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write_or_null(out);
                }
                out.push(b']');
            }
            Self::Map(entries) => {
                let mut keyed: Vec<_> = entries.iter().map(|(key, value)| (key.as_key(), value)).collect();
                keyed.sort_by(|a, b| a.0.cmp(&b.0));
                object(out, keyed.iter().map(|(key, value)| (key.as_str(), *value)));
            }
            Self::Headers(headers) => {
                let pairs = headers.pairs();
                let values: Vec<_> =
                    pairs.into_iter().map(|(name, value)| (name, Value::Text(value))).collect();
                object(out, values.iter().map(|(name, value)| (name.as_str(), value)));
            }
            Self::Json(json) => number::json(out, json),
            Self::Metadata(None) => out.extend_from_slice(b"{}"),
            Self::Metadata(Some(all)) => {
                out.extend_from_slice(b"{\"filter_metadata\":");
                number::json(out, all);
                out.push(b'}');
            }
        }
        true
    }

    fn write_or_null(&self, out: &mut Vec<u8>) {
        if !self.write_json(out) {
            out.extend_from_slice(b"null");
        }
    }

    fn as_key(&self) -> String {
        let mut text = Vec::new();
        self.write(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn object<'v>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'v str, &'v Value<'v>)>) {
    out.push(b'{');
    for (at, (key, value)) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, key);
        out.push(b':');
        value.write_or_null(out);
    }
    out.push(b'}');
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(quoted(text).as_bytes());
}

/// The fields of a `Struct` in protocol buffers' text form.
fn members(out: &mut Vec<u8>, fields: &serde_json::Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        let _ = write!(out, "fields {{ key: {} value {{ ", quoted(key));
        json_value(out, value);
        out.extend_from_slice(b"} } ");
    }
}

fn json_value(out: &mut Vec<u8>, value: &serde_json::Value) {
    use serde_json::Value as Json;
    match value {
        Json::Null => out.extend_from_slice(b"null_value: NULL_VALUE "),
        Json::Bool(value) => drop(write!(out, "bool_value: {value} ")),
        Json::Number(value) => {
            out.extend_from_slice(b"number_value: ");
            number::shortest(out, value.as_f64().unwrap_or_default());
            out.push(b' ');
        }
        Json::String(text) => drop(write!(out, "string_value: {} ", quoted(text))),
        Json::Array(items) => {
            out.extend_from_slice(b"list_value { ");
            for item in items {
                out.extend_from_slice(b"values { ");
                json_value(out, item);
                out.extend_from_slice(b"} ");
            }
            out.extend_from_slice(b"} ");
        }
        Json::Object(_) => {
            out.extend_from_slice(b"struct_value { ");
            members(out, value);
            out.extend_from_slice(b"} ");
        }
    }
}

/// `1h30m`, `1.5ms`.
fn duration(out: &mut Vec<u8>, nanos: i64) {
    if nanos == 0 {
        return out.push(b'0');
    }
    if nanos < 0 {
        out.push(b'-');
    }
    let mut left = nanos.unsigned_abs();
    let small = [(1_000, "ns", 1), (1_000_000, "us", 1_000), (1_000_000_000, "ms", 1_000_000)];
    if let Some((_, unit, scale)) = small.iter().find(|(limit, _, _)| left < *limit) {
        return decimal(out, left, *scale, unit);
    }
    for (scale, unit) in [(3_600_000_000_000, "h"), (60_000_000_000, "m")] {
        if left >= scale {
            let _ = write!(out, "{}{unit}", left / scale);
            left %= scale;
        }
    }
    if left > 0 {
        decimal(out, left, 1_000_000_000, "s");
    }
}

fn decimal(out: &mut Vec<u8>, nanos: u64, scale: u64, unit: &str) {
    let _ = write!(out, "{}", nanos / scale);
    let rest = nanos % scale;
    if rest > 0 {
        let width = scale.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    out.extend_from_slice(unit.as_bytes());
}

/// `2023-08-26T12:39:00`.
fn date(out: &mut Vec<u8>, at: i128) {
    let (year, month, day, seconds, _) = time::split(at);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{:02}", seconds % 60);
}

/// As many digits as there are.
fn fraction(out: &mut Vec<u8>, nanos: u64) {
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// Three, six or nine digits, as protocol buffers' JSON has them.
fn groups(out: &mut Vec<u8>, nanos: u64) {
    match nanos {
        0 => {}
        _ if nanos.is_multiple_of(1_000_000) => drop(write!(out, ".{:03}", nanos / 1_000_000)),
        _ if nanos.is_multiple_of(1_000) => drop(write!(out, ".{:06}", nanos / 1_000)),
        _ => drop(write!(out, ".{nanos:09}")),
    }
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

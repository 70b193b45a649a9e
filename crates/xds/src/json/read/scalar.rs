//! Single values of proto3 JSON: what a field's type accepts, and what is said when it does not.
//!
//! Used by `read`; invariant: a value out of its type's range is refused, never cut.

use std::fmt;

use prost::encoding::{WireType, encode_key, encode_varint};

use super::super::schema::{self, Kind};

/// A value that is neither a list nor an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) if text.chars().count() > 40 => {
                write!(f, "{:?}…", text.chars().take(40).collect::<String>())
            }
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

type Checked<T> = Result<T, String>;

/// Writes the value of a field that is no message.
pub(super) fn write(number: u32, kind: Kind, value: Scalar<'_>, out: &mut Vec<u8>) -> Checked<()> {
    let varint = |n: u64, out: &mut Vec<u8>| {
        encode_key(number, WireType::Varint, out);
        encode_varint(n, out);
    };
    match kind {
        Kind::Message(name) => return Err(expected(&format!("an object ({name})"), value)),
        Kind::Enum(name) => varint(i64::from(enum_value(name, value)?) as u64, out),
        Kind::Bool => varint(u64::from(boolean(value)?), out),
        Kind::String => block(number, string(value)?.as_bytes(), out),
        Kind::Bytes => block(number, &base64(string(value)?)?, out),
        Kind::Int32 => varint(i64::from(integer::<i32>(value)?) as u64, out),
        Kind::Int64 => varint(integer::<i64>(value)? as u64, out),
        Kind::Uint32 => varint(u64::from(integer::<u32>(value)?), out),
        Kind::Uint64 => varint(integer::<u64>(value)?, out),
        Kind::Sint32 | Kind::Sint64 => {
            let n = integer::<i64>(value)?;
            varint(((n << 1) ^ (n >> 63)) as u64, out);
        }
        Kind::Fixed32 => fixed(number, &integer::<u32>(value)?.to_le_bytes(), out),
        Kind::Sfixed32 => fixed(number, &integer::<i32>(value)?.to_le_bytes(), out),
        Kind::Fixed64 => fixed(number, &integer::<u64>(value)?.to_le_bytes(), out),
        Kind::Sfixed64 => fixed(number, &integer::<i64>(value)?.to_le_bytes(), out),
        Kind::Float => fixed(number, &(float(value)? as f32).to_le_bytes(), out),
        Kind::Double => fixed(number, &float(value)?.to_le_bytes(), out),
    }
    Ok(())
}

fn fixed(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    let wire = if bytes.len() == 4 { WireType::ThirtyTwoBit } else { WireType::SixtyFourBit };
    encode_key(number, wire, out);
    out.extend_from_slice(bytes);
}

/// A field of bytes: text, bytes or a message.
pub(super) fn block(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The body of a message whose JSON is a single value (`google.protobuf.Duration` …); `None` for other messages.
pub(super) fn well_known(name: &str, value: Scalar<'_>, out: &mut Vec<u8>) -> Option<Checked<()>> {
    let wrapped = match name.strip_prefix("google.protobuf.")? {
        "Duration" => return Some(string(value).and_then(|text| duration(text, out))),
        "Timestamp" => return Some(string(value).and_then(|text| timestamp(text, out))),
        "FieldMask" => {
            return Some(string(value).map(|text| {
                let paths = text.split(',').filter(|path| !path.is_empty());
                paths.for_each(|path| block(1, path.as_bytes(), out));
            }));
        }
        "Value" => {
            return Some(match value {
                Scalar::Null => {
                    encode_key(1, WireType::Varint, out);
                    encode_varint(0, out);
                    Ok(())
                }
                Scalar::Int(_) | Scalar::Float(_) => write(2, Kind::Double, value, out),
                Scalar::Text(_) => write(3, Kind::String, value, out),
                Scalar::Bool(_) => write(4, Kind::Bool, value, out),
            });
        }
        wrapper => wrapped_kind(wrapper)?,
    };
    Some(write(1, wrapped, value, out))
}

fn wrapped_kind(wrapper: &str) -> Option<Kind> {
    Some(match wrapper {
        "BoolValue" => Kind::Bool,
        "StringValue" => Kind::String,
        "BytesValue" => Kind::Bytes,
        "Int32Value" => Kind::Int32,
        "Int64Value" => Kind::Int64,
        "UInt32Value" => Kind::Uint32,
        "UInt64Value" => Kind::Uint64,
        "FloatValue" => Kind::Float,
        "DoubleValue" => Kind::Double,
        _ => return None,
    })
}

/// What such a message wants to be given; `None` for messages that are objects.
pub(super) fn well_known_form(name: &str) -> Option<&'static str> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Duration" => "a duration such as \"1.5s\"",
        "Timestamp" => "a time such as \"2026-01-02T03:04:05Z\"",
        "FieldMask" => "a string",
        wrapper => match wrapped_kind(wrapper)? {
            Kind::Bool => "true or false",
            Kind::String | Kind::Bytes => "a string",
            _ => "a number",
        },
    })
}

/// `1.5s`.
fn duration(text: &str, out: &mut Vec<u8>) -> Checked<()> {
    let bad = || format!("{text:?} is not a duration; write seconds, as \"1.5s\"");
    let number = text.strip_suffix('s').ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    let nanos = nanos(fraction).ok_or_else(bad)?;
    seconds_and_nanos(seconds, if negative { -nanos } else { nanos }, out);
    Ok(())
}

/// RFC 3339, in UTC.
fn timestamp(text: &str, out: &mut Vec<u8>) -> Checked<()> {
    let parsed = (|| {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut time = time.split(':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
        let in_range = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !in_range || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..61).contains(&second) {
            return None;
        }
        // Days from the civil date (Howard Hinnant's algorithm).
        let y = if month <= 2 { year - 1 } else { year };
        let era = y.div_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let year_of_era = y.rem_euclid(400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        Some((days * 86_400 + hour * 3600 + minute * 60 + second, nanos(fraction)?))
    })();
    let (seconds, nanos) = parsed.ok_or_else(|| format!("{text:?} is not a time in UTC"))?;
    seconds_and_nanos(seconds, nanos, out);
    Ok(())
}

fn nanos(fraction: &str) -> Option<i64> {
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<9}").parse().ok()
}

fn seconds_and_nanos(seconds: i64, nanos: i64, out: &mut Vec<u8>) {
    for (number, n) in [(1, seconds), (2, nanos)] {
        if n != 0 {
            encode_key(number, WireType::Varint, out);
            encode_varint(n as u64, out);
        }
    }
}

fn enum_value(name: &str, value: Scalar<'_>) -> Checked<i32> {
    let Scalar::Text(text) = value else { return integer::<i32>(value) };
    schema::enum_number(name, text).ok_or_else(|| {
        let values = schema::enum_values(name);
        let near = nearest(text, values.iter().copied());
        format!("{text:?} is not one of {}{near}", values.join(", "))
    })
}

fn boolean(value: Scalar<'_>) -> Checked<bool> {
    match value {
        Scalar::Bool(value) => Ok(value),
        Scalar::Text("true") => Ok(true),
        Scalar::Text("false") => Ok(false),
        _ => Err(expected("true or false", value)),
    }
}

fn string(value: Scalar<'_>) -> Checked<&str> {
    match value {
        Scalar::Text(text) => Ok(text),
        _ => Err(expected("a string", value)),
    }
}

fn integer<N: TryFrom<i128>>(value: Scalar<'_>) -> Checked<N> {
    let number = match value {
        Scalar::Int(n) => Some(n),
        Scalar::Float(f) if f.fract() == 0.0 => Some(f as i128),
        Scalar::Text(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(|n| N::try_from(n).ok()).ok_or_else(|| expected("a whole number in range", value))
}

fn float(value: Scalar<'_>) -> Checked<f64> {
    match value {
        Scalar::Int(n) => Some(n as f64),
        Scalar::Float(f) => Some(f),
        Scalar::Text(text) => match text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    }
    .ok_or_else(|| expected("a number", value))
}

/// Standard or URL alphabet, padded or not.
pub(super) fn base64(text: &str) -> Checked<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return Err("not base64".to_owned()),
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Ok(out)
}

/// What is said of a value of the wrong type.
pub(super) fn expected(what: &str, found: impl fmt::Display) -> String {
    format!("expected {what}, found {found}")
}

/// `, did you mean "x"?` when a name is close.
pub(super) fn nearest<'a>(to: &str, names: impl Iterator<Item = &'a str>) -> String {
    let best = names.map(|name| (strsim::levenshtein(to, name), name)).min();
    match best {
        Some((distance, name)) if distance <= 1 + to.len() / 4 => format!(", did you mean {name:?}?"),
        _ => String::new(),
    }
}

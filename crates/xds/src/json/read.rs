//! JSON values to wire bytes.
//!
//! Invariant: every key of every object is either written or named in an error.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

use super::{
    Error,
    schema::{self, Field, Kind, Shape},
};

/// A fault and, innermost first, the way to it.
#[derive(Debug)]
pub(super) struct Fault {
    problem: String,
    path: Vec<String>,
}

impl Fault {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), path: Vec::new() }
    }

    fn within(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }

    /// As the caller of this crate sees it.
    pub(super) fn into_error(self) -> Error {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        Error { path, message: self.problem, position: None }
    }
}

type Done = Result<(), Fault>;

/// Writes a message of type `name`.
pub(super) fn message(name: &str, value: &Value, out: &mut Vec<u8>) -> Done {
    if let Some(done) = well_known(name, value, out) {
        return done;
    }
    let Value::Object(map) = value else { return Err(expected("an object", value)) };
    let fields = schema::fields(name).ok_or_else(|| Fault::new(format!("unknown type {name}")))?;
    for (key, value) in map {
        let field = find(fields, key).ok_or_else(|| {
            let near = nearest(key, fields.iter().map(|field| field.name));
            Fault::new(format!("no such field in {name}{near}")).within(key.clone())
        })?;
        if !value.is_null() || matches!(field.kind, Kind::Message("google.protobuf.Value")) {
            write_field(field, value, out).map_err(|fault| fault.within(field.name))?;
        }
    }
    Ok(())
}

/// By its name, or by the camel-case form of it.
fn find(fields: &'static [Field], key: &str) -> Option<&'static Field> {
    let same = |field: &&Field| {
        field.name == key || {
            let mut camel = key.bytes();
            let mut upper = false;
            let equal = field.name.bytes().all(|byte| {
                if byte == b'_' {
                    upper = true;
                    return true;
                }
                let wanted = if std::mem::take(&mut upper) { byte.to_ascii_uppercase() } else { byte };
                camel.next() == Some(wanted)
            });
            equal && camel.next().is_none()
        }
    };
    fields.iter().find(same)
}

fn write_field(field: &Field, value: &Value, out: &mut Vec<u8>) -> Done {
    match (field.shape, value) {
        (Shape::One, value) => one(field.number, field.kind, value, out),
        (Shape::Repeated, Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                one(field.number, field.kind, item, out).map_err(|fault| fault.within(format!("[{at}]")))?;
            }
            Ok(())
        }
        (Shape::Repeated, value) => Err(expected("a list", value)),
        (Shape::Map(key_kind), Value::Object(entries)) => {
            for (key, value) in entries {
                let mut entry = Vec::new();
                let named = |fault: Fault| fault.within(format!("[{key:?}]"));
                one(1, key_kind, &map_key(key_kind, key), &mut entry).map_err(named)?;
                one(2, field.kind, value, &mut entry).map_err(named)?;
                block(field.number, &entry, out);
            }
            Ok(())
        }
        (Shape::Map(_), value) => Err(expected("an object", value)),
    }
}

fn map_key(kind: Kind, key: &str) -> Value {
    match kind {
        Kind::Bool => Value::Bool(key == "true"),
        _ => Value::String(key.to_owned()),
    }
}

fn one(number: u32, kind: Kind, value: &Value, out: &mut Vec<u8>) -> Done {
    let varint = |n: u64, out: &mut Vec<u8>| {
        encode_key(number, WireType::Varint, out);
        encode_varint(n, out);
    };
    match kind {
        Kind::Message(name) => {
            let mut body = Vec::new();
            message(name, value, &mut body)?;
            block(number, &body, out);
        }
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

fn block(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Types whose JSON is not an object of their fields.
fn well_known(name: &str, value: &Value, out: &mut Vec<u8>) -> Option<Done> {
    let wrapped = match name.strip_prefix("google.protobuf.")? {
        "Any" => return Some(any(value, out)),
        "Duration" => return Some(string(value).and_then(|text| duration(text, out))),
        "Timestamp" => return Some(string(value).and_then(|text| timestamp(text, out))),
        "FieldMask" => {
            return Some(string(value).map(|text| {
                text.split(',')
                    .filter(|path| !path.is_empty())
                    .for_each(|path| block(1, path.as_bytes(), out));
            }));
        }
        "Struct" => return Some(structure(value, out)),
        "Value" => return Some(any_value(value, out)),
        "ListValue" => return Some(list(value, out)),
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
    };
    Some(one(1, wrapped, value, out))
}

fn any(value: &Value, out: &mut Vec<u8>) -> Done {
    let Value::Object(map) = value else { return Err(expected("an object with \"@type\"", value)) };
    if map.is_empty() {
        return Ok(());
    }
    let url = map.get("@type").and_then(Value::as_str).ok_or_else(|| Fault::new("\"@type\" is missing"))?;
    let name = url.rsplit('/').next().unwrap_or(url);
    let mut body = Vec::new();
    let rest: Map<String, Value> =
        map.iter().filter(|(key, _)| *key != "@type").map(|(k, v)| (k.clone(), v.clone())).collect();
    let special = name.starts_with("google.protobuf.") && name != "google.protobuf.Empty";
    match rest.get("value") {
        Some(value) if special || !schema::is_known(name) => match schema::is_known(name) {
            true => message(name, value, &mut body)?,
            false => body = base64(string(value)?)?,
        },
        _ if !schema::is_known(name) => {
            return Err(Fault::new(format!("unknown type {name:?}")).within("@type"));
        }
        _ => message(name, &Value::Object(rest), &mut body)?,
    }
    block(1, url.as_bytes(), out);
    block(2, &body, out);
    Ok(())
}

fn structure(value: &Value, out: &mut Vec<u8>) -> Done {
    let Value::Object(map) = value else { return Err(expected("an object", value)) };
    for (key, value) in map {
        let (mut entry, mut inner) = (Vec::new(), Vec::new());
        any_value(value, &mut inner)?;
        block(1, key.as_bytes(), &mut entry);
        block(2, &inner, &mut entry);
        block(1, &entry, out);
    }
    Ok(())
}

fn any_value(value: &Value, out: &mut Vec<u8>) -> Done {
    let mut inner = Vec::new();
    match value {
        Value::Null => {
            encode_key(1, WireType::Varint, out);
            encode_varint(0, out);
        }
        Value::Number(_) => one(2, Kind::Double, value, out)?,
        Value::String(_) => one(3, Kind::String, value, out)?,
        Value::Bool(_) => one(4, Kind::Bool, value, out)?,
        Value::Object(_) => {
            structure(value, &mut inner)?;
            block(5, &inner, out);
        }
        Value::Array(_) => {
            list(value, &mut inner)?;
            block(6, &inner, out);
        }
    }
    Ok(())
}

fn list(value: &Value, out: &mut Vec<u8>) -> Done {
    let Value::Array(items) = value else { return Err(expected("a list", value)) };
    for item in items {
        let mut inner = Vec::new();
        any_value(item, &mut inner)?;
        block(1, &inner, out);
    }
    Ok(())
}

/// `1.5s`.
fn duration(text: &str, out: &mut Vec<u8>) -> Done {
    let bad = || Fault::new(format!("{text:?} is not a duration; write seconds, as \"1.5s\""));
    let number = text.strip_suffix('s').ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    let nanos = nanos(fraction).ok_or_else(bad)?;
    seconds_and_nanos(seconds, if negative { -nanos } else { nanos }, out);
    Ok(())
}

/// RFC 3339, in UTC.
fn timestamp(text: &str, out: &mut Vec<u8>) -> Done {
    let parsed = (|| {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut time = time.split(':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
        // Days from the civil date (Howard Hinnant's algorithm).
        let y = if month <= 2 { year - 1 } else { year };
        let era = y.div_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let year_of_era = y.rem_euclid(400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        Some((days * 86_400 + hour * 3600 + minute * 60 + second, nanos(fraction)?))
    })();
    let (seconds, nanos) = parsed.ok_or_else(|| Fault::new(format!("{text:?} is not a time in UTC")))?;
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

fn enum_value(name: &str, value: &Value) -> Result<i32, Fault> {
    match value {
        Value::String(text) => schema::enum_number(name, text).ok_or_else(|| {
            let values = schema::enum_values(name);
            let near = nearest(text, values.iter().copied());
            Fault::new(format!("{text:?} is not one of {}{near}", values.join(", ")))
        }),
        _ => integer::<i32>(value),
    }
}

fn boolean(value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(expected("true or false", value)),
    }
}

fn string(value: &Value) -> Result<&str, Fault> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

fn integer<N: TryFrom<i128>>(value: &Value) -> Result<N, Fault> {
    let number = match value {
        Value::Number(n) => {
            n.as_i128().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i128))
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(|n| N::try_from(n).ok()).ok_or_else(|| expected("a whole number in range", value))
}

fn float(value: &Value) -> Result<f64, Fault> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => match text.as_str() {
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
fn base64(text: &str) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return Err(Fault::new("not base64")),
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

fn expected(what: &str, found: &Value) -> Fault {
    let mut text = found.to_string();
    if text.len() > 40 {
        text = text.chars().take(40).collect::<String>() + "…";
    }
    Fault::new(format!("expected {what}, found {text}"))
}

/// `, did you mean "x"?` when a name is close.
fn nearest<'a>(to: &str, names: impl Iterator<Item = &'a str>) -> String {
    let best = names.map(|name| (distance(to, name), name)).min();
    match best {
        Some((distance, name)) if distance <= 1 + to.len() / 4 => format!(", did you mean {name:?}?"),
        _ => String::new(),
    }
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

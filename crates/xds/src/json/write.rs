//! Wire bytes to JSON values.
//!
//! Invariant: fields come out in the order of their definition, whatever their order on the wire.

use prost::bytes::Buf;
use serde_json::{Map, Value};

use super::schema::{self, Field, Kind, Shape};

/// A field's value as it lies on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed(&'a [u8]),
    Block(&'a [u8]),
}

/// The JSON form of a message; `None` when the bytes are not one.
pub(super) fn message(name: &str, bytes: &[u8]) -> Option<Value> {
    let wire = split(bytes)?;
    if let Some(value) = well_known(name, &wire) {
        return value;
    }
    let mut map = Map::new();
    for field in schema::fields(name)? {
        let mut values =
            wire.iter().filter(|(number, _)| *number == field.number).map(|(_, wire)| *wire).peekable();
        if values.peek().is_none() {
            continue;
        }
        map.insert(field.name.to_owned(), field_value(field, values)?);
    }
    Some(Value::Object(map))
}

fn field_value<'a>(field: &Field, mut values: impl Iterator<Item = Wire<'a>>) -> Option<Value> {
    match field.shape {
        Shape::One => one(field.kind, values.last()?),
        Shape::Repeated => {
            let mut items = Vec::new();
            for wire in values {
                match (field.kind, wire) {
                    (Kind::String | Kind::Bytes | Kind::Message(_), _)
                    | (_, Wire::Varint(_) | Wire::Fixed(_)) => {
                        items.push(one(field.kind, wire)?);
                    }
                    (_, Wire::Block(packed)) => unpack(field.kind, packed, &mut items)?,
                }
            }
            Some(Value::Array(items))
        }
        Shape::Map(key_kind) => {
            let mut entries: Vec<(String, Value)> = Vec::new();
            values.try_for_each(|wire| {
                let Wire::Block(entry) = wire else { return None };
                let parts = split(entry)?;
                let part = |number| parts.iter().rev().find(|(n, _)| *n == number).map(|(_, wire)| *wire);
                let key = match part(1) {
                    Some(wire) => one(key_kind, wire)?,
                    None => default(key_kind),
                };
                let value = match part(2) {
                    Some(wire) => one(field.kind, wire)?,
                    None => default(field.kind),
                };
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                entries.push((key, value));
                Some(())
            })?;
            // Maps have no order on the wire; sorted is the one that is the same every time.
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Some(Value::Object(entries.into_iter().collect()))
        }
    }
}

fn unpack(kind: Kind, mut packed: &[u8], items: &mut Vec<Value>) -> Option<()> {
    let width = match kind {
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => 4,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => 8,
        _ => 0,
    };
    while packed.has_remaining() {
        let wire = match width {
            0 => Wire::Varint(prost::encoding::decode_varint(&mut packed).ok()?),
            width => {
                let (head, rest) = packed.split_at_checked(width)?;
                packed = rest;
                Wire::Fixed(head)
            }
        };
        items.push(one(kind, wire)?);
    }
    Some(())
}

fn default(kind: Kind) -> Value {
    match kind {
        Kind::String | Kind::Bytes => Value::from(""),
        Kind::Bool => Value::from(false),
        Kind::Message(name) => message(name, &[]).unwrap_or_default(),
        Kind::Enum(name) => schema::enum_name(name, 0).map_or(Value::from(0), Value::from),
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => Value::from("0"),
        _ => Value::from(0),
    }
}

fn one(kind: Kind, wire: Wire<'_>) -> Option<Value> {
    Some(match (kind, wire) {
        (Kind::Message(name), Wire::Block(bytes)) => message(name, bytes)?,
        (Kind::String, Wire::Block(bytes)) => Value::from(std::str::from_utf8(bytes).ok()?),
        (Kind::Bytes, Wire::Block(bytes)) => Value::from(base64(bytes)),
        (Kind::Bool, Wire::Varint(n)) => Value::from(n != 0),
        (Kind::Enum(name), Wire::Varint(n)) => match schema::enum_name(name, n as i32) {
            Some(name) => Value::from(name),
            None => Value::from(n as i32),
        },
        (Kind::Int32, Wire::Varint(n)) => Value::from(n as i32),
        (Kind::Uint32, Wire::Varint(n)) => Value::from(n as u32),
        (Kind::Int64, Wire::Varint(n)) => Value::from((n as i64).to_string()),
        (Kind::Uint64, Wire::Varint(n)) => Value::from(n.to_string()),
        (Kind::Sint32, Wire::Varint(n)) => Value::from(((n >> 1) as i64 ^ -((n & 1) as i64)) as i32),
        (Kind::Sint64, Wire::Varint(n)) => Value::from(((n >> 1) as i64 ^ -((n & 1) as i64)).to_string()),
        (Kind::Fixed32, Wire::Fixed(b)) => Value::from(u32::from_le_bytes(b.try_into().ok()?)),
        (Kind::Sfixed32, Wire::Fixed(b)) => Value::from(i32::from_le_bytes(b.try_into().ok()?)),
        (Kind::Fixed64, Wire::Fixed(b)) => Value::from(u64::from_le_bytes(b.try_into().ok()?).to_string()),
        (Kind::Sfixed64, Wire::Fixed(b)) => Value::from(i64::from_le_bytes(b.try_into().ok()?).to_string()),
        // The shortest text that means the same, not the digits of the wider type.
        (Kind::Float, Wire::Fixed(b)) => {
            let n = f32::from_le_bytes(b.try_into().ok()?);
            number(n.to_string().parse().unwrap_or(f64::from(n)))
        }
        (Kind::Double, Wire::Fixed(b)) => number(f64::from_le_bytes(b.try_into().ok()?)),
        _ => return None,
    })
}

fn number(n: f64) -> Value {
    match n {
        n if n.is_nan() => Value::from("NaN"),
        f64::INFINITY => Value::from("Infinity"),
        f64::NEG_INFINITY => Value::from("-Infinity"),
        n if n.fract() == 0.0 && n.abs() < 9e15 => Value::from(n as i64),
        n => Value::from(n),
    }
}

/// Types whose JSON is not an object of their fields; `None` for all others.
fn well_known(name: &str, wire: &[(u32, Wire<'_>)]) -> Option<Option<Value>> {
    let last = |number| wire.iter().rev().find(|(n, _)| *n == number).map(|(_, wire)| *wire);
    let varint = |number| match last(number) {
        Some(Wire::Varint(n)) => n as i64,
        _ => 0,
    };
    let wrapped = match name.strip_prefix("google.protobuf.")? {
        "Any" => return Some(any(last(1), last(2))),
        "Duration" => return Some(Some(Value::from(duration(varint(1), varint(2))))),
        "Timestamp" => return Some(Some(Value::from(timestamp(varint(1), varint(2))))),
        "FieldMask" => {
            let paths: Option<Vec<&str>> = wire.iter().map(|(_, wire)| text(*wire)).collect();
            return Some(paths.map(|paths| Value::from(paths.join(","))));
        }
        "Struct" => {
            let field = schema::fields(name)?.first()?;
            let entries = wire.iter().filter(|(n, _)| *n == 1).map(|(_, wire)| *wire);
            return Some(field_value(field, entries));
        }
        "Value" => return Some(value(wire)),
        "ListValue" => {
            let items: Option<Vec<Value>> =
                wire.iter().map(|(_, wire)| one(Kind::Message("google.protobuf.Value"), *wire)).collect();
            return Some(items.map(Value::Array));
        }
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
    Some(match last(1) {
        Some(wire) => one(wrapped, wire),
        None => Some(default(wrapped)),
    })
}

fn text(wire: Wire<'_>) -> Option<&str> {
    match wire {
        Wire::Block(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn any(url: Option<Wire<'_>>, body: Option<Wire<'_>>) -> Option<Value> {
    let Some(url) = url else { return Some(Value::Object(Map::new())) };
    let url = text(url)?;
    let body = match body {
        Some(Wire::Block(bytes)) => bytes,
        _ => &[],
    };
    let name = url.rsplit('/').next().unwrap_or(url);
    let mut map = Map::new();
    map.insert("@type".to_owned(), Value::from(url));
    if !schema::is_known(name) {
        map.insert("value".to_owned(), Value::from(base64(body)));
        return Some(Value::Object(map));
    }
    match message(name, body)? {
        Value::Object(fields) if !name.starts_with("google.protobuf.Struct") => map.extend(fields),
        other => {
            map.insert("value".to_owned(), other);
        }
    }
    Some(Value::Object(map))
}

fn value(wire: &[(u32, Wire<'_>)]) -> Option<Value> {
    let Some((number, wire)) = wire.last() else { return Some(Value::Null) };
    match number {
        2 => one(Kind::Double, *wire),
        3 => one(Kind::String, *wire),
        4 => one(Kind::Bool, *wire),
        5 => one(Kind::Message("google.protobuf.Struct"), *wire),
        6 => one(Kind::Message("google.protobuf.ListValue"), *wire),
        _ => Some(Value::Null),
    }
}

fn duration(seconds: i64, nanos: i64) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos.unsigned_abs()))
}

fn timestamp(seconds: i64, nanos: i64) -> String {
    // Civil date from days (Howard Hinnant's algorithm).
    let (days, time) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let fraction = fraction(nanos.unsigned_abs());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// With 0, 3, 6 or 9 digits, as proto3 JSON asks.
fn fraction(nanos: u64) -> String {
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1000 == 0 => format!(".{:06}", n / 1000),
        n => format!(".{n:09}"),
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let six = word >> (18 - 6 * at) & 63;
            out.push(if at <= chunk.len() { ALPHABET[six as usize] as char } else { '=' });
        }
    }
    out
}

fn split(mut bytes: &[u8]) -> Option<Vec<(u32, Wire<'_>)>> {
    let mut fields = Vec::new();
    while bytes.has_remaining() {
        let key = prost::encoding::decode_varint(&mut bytes).ok()?;
        let number = u32::try_from(key >> 3).ok()?;
        let mut take = |n: usize| {
            let (head, rest) = bytes.split_at_checked(n)?;
            bytes = rest;
            Some(head)
        };
        let wire = match key & 7 {
            0 => Wire::Varint(prost::encoding::decode_varint(&mut bytes).ok()?),
            1 => Wire::Fixed(take(8)?),
            5 => Wire::Fixed(take(4)?),
            2 => {
                let length = prost::encoding::decode_varint(&mut bytes).ok()?;
                let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
                bytes = rest;
                Wire::Block(head)
            }
            _ => return None,
        };
        fields.push((number, wire));
    }
    Some(fields)
}

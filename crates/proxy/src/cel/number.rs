//! Floating-point numbers as Envoy writes them: shortest in JSON, six digits in text.
//!
//! Access log formats use the first for numbers of metadata, too. Invariant: what is written reads back as a number.

use std::io::Write as _;

/// The shortest text that means the number: with an exponent only where that is shorter.
pub fn shortest(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    let plain = value.to_string();
    let scientific = with_exponent(&format!("{value:e}"));
    let text = if plain.len() <= scientific.len() { plain } else { scientific };
    out.extend_from_slice(text.as_bytes());
}

/// At most six digits, as `printf("%g")`.
pub(super) fn six_digits(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        let text = if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        return out.extend_from_slice(text.as_bytes());
    }
    let scientific = format!("{value:.5e}");
    let exponent: i32 =
        scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        let text = format!("{value:.decimals$}");
        out.extend_from_slice(without_zeros(&text).as_bytes());
        return;
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let text = with_exponent(&format!("{}e{exponent}", without_zeros(mantissa)));
    out.extend_from_slice(text.as_bytes());
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Rust's `1e14` as C's `1e+14`.
fn with_exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A JSON value as Envoy writes it: no blanks, numbers as [`shortest`].
pub fn json(out: &mut Vec<u8>, value: &serde_json::Value) {
    use serde_json::Value as Json;
    let text = |out: &mut Vec<u8>, text: &str| {
        // A text always serialises, and a vector takes it.
        let _ = write!(out, "{}", Json::from(text));
    };
    match value {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Json::Number(value) => shortest(out, value.as_f64().unwrap_or_default()),
        Json::String(value) => text(out, value),
        Json::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json(out, item);
            }
            out.push(b']');
        }
        Json::Object(fields) => {
            out.push(b'{');
            for (at, (key, field)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                text(out, key);
                out.push(b':');
                json(out, field);
            }
            out.push(b'}');
        }
    }
}

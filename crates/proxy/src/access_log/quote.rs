//! Text as a JSON string, in place.
//!
//! Formats and operators use it. Invariant: what needs no escaping is not copied.

/// Appends what `write` writes as a JSON string.
pub(super) fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    let start = out.len();
    write(out);
    if out[start..].iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f..)) {
        let text = String::from_utf8_lossy(&out[start..]).into_owned();
        let escaped = serde_json::Value::from(text).to_string();
        out.truncate(start);
        out.extend_from_slice(&escaped.as_bytes()[1..escaped.len() - 1]);
    }
    out.push(b'"');
}

//! Tells HTTP/1.0, HTTP/1.1 and HTTP/2 with prior knowledge apart by the first bytes of a plaintext connection.
//!
//! Called on a growing prefix by the HTTP inspector. Invariant: decides after at most [`MAX_LINE`] bytes.

use super::Parsed;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest request line that is waited for.
const MAX_LINE: usize = 16 * 1024;

/// The protocol as `application_protocols` names it.
pub(super) fn parse(prefix: &[u8]) -> Parsed<&'static str> {
    let common = prefix.len().min(PREFACE.len());
    if prefix[..common] == PREFACE[..common] {
        return if common == PREFACE.len() { Parsed::Done("h2c") } else { Parsed::Incomplete };
    }
    let line = match memchr::memchr(b'\n', prefix) {
        Some(end) => prefix[..end].strip_suffix(b"\r").unwrap_or(&prefix[..end]),
        None if prefix.len() < MAX_LINE && could_be_request_line(prefix) => return Parsed::Incomplete,
        None => return Parsed::Other,
    };
    if !could_be_request_line(line) {
        return Parsed::Other;
    }
    match line.rsplit(|b| *b == b' ').next() {
        Some(b"HTTP/1.1") => Parsed::Done("http/1.1"),
        Some(b"HTTP/1.0") => Parsed::Done("http/1.0"),
        _ => Parsed::Other,
    }
}

/// A method made of token characters, as far as it is there, and no control characters after it.
fn could_be_request_line(line: &[u8]) -> bool {
    let method_end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (method, rest) = line.split_at(method_end);
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !method.is_empty() && method.len() <= 32 && method.iter().all(token) && rest.iter().all(|b| *b >= b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_versions_apart() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Parsed::Done("http/1.1")),
            (b"POST /x HTTP/1.0\r\nHost: a", Parsed::Done("http/1.0")),
            (b"GET /", Parsed::Incomplete),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n..", Parsed::Done("h2c")),
            (b"PRI * HT", Parsed::Incomplete),
            (b"GET / HTTP/3\r\n", Parsed::Other),
            (b"\x16\x03\x01", Parsed::Other),
            (b" GET", Parsed::Other),
        ] {
            assert_eq!(parse(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(parse(b""), Parsed::Incomplete);
    }
}

//! Message heads to bytes.
//!
//! Called by the HTTP/1 codecs; framing headers are written here and nowhere else.
//! Invariant: a head that leaves has exactly one of `content-length`, `transfer-encoding: chunked`, or neither.

use crate::http::{
    config::NameCase,
    headers::{HeaderList, Known, mask},
    message::{BodyLength, RequestHead, ResponseHead},
};

/// Headers that belong to a hop and are written, if at all, by the codec.
const FRAMING: u128 =
    mask(&[Known::TransferEncoding, Known::Connection, Known::KeepAlive, Known::ProxyConnection]);

/// What the codec says about the connection in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionHeader {
    /// Nothing: HTTP/1.1 goes on.
    None,
    /// `close`.
    Close,
    /// `keep-alive`, to HTTP/1.0.
    KeepAlive,
}

/// Writes a request head; how many bytes its fields took. `end`: no body follows; `case`: of names that did not come with
/// one.
pub fn request(head: &RequestHead, end: bool, case: NameCase, out: &mut Vec<u8>) -> usize {
    let method = head.method();
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let target = if head.path().is_empty() { head.authority() } else { head.path() };
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let line_end = out.len();
    let line = |name: &[u8], value: &[u8], out: &mut Vec<u8>| own(&head.headers, case, name, value, out);
    line(b"host", head.authority().as_bytes(), out);
    fields(&head.headers, case, out);
    if head.upgrade && head.headers.contains(Known::Upgrade) {
        line(b"connection", b"Upgrade", out);
    }
    let has_length = head.headers.contains(Known::ContentLength);
    match head.body {
        BodyLength::Unknown if !end => line(b"transfer-encoding", b"chunked", out),
        // A method that may have a body says that it has none (RFC 9110, 8.6); the same set as Envoy's.
        _ if end && !has_length && !matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE" | "CONNECT") => {
            line(b"content-length", b"0", out);
        }
        _ => {}
    }
    let written = out.len() - line_end;
    out.extend_from_slice(b"\r\n");
    written
}

/// How the body that follows a response head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

/// How a response is framed: what it is, whether it answers HEAD, whether the client can read chunks.
pub fn framing(head: &ResponseHead, end: bool, to_head: bool, chunks: bool) -> Framing {
    let bodiless = to_head || head.status < 200 || matches!(head.status, 204 | 304);
    match head.body {
        _ if bodiless || end => Framing::None,
        BodyLength::None => Framing::None,
        BodyLength::Exact(length) => Framing::Length(length),
        BodyLength::Unknown if chunks => Framing::Chunked,
        BodyLength::Unknown => Framing::UntilClose,
    }
}

/// Writes a response head; how many bytes its fields took. `case`: of names that did not come with one.
pub fn response(
    head: &ResponseHead,
    framing: Framing,
    to_head: bool,
    case: NameCase,
    connection: ConnectionHeader,
    out: &mut Vec<u8>,
) -> usize {
    out.extend_from_slice(b"HTTP/1.1 ");
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(head.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let line_end = out.len();
    fields(&head.headers, case, out);
    let mut line = |name: &[u8], value: &[u8]| own(&head.headers, case, name, value, out);
    match framing {
        Framing::Chunked => line(b"transfer-encoding", b"chunked"),
        Framing::None if needs_zero(head, to_head) => line(b"content-length", b"0"),
        _ => {}
    }
    match connection {
        ConnectionHeader::None => {}
        ConnectionHeader::Close => line(b"connection", b"close"),
        ConnectionHeader::KeepAlive => line(b"connection", b"keep-alive"),
    }
    if head.status == 101 {
        line(b"connection", b"Upgrade");
    }
    let written = out.len() - line_end;
    out.extend_from_slice(b"\r\n");
    written
}

fn needs_zero(head: &ResponseHead, to_head: bool) -> bool {
    !to_head
        && head.status >= 200
        && !matches!(head.status, 204 | 304)
        && !head.headers.contains(Known::ContentLength)
}

/// A line that is the codec's own.
#[inline]
fn own(headers: &HeaderList, case: NameCase, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match headers.has_spellings(case) {
        false => out.extend_from_slice(name),
        true => headers.write_name(name, case, out),
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn fields(headers: &HeaderList, case: NameCase, out: &mut Vec<u8>) {
    if !headers.has_spellings(case) && !headers.intersects(FRAMING) {
        return headers.encode(out);
    }
    for field in headers.iter() {
        if field.id.is_some_and(|id| FRAMING & (1 << id as u8) != 0) {
            continue;
        }
        own(headers, case, field.name, field.value, out);
    }
}

/// `{size:x} CRLF`.
pub fn chunk_size(mut size: usize, out: &mut Vec<u8>) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[size & 15];
        size >>= 4;
        if size == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrases of Envoy's `CodeUtility::toString`.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}

//! Message heads, chunk sizes and trailers from bytes: pure functions over `httparse`, stricter than it is.
//!
//! Called by the HTTP/1 codecs with whatever has arrived so far.
//! Invariant: `Ok(Some(_))` means exactly one reading of the framing is possible (RFC 9112, 6 and 11.2).

use std::mem::MaybeUninit;

use crate::http::{
    config::NameFormat,
    headers::{HeaderList, Known, mask},
    message::{BodyLength, Protocol, RequestHead, ResponseHead},
};

/// Why a head was refused; `status` is what a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// 400, 426, 431 or 501.
    pub status: u16,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

/// What a head may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole head.
    pub bytes: usize,
    /// Number of fields.
    pub fields: usize,
    /// Whether names are remembered as they are written.
    pub names: NameFormat,
}

/// What a complete head says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes that the head took.
    pub len: usize,
    /// The connection may go on after this message.
    pub keep_alive: bool,
    /// Its fields, as Envoy counts them: names, values, and three bytes each.
    pub fields: u32,
}

const fn bad(details: &'static str) -> Rejection {
    Rejection { status: 400, details }
}

const CODEC_ERROR: Rejection = bad("http1.codec_error");
const TOO_LARGE: Rejection = Rejection { status: 431, details: "http1.headers_too_large" };
const TOO_MANY: Rejection = Rejection { status: 431, details: "http1.too_many_headers" };

/// Fields that fit on the stack; more are possible when configured.
const STACK_FIELDS: usize = 128;

/// Parses a request head into `head` (which must be clear). `None`: more bytes are needed.
pub fn request(
    bytes: &[u8],
    limits: Limits,
    accept_http_10: bool,
    head: &mut RequestHead,
) -> Result<Option<Parsed>, Rejection> {
    // One empty line before a request is nothing (RFC 9112, 2.2).
    let (before, bytes) = bytes.split_at(if bytes.starts_with(b"\r\n") { 2 } else { 0 });
    let mut stack = [const { MaybeUninit::uninit() }; STACK_FIELDS];
    let mut heap = Vec::new();
    let fields = room(&mut stack, &mut heap, limits);
    let mut request = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_request_with_uninit_headers(&mut request, bytes, fields).map_err(rejection)?;
    let Some(len) = complete(status, bytes, limits)? else { return Ok(None) };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(CODEC_ERROR);
    };
    let first = request.headers.first().map(|field| field.name.as_ptr());
    let counted = counted(&bytes[..len], first, request.headers.len());
    load(&mut head.headers, &bytes[..len], request.headers, limits)?;
    head.size = len as u32;
    head.protocol = if minor == 0 { Protocol::Http10 } else { Protocol::Http11 };
    if minor == 0 && !accept_http_10 {
        return Err(Rejection { status: 426, details: "low_version" });
    }
    let method_span = HeaderList::span(0..method.len());
    let at = method.len() + 1;
    if bytes.get(at..at + target.len()) != Some(target.as_bytes()) {
        // More than one blank or empty line; nobody honest sends them to a proxy.
        return Err(CODEC_ERROR);
    }
    let target_at = at..at + target.len();
    set_target(head, method_span, target, target_at, method)?;
    let keep_alive = request_framing(head, minor)?;
    if method == "CONNECT" && head.body != BodyLength::None {
        return Err(bad("http1.content_length_not_allowed"));
    }
    Ok(Some(Parsed { len: before.len() + len, keep_alive, fields: counted }))
}

/// What Envoy counts of a head whose first field's name is at `first`: not the first line, nor the empty one, and one byte less
/// than there is of each field.
fn counted(head: &[u8], first: Option<*const u8>, fields: usize) -> u32 {
    let line = first.map_or(head.len(), |name| (name as usize).saturating_sub(head.as_ptr() as usize));
    head.len().saturating_sub(line + 2 + fields) as u32
}

/// Parses a response head into `head` (which must be clear), as the answer to a request with method HEAD or not.
pub fn response(
    bytes: &[u8],
    limits: Limits,
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<Option<Parsed>, Rejection> {
    let mut stack = [const { MaybeUninit::uninit() }; STACK_FIELDS];
    let mut heap = Vec::new();
    let fields = room(&mut stack, &mut heap, limits);
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status =
        config.parse_response_with_uninit_headers(&mut response, bytes, fields).map_err(rejection)?;
    let Some(len) = complete(status, bytes, limits)? else { return Ok(None) };
    let (Some(code), Some(minor)) = (response.code, response.version) else { return Err(CODEC_ERROR) };
    let first = response.headers.first().map(|field| field.name.as_ptr());
    let counted = counted(&bytes[..len], first, response.headers.len());
    load(&mut head.headers, &bytes[..len], response.headers, limits)?;
    if code < 100 {
        return Err(CODEC_ERROR);
    }
    head.size = len as u32;
    head.status = code;
    head.protocol = if minor == 0 { Protocol::Http10 } else { Protocol::Http11 };
    let declared = declared_length(&head.headers, minor)?;
    let bodiless = to_head || code < 200 || code == 204 || code == 304;
    head.body = match declared {
        _ if bodiless => BodyLength::None,
        Some(BodyLength::Exact(0)) => BodyLength::None,
        Some(length) => length,
        None => BodyLength::Unknown,
    };
    let until_close = !bodiless && declared.is_none();
    let keep_alive = connection_options(&mut head.headers, minor, false)?.keep_alive && !until_close;
    Ok(Some(Parsed { len, keep_alive, fields: counted }))
}

/// True when `head.body` of a response is delimited by the end of the connection rather than by chunks.
pub fn is_until_close(head: &ResponseHead) -> bool {
    head.body == BodyLength::Unknown && !head.headers.contains(Known::TransferEncoding)
}

fn room<'s, 'b>(
    stack: &'s mut [MaybeUninit<httparse::Header<'b>>; STACK_FIELDS],
    heap: &'s mut Vec<MaybeUninit<httparse::Header<'b>>>,
    limits: Limits,
) -> &'s mut [MaybeUninit<httparse::Header<'b>>] {
    if limits.fields <= STACK_FIELDS {
        return &mut stack[..limits.fields];
    }
    heap.resize_with(limits.fields, MaybeUninit::uninit);
    heap
}

fn rejection(error: httparse::Error) -> Rejection {
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY,
        _ => CODEC_ERROR,
    }
}

/// The head's length, once it is complete and every line of it ends in CRLF.
fn complete(
    status: httparse::Status<usize>,
    bytes: &[u8],
    limits: Limits,
) -> Result<Option<usize>, Rejection> {
    let httparse::Status::Complete(len) = status else {
        return if bytes.len() > limits.bytes { Err(TOO_LARGE) } else { Ok(None) };
    };
    if len > limits.bytes {
        return Err(TOO_LARGE);
    }
    let bare = memchr::memchr_iter(b'\n', &bytes[..len]).any(|at| at == 0 || bytes[at - 1] != b'\r');
    if bare || bytes[0] == b'\r' { Err(CODEC_ERROR) } else { Ok(Some(len)) }
}

/// Copies the head into the list once and names its fields there.
fn load(
    list: &mut HeaderList,
    head: &[u8],
    fields: &[httparse::Header<'_>],
    limits: Limits,
) -> Result<(), Rejection> {
    if fields.len() > limits.fields {
        return Err(TOO_MANY);
    }
    let base = head.as_ptr() as usize;
    list.load(head);
    for field in fields {
        if field.name.is_empty() || field.name.len() > u16::MAX as usize {
            return Err(CODEC_ERROR);
        }
        let name = field.name.as_ptr() as usize - base;
        // An empty value may point anywhere.
        let value = if field.value.is_empty() { 0 } else { field.value.as_ptr() as usize - base };
        list.push_raw(name..name + field.name.len(), value..value + field.value.len());
    }
    if limits.names.preserve {
        list.remember_names(limits.names.case, fields.iter().map(|field| field.name.as_bytes()));
    }
    Ok(())
}

/// Splits the request target (RFC 9112, 3.2) and settles the authority.
fn set_target(
    head: &mut RequestHead,
    method: crate::http::headers::Span,
    target: &str,
    at: std::ops::Range<usize>,
    method_name: &str,
) -> Result<(), Rejection> {
    if !target.is_ascii() {
        return Err(bad("http1.invalid_url"));
    }
    if head.headers.all(Known::Host).count() > 1 {
        return Err(CODEC_ERROR);
    }
    if head.headers.get(Known::Host).is_some_and(|host| !is_authority(host)) {
        return Err(bad("http1.invalid_authority"));
    }
    if method_name == "CONNECT" {
        if !is_authority(target.as_bytes()) || !target.contains(':') {
            return Err(bad("http1.invalid_url"));
        }
        head.set_spans(method, Default::default(), HeaderList::span(at));
        head.upgrade = true;
    } else if target.starts_with('/') || target == "*" && method_name == "OPTIONS" {
        let authority = head.headers.value_span(Known::Host).unwrap_or_default();
        head.set_spans(method, HeaderList::span(at), authority);
    } else {
        absolute(head, method, target, at)?;
    }
    head.headers.remove(Known::Host);
    Ok(())
}

/// `absolute-form`: its authority goes before `Host`.
fn absolute(
    head: &mut RequestHead,
    method: crate::http::headers::Span,
    target: &str,
    at: std::ops::Range<usize>,
) -> Result<(), Rejection> {
    const INVALID: Rejection = bad("http1.invalid_url");
    let (scheme, rest) = target.split_once("://").ok_or(INVALID)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(INVALID);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(INVALID);
    }
    let from = at.start + scheme.len() + 3;
    let path = match rest.as_bytes().get(end) {
        Some(b'/') => HeaderList::span(from + end..at.end),
        Some(_) => head.headers.store(format!("/{}", &rest[end..]).as_bytes()),
        None => head.headers.store(b"/"),
    };
    head.set_spans(method, path, HeaderList::span(from..from + end));
    Ok(())
}

/// `uri-host [":" port]` as far as characters go: no user information, no path, no white space.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'.' | b'-'
                    | b'_'
                    | b'~'
                    | b':'
                    | b'['
                    | b']'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            )
    })
}

/// Body length, keep-alive and upgrade of a request; takes connection-level headers away.
fn request_framing(head: &mut RequestHead, minor: u8) -> Result<bool, Rejection> {
    head.body = match declared_length(&head.headers, minor)? {
        None | Some(BodyLength::Exact(0)) => BodyLength::None,
        Some(length) => length,
    };
    if !head.headers.intersects(CONNECTION_LEVEL) {
        return Ok(minor == 1);
    }
    let options = connection_options(&mut head.headers, minor, true)?;
    let h2c = head.headers.get(Known::Upgrade).is_some_and(|value| value.eq_ignore_ascii_case(b"h2c"));
    if options.upgrade && !h2c && head.headers.contains(Known::Upgrade) {
        head.upgrade = true;
    } else {
        head.headers.remove(Known::Upgrade);
    }
    if let Some(value) = head.headers.get(Known::Expect) {
        head.expects_continue = value.eq_ignore_ascii_case(b"100-continue") && minor == 1;
    }
    Ok(options.keep_alive)
}

const CONNECTION_LEVEL: u128 = mask(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Upgrade,
    Known::Te,
    Known::Http2Settings,
    Known::Expect,
]);

/// What `content-length` and `transfer-encoding` say; `None` when neither is there.
fn declared_length(headers: &HeaderList, minor: u8) -> Result<Option<BodyLength>, Rejection> {
    if !headers.intersects(mask(&[Known::ContentLength, Known::TransferEncoding])) {
        return Ok(None);
    }
    let mut codings = headers.all(Known::TransferEncoding);
    let mut lengths = headers.all(Known::ContentLength);
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(bad("http1.content_length_and_chunked_not_allowed")),
        (Some(coding), None) => {
            if minor == 0 {
                return Err(CODEC_ERROR);
            }
            if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Rejection { status: 501, details: "http1.invalid_transfer_encoding" });
            }
            Ok(Some(BodyLength::Unknown))
        }
        (None, Some(length)) => {
            let length = decimal(length).filter(|_| lengths.next().is_none()).ok_or(CODEC_ERROR)?;
            Ok(Some(BodyLength::Exact(length)))
        }
    }
}

/// `1*DIGIT` without overflow.
fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

struct Options {
    keep_alive: bool,
    upgrade: bool,
}

/// Reads `connection`, removes the headers that it nominates and the hop-by-hop ones. `transfer-encoding` stays: the
/// codec needs it, encoders never copy it.
fn connection_options(headers: &mut HeaderList, minor: u8, request: bool) -> Result<Options, Rejection> {
    let mut options = Options { keep_alive: minor == 1, upgrade: false };
    // Not a standard header, but many speak it.
    let proxy_close = headers
        .joined("proxy-connection")
        .is_some_and(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close")));
    match headers.get(Known::Connection) {
        None => {}
        // What nearly everybody says, without taking it apart.
        Some(b"keep-alive") if headers.all(Known::Connection).count() == 1 => options.keep_alive = true,
        Some(_) => options = read_connection(headers, minor, request)?,
    }
    options.keep_alive &= !proxy_close;
    headers.remove_mask(
        const { mask(&[Known::Connection, Known::KeepAlive, Known::ProxyConnection, Known::Http2Settings]) },
    );
    // `te: trailers` is end to end for gRPC; other values speak of this hop.
    if headers.contains(Known::Te) {
        let trailers = headers
            .joined("te")
            .is_some_and(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("trailers")));
        headers.remove(Known::Te);
        if trailers {
            headers.append(Known::Te, b"trailers");
        }
    }
    Ok(options)
}

/// Takes `connection` apart and removes the headers that it nominates.
fn read_connection(headers: &mut HeaderList, minor: u8, request: bool) -> Result<Options, Rejection> {
    let value: Vec<u8> =
        headers.all(Known::Connection).collect::<Vec<_>>().join(&b","[..]).to_ascii_lowercase();
    let (mut close, mut keep_alive, mut upgrade) = (false, minor == 1, false);
    for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        match token {
            b"" => {}
            b"close" => close = true,
            b"keep-alive" => keep_alive = true,
            b"upgrade" => upgrade = true,
            b"host" | b"x-forwarded-for" | b"x-forwarded-host" | b"x-forwarded-proto" if request => {
                return Err(bad("http1.connection_header_rejected"));
            }
            // Framing and routing are not the client's to take away.
            b"content-length" | b"transfer-encoding" | b"host" | b"te" => {}
            nominated => headers.remove_named(nominated),
        }
    }
    Ok(Options { keep_alive: keep_alive && !close, upgrade })
}

/// Longest chunk-size line that is accepted, extensions included.
const MAX_CHUNK_LINE: usize = 4096;

/// Parses `chunk-size [chunk-ext] CRLF`: (bytes taken, size). `None`: more bytes are needed.
pub fn chunk_size(bytes: &[u8]) -> Result<Option<(usize, u64)>, Rejection> {
    let window = &bytes[..bytes.len().min(MAX_CHUNK_LINE)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if bytes.len() >= MAX_CHUNK_LINE { Err(CODEC_ERROR) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(CODEC_ERROR)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return Err(CODEC_ERROR);
    }
    let rest = &line[digits..];
    let extension = rest.trim_ascii_start();
    if !(rest.is_empty() || extension.starts_with(b";"))
        || rest.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
    {
        return Err(CODEC_ERROR);
    }
    let size = line[..digits].iter().fold(0, |size, digit| size << 4 | u64::from(hex(*digit)));
    Ok(Some((end + 1, size)))
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Fields that have no business in trailers (RFC 9110, 6.5.1).
const NOT_IN_TRAILERS: u128 = mask(&[
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Host,
    Known::Connection,
    Known::Upgrade,
    Known::KeepAlive,
    Known::Te,
    Known::Trailer,
    Known::Expect,
    Known::Authorization,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedProto,
]);

/// Parses the trailer section with its final empty line: bytes taken. `None`: more bytes are needed.
pub fn trailers(bytes: &[u8], limits: Limits, list: &mut HeaderList) -> Result<Option<usize>, Rejection> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.fields];
    let (len, fields) = match httparse::parse_headers(bytes, &mut fields).map_err(rejection)? {
        httparse::Status::Complete(done) => done,
        httparse::Status::Partial if bytes.len() > limits.bytes => return Err(TOO_LARGE),
        httparse::Status::Partial => return Ok(None),
    };
    if len > limits.bytes {
        return Err(TOO_LARGE);
    }
    if memchr::memchr_iter(b'\n', &bytes[..len]).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Err(CODEC_ERROR);
    }
    list.clear(0);
    load(list, &bytes[..len], fields, limits)?;
    list.remove_mask(NOT_IN_TRAILERS);
    Ok(Some(len))
}

#[cfg(test)]
mod tests;

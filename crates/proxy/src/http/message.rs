//! Message heads, the same whatever codec they came from.
//!
//! Codecs fill them, phases change them, codecs write them. Method, path and authority lie in the header list's
//! buffer; `Host` is the authority and never a header here, as in Envoy.
//! Invariant: method, path and authority are valid UTF-8 without white space or control characters.

use std::borrow::Cow;

use crate::{
    http::headers::{HeaderList, Known, Span},
    route::RequestView,
};

/// HTTP versions, as `%PROTOCOL%` prints them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// `HTTP/1.1` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// How long a body is, as far as its head says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    #[default]
    None,
    /// `content-length`.
    Exact(u64),
    /// Chunked in HTTP/1.1, open in HTTP/2, or (responses of HTTP/1.0) until the connection ends.
    Unknown,
}

/// A request's head.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Header fields without `host`.
    pub headers: HeaderList,
    /// As received downstream.
    pub protocol: Protocol,
    /// Framing as received.
    pub body: BodyLength,
    /// True for https.
    pub https: bool,
    /// True when the head asks for a protocol upgrade (HTTP/1 `Upgrade`, HTTP/2 extended CONNECT) or is CONNECT.
    pub upgrade: bool,
    /// The client sent `Expect: 100-continue`.
    pub expects_continue: bool,
    /// Bytes of the head as received.
    pub size: u32,
    method: Span,
    path: Span,
    authority: Span,
}

impl RequestHead {
    /// Makes it ready for the next request.
    pub fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear(KEEP);
        *self = Self { headers, ..Self::default() };
    }

    /// Method.
    pub fn method(&self) -> &str {
        text(&self.headers, self.method)
    }

    /// True for HEAD, whose responses have no body.
    pub fn is_head(&self) -> bool {
        self.headers.bytes(self.method) == b"HEAD"
    }

    /// True for CONNECT.
    pub fn is_connect(&self) -> bool {
        self.headers.bytes(self.method) == b"CONNECT"
    }

    /// Path with query; empty for CONNECT.
    pub fn path(&self) -> &str {
        text(&self.headers, self.path)
    }

    /// `:authority`; empty when there is none.
    pub fn authority(&self) -> &str {
        text(&self.headers, self.authority)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Replaces the method.
    pub fn set_method(&mut self, method: &str) {
        self.method = self.headers.store(method.as_bytes());
    }

    /// Replaces the path.
    pub fn set_path(&mut self, path: &str) {
        self.path = self.headers.store(path.as_bytes());
    }

    /// Replaces the authority.
    pub fn set_authority(&mut self, authority: &str) {
        self.authority = self.headers.store(authority.as_bytes());
    }

    /// Names places in the header buffer that a codec loaded; it has checked that they hold UTF-8.
    pub fn set_spans(&mut self, method: Span, path: Span, authority: Span) {
        (self.method, self.path, self.authority) = (method, path, authority);
    }

    /// True when `content-type` says gRPC.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.headers)
    }
}

/// A response's head.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderList,
    /// Protocol of the upstream it came from.
    pub protocol: Protocol,
    /// Framing.
    pub body: BodyLength,
    /// Bytes of the head as received.
    pub size: u32,
}

impl ResponseHead {
    /// Makes it ready for the next response.
    pub fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear(KEEP);
        *self = Self { headers, ..Self::default() };
    }

    /// True for 100–199 except 101, which ends a head for good.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Header buffers up to this size are kept for the next message.
const KEEP: usize = 16 * 1024;

/// True when `content-type` is `application/grpc` or `application/grpc+…`.
pub fn is_grpc(headers: &HeaderList) -> bool {
    let Some(value) = headers.get(Known::ContentType) else { return false };
    match value.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

fn text(headers: &HeaderList, span: Span) -> &str {
    std::str::from_utf8(headers.bytes(span)).unwrap_or_default()
}

/// A request as matchers see it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The head after normalisation.
    pub head: &'a RequestHead,
    /// Downstream is TLS.
    pub tls: bool,
    /// The stream's random number.
    pub random: u64,
}

impl RequestView for View<'_> {
    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn path(&self) -> &str {
        self.head.path()
    }

    fn method(&self) -> &str {
        self.head.method()
    }

    fn scheme(&self) -> &str {
        self.head.scheme()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        match name.strip_prefix(':') {
            None if name == "host" => Some(Cow::Borrowed(self.head.authority())),
            None => self.head.headers.joined(name),
            Some("method") => Some(Cow::Borrowed(self.head.method())),
            Some("path") => Some(Cow::Borrowed(self.head.path())),
            Some("authority") => Some(Cow::Borrowed(self.head.authority())),
            Some("scheme") => Some(Cow::Borrowed(self.head.scheme())),
            Some(_) => None,
        }
    }

    fn any_header(&self, name: &str, condition: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
        let headers = &self.head.headers;
        headers.get_named(name)?;
        let lines = headers.iter().filter(|field| field.name == name.as_bytes());
        Some(lines.map(|field| String::from_utf8_lossy(field.value)).any(|value| condition(&value)))
    }

    fn is_tls(&self) -> bool {
        self.tls
    }

    fn random(&self) -> u64 {
        self.random
    }
}

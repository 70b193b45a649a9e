//! Message heads between HPACK fields and our own types, with the rules of RFC 9113, 8.
//!
//! [`super::connection`] collects fields into a head as they are decoded, and writes heads out.
//! Invariant: a head that breaks a rule is malformed as a whole; what HTTP/2 forbids never goes out.

use super::hpack::{Encoder, Field, Kind, Pseudo};
use crate::http::{
    h1::parse::is_authority,
    headers::{HeaderList, Known, Span, mask},
    message::{BodyLength, Protocol, RequestHead, ResponseHead},
};

/// Fields that HTTP/2 does not carry (RFC 9113, 8.2.2); `te` is looked at by value.
const CONNECTION_LEVEL: u128 = mask(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
]);

/// What is left out on the way out.
const NOT_SENT: u128 = CONNECTION_LEVEL | mask(&[Known::Http2Settings, Known::Host]);

/// Limits of a field section.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, counted as SETTINGS_MAX_HEADER_LIST_SIZE does.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// Why a head is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks a rule; the words are Envoy's detail or ours.
    Malformed(&'static str),
    /// It is larger than allowed.
    TooLarge,
}

/// Collects the fields of one section into a list.
#[derive(Debug)]
struct Section<'a> {
    list: &'a mut HeaderList,
    limits: Limits,
    size: usize,
    fields: usize,
    cookies: u32,
    refusal: Option<Refusal>,
}

impl<'a> Section<'a> {
    fn new(list: &'a mut HeaderList, limits: Limits) -> Self {
        Self { list, limits, size: 0, fields: 0, cookies: 0, refusal: None }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// Counts a field; false when it is not to be looked at.
    #[inline]
    fn admit(&mut self, field: &Field<'_>) -> bool {
        self.size += field.size();
        self.fields += 1;
        if self.size > self.limits.bytes {
            self.refuse(Refusal::TooLarge);
        } else if !field.valid {
            self.refuse(Refusal::Malformed("http2.invalid.header.field"));
        }
        self.refusal.is_none()
    }

    #[inline]
    fn regular(&mut self, field: &Field<'_>) {
        match field.kind {
            Kind::Known(known) if CONNECTION_LEVEL & (1 << known as u8) != 0 => {
                self.refuse(Refusal::Malformed("http2.violation.of.messaging.rule"));
            }
            Kind::Known(Known::Te) if !field.value.eq_ignore_ascii_case(b"trailers") => {
                self.refuse(Refusal::Malformed("http2.violation.of.messaging.rule"));
            }
            Kind::Known(known) => {
                self.cookies += u32::from(known == Known::Cookie);
                self.list.append(known, field.value);
            }
            _ => self.list.append_other(field.name, field.value),
        }
    }

    /// Settles what several fields decide together. `pseudo`: fields that are not in the list.
    fn finish(self, pseudo: usize) -> Result<(), Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if self.fields.saturating_sub(pseudo) > self.limits.fields {
            return Err(Refusal::TooLarge);
        }
        // The crumbs of a cookie become one line again (RFC 9113, 8.2.3).
        if self.cookies > 1 {
            let joined = self.list.all(Known::Cookie).collect::<Vec<_>>().join(&b"; "[..]);
            self.list.set(Known::Cookie, &joined);
        }
        Ok(())
    }
}

/// Collects a request's head.
#[derive(Debug)]
pub struct Request<'a> {
    section: Section<'a>,
    method: Option<Span>,
    path: Option<Span>,
    authority: Option<Span>,
    protocol: Option<Span>,
    https: Option<bool>,
    pseudo: usize,
}

impl<'a> Request<'a> {
    /// Fills `head`'s list, which must be clear; [`finish_request`] does the rest.
    pub fn new(head: &'a mut RequestHead, limits: Limits) -> Self {
        let section = Section::new(&mut head.headers, limits);
        Self { section, method: None, path: None, authority: None, protocol: None, https: None, pseudo: 0 }
    }

    /// The next field.
    #[inline]
    pub fn field(&mut self, field: Field<'_>) {
        if !self.section.admit(&field) {
            return;
        }
        let Kind::Pseudo(pseudo) = field.kind else { return self.section.regular(&field) };
        if self.section.fields - 1 > self.pseudo {
            return self.section.refuse(MALFORMED);
        }
        self.pseudo += 1;
        let (place, good) = match pseudo {
            Pseudo::Method => (&mut self.method, is_token(field.value)),
            Pseudo::Path => (&mut self.path, is_path(field.value)),
            Pseudo::Authority => (&mut self.authority, is_authority(field.value)),
            Pseudo::Protocol => (&mut self.protocol, is_token(field.value)),
            Pseudo::Scheme => {
                if self.https.replace(field.value.eq_ignore_ascii_case(b"https")).is_some() {
                    self.section.refuse(MALFORMED);
                }
                return;
            }
            Pseudo::Status | Pseudo::Unknown => return self.section.refuse(MALFORMED),
        };
        let span = self.section.list.store(field.value);
        if place.replace(span).is_some() || !good {
            self.section.refuse(MALFORMED);
        }
    }

    /// Ends the section.
    pub fn finish(self) -> Result<Pseudos, Refusal> {
        self.section.finish(self.pseudo)?;
        let Self { method, path, authority, protocol, https, .. } = self;
        Ok(Pseudos { method: method.ok_or(MALFORMED)?, path, authority, protocol, https })
    }
}

/// The pseudo-header fields of a request, all well-formed by themselves.
#[derive(Debug)]
pub struct Pseudos {
    method: Span,
    path: Option<Span>,
    authority: Option<Span>,
    protocol: Option<Span>,
    https: Option<bool>,
}

const MALFORMED: Refusal = Refusal::Malformed("http2.violation.of.messaging.rule");

/// Completes a request's head. `ended`: no body follows. `extended`: we allow extended CONNECT (RFC 8441), which
/// becomes what it would be in HTTP/1: a GET with `upgrade`, as everywhere inside Envoy.
pub fn finish_request(
    head: &mut RequestHead,
    pseudos: &Pseudos,
    ended: bool,
    extended: bool,
) -> Result<(), Refusal> {
    let connect = head.headers.bytes(pseudos.method) == b"CONNECT";
    let complete = match (connect, pseudos.protocol) {
        (true, Some(_)) if !extended => false,
        (true, None) => pseudos.path.is_none() && pseudos.https.is_none() && pseudos.authority.is_some(),
        (false, Some(_)) => false,
        _ => pseudos.path.is_some() && pseudos.https.is_some(),
    };
    if !complete {
        return Err(MALFORMED);
    }
    head.protocol = Protocol::Http2;
    head.https = pseudos.https.unwrap_or(false);
    let host = || head.headers.value_span(Known::Host);
    let authority = pseudos.authority.or_else(host).unwrap_or_default();
    if pseudos.authority.is_none() && !is_authority(head.headers.bytes(authority)) {
        return Err(MALFORMED);
    }
    head.set_spans(pseudos.method, pseudos.path.unwrap_or_default(), authority);
    head.headers.remove(Known::Host);
    let length = declared_length(&head.headers)?;
    if let Some(protocol) = pseudos.protocol {
        let protocol = head.headers.bytes(protocol).to_vec();
        head.set_method("GET");
        head.headers.append(Known::Upgrade, &protocol);
        head.headers.remove(Known::ContentLength);
    }
    head.upgrade = connect;
    head.expects_continue =
        head.headers.get(Known::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    head.body = match length {
        Some(length) if ended && length > 0 => return Err(LENGTH),
        _ if ended && !head.upgrade => BodyLength::None,
        Some(length) if pseudos.protocol.is_none() => BodyLength::Exact(length),
        _ => BodyLength::Unknown,
    };
    head.size = head.headers.byte_size() as u32;
    Ok(())
}

/// A body that is not as long as `content-length` says.
pub const LENGTH: Refusal = Refusal::Malformed("http2.violation.of.messaging.rule");

/// Collects a response's head.
#[derive(Debug)]
pub struct Response<'a> {
    section: Section<'a>,
    status: Option<u16>,
}

impl<'a> Response<'a> {
    /// Fills `head`'s list, which must be clear; [`finish_response`] does the rest.
    pub fn new(head: &'a mut ResponseHead, limits: Limits) -> Self {
        Self { section: Section::new(&mut head.headers, limits), status: None }
    }

    /// The next field.
    #[inline]
    pub fn field(&mut self, field: Field<'_>) {
        if !self.section.admit(&field) {
            return;
        }
        match field.kind {
            Kind::Pseudo(Pseudo::Status) if self.section.fields == 1 => {
                let status = std::str::from_utf8(field.value).ok().and_then(|text| text.parse().ok());
                match status {
                    Some(status @ 100..=999) if field.value.len() == 3 => self.status = Some(status),
                    _ => self.section.refuse(MALFORMED),
                }
            }
            Kind::Pseudo(_) => self.section.refuse(MALFORMED),
            _ => self.section.regular(&field),
        }
    }

    /// Ends the section; the status.
    pub fn finish(self) -> Result<u16, Refusal> {
        self.section.finish(1)?;
        self.status.ok_or(MALFORMED)
    }
}

/// Completes a response's head. `ended`: no body follows. `bodiless`: none may follow (HEAD).
pub fn finish_response(
    head: &mut ResponseHead,
    status: u16,
    ended: bool,
    bodiless: bool,
) -> Result<(), Refusal> {
    head.protocol = Protocol::Http2;
    head.status = status;
    let length = declared_length(&head.headers)?;
    head.body = match length {
        _ if head.is_interim() => BodyLength::None,
        Some(length) if ended && length > 0 && !bodiless && status != 304 => return Err(LENGTH),
        _ if ended => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::Unknown,
    };
    // HTTP/2 has no 101 (RFC 9113, 8.6), and an interim head ends nothing.
    if status == 101 || (head.is_interim() && ended) {
        return Err(MALFORMED);
    }
    head.size = head.headers.byte_size() as u32;
    Ok(())
}

/// Collects trailers.
#[derive(Debug)]
pub struct Trailers<'a>(Section<'a>);

impl<'a> Trailers<'a> {
    /// Fills `list`, which must be clear.
    pub fn new(list: &'a mut HeaderList, limits: Limits) -> Self {
        Self(Section::new(list, limits))
    }

    /// The next field.
    pub fn field(&mut self, field: Field<'_>) {
        if !self.0.admit(&field) {
            return;
        }
        match field.kind {
            Kind::Pseudo(_) => self.0.refuse(MALFORMED),
            _ => self.0.regular(&field),
        }
    }

    /// Ends the section.
    pub fn finish(self) -> Result<(), Refusal> {
        self.0.finish(0)
    }
}

/// The one length that all `content-length` fields say.
fn declared_length(headers: &HeaderList) -> Result<Option<u64>, Refusal> {
    let mut length = None;
    for value in headers.all(Known::ContentLength) {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let number: u64 = number.ok_or(LENGTH)?;
        if length.replace(number).is_some_and(|before| before != number) {
            return Err(LENGTH);
        }
    }
    Ok(length)
}

fn is_token(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}

/// Visible characters, and an origin form or `*`.
fn is_path(text: &[u8]) -> bool {
    let origin = matches!(text.first(), Some(b'/')) || text == b"*";
    let plain = text.iter().all(|byte| (b'!'..=b'~').contains(byte));
    let beyond =
        || text.iter().all(|byte| *byte > b' ' && *byte != 0x7f) && std::str::from_utf8(text).is_ok();
    origin && (plain || beyond())
}

/// Indices of the static table that request and response heads begin with.
mod index {
    pub(super) const AUTHORITY: u8 = 1;
    pub(super) const METHOD_GET: u8 = 2;
    pub(super) const METHOD_POST: u8 = 3;
    pub(super) const PATH: u8 = 4;
    pub(super) const SCHEME_HTTP: u8 = 6;
    pub(super) const SCHEME_HTTPS: u8 = 7;
    pub(super) const STATUS: u8 = 8;
}

/// Writes a request's head as a block.
pub fn write_request(head: &RequestHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    let tunnel = head.upgrade.then(|| head.headers.get(Known::Upgrade)).flatten();
    match head.method() {
        _ if tunnel.is_some() => encoder.with_name(index::METHOD_GET, b"CONNECT", out),
        "GET" => encoder.indexed(index::METHOD_GET, out),
        "POST" => encoder.indexed(index::METHOD_POST, out),
        method => encoder.with_name(index::METHOD_GET, method.as_bytes(), out),
    }
    if tunnel.is_some() || !head.is_connect() {
        encoder.indexed(if head.https { index::SCHEME_HTTPS } else { index::SCHEME_HTTP }, out);
        match head.path() {
            "/" | "" => encoder.indexed(index::PATH, out),
            path => encoder.with_name(index::PATH, path.as_bytes(), out),
        }
    }
    if !head.authority().is_empty() {
        encoder.with_name(index::AUTHORITY, head.authority().as_bytes(), out);
    }
    if let Some(protocol) = tunnel {
        encoder.encode(Kind::Pseudo(Pseudo::Protocol), b":protocol", protocol, out);
    }
    write_fields(&head.headers, encoder, out);
}

/// Writes a response's head as a block. A 101 is what a 200 says to extended CONNECT.
pub fn write_response(head: &ResponseHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    match head.status {
        200 | 101 => encoder.indexed(index::STATUS, out),
        204 => encoder.indexed(9, out),
        206 => encoder.indexed(10, out),
        304 => encoder.indexed(11, out),
        400 => encoder.indexed(12, out),
        404 => encoder.indexed(13, out),
        500 => encoder.indexed(14, out),
        status => encoder.with_name(index::STATUS, itoa::Buffer::new().format(status).as_bytes(), out),
    }
    write_fields(&head.headers, encoder, out);
}

/// Writes trailers as a block.
pub fn write_trailers(trailers: &HeaderList, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    write_fields(trailers, encoder, out);
}

fn write_fields(list: &HeaderList, encoder: &mut Encoder, out: &mut Vec<u8>) {
    for field in list.iter() {
        let kind = match field.id {
            Some(known) if NOT_SENT & (1 << known as u8) != 0 => continue,
            Some(Known::Te) if !field.value.eq_ignore_ascii_case(b"trailers") => continue,
            Some(known) => Kind::Known(known),
            None => Kind::Other,
        };
        encoder.encode(kind, field.name, field.value, out);
    }
}

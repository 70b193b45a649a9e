//! Message heads between our header list and the `http` crate's types, which `h2` speaks.
//!
//! Called once per head by both HTTP/2 sides. All values of a head going out share one allocation.
//! Invariant: what HTTP/2 forbids (connection-level fields) never goes out and, where it comes in, `h2` refused it.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use h2::ext::Protocol as ConnectProtocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::http::{
    headers::{HeaderList, Known, mask},
    message::{BodyLength, Protocol, RequestHead, ResponseHead},
};

/// Fields that HTTP/2 does not carry (RFC 9113 §8.2.2); `te` is looked at by value.
const CONNECTION_LEVEL: u128 = mask(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Http2Settings,
    Known::Host,
]);

/// Fields whose values do not repeat.
const UNIQUE: u128 = mask(&[
    Known::XRequestId,
    Known::XClientTraceId,
    Known::Traceparent,
    Known::XB3TraceId,
    Known::XB3SpanId,
    Known::GrpcTimeout,
]);

/// A head that cannot be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unspeakable(
    /// What is wrong with it.
    pub &'static str,
);

/// Reads a request head as it came from the client. `ended`: no body follows.
/// Extended CONNECT becomes what it would be in HTTP/1: a GET with `upgrade`, as everywhere inside Envoy.
pub fn read_request(
    request: &Request<h2::RecvStream>,
    ended: bool,
    head: &mut RequestHead,
) -> Result<(), Unspeakable> {
    head.protocol = Protocol::Http2;
    let uri = request.uri();
    let extended = request.extensions().get::<ConnectProtocol>();
    head.set_method(if extended.is_some() { "GET" } else { request.method().as_str() });
    head.https = uri.scheme() == Some(&Scheme::HTTPS);
    if *request.method() != Method::CONNECT || extended.is_some() {
        head.set_path(uri.path_and_query().map_or("/", PathAndQuery::as_str));
    }
    let host = request.headers().get(http::header::HOST);
    match (uri.authority(), host) {
        (Some(authority), _) => head.set_authority(authority.as_str()),
        (None, Some(host)) => {
            head.set_authority(host.to_str().map_err(|_| Unspeakable("http2.invalid_host"))?);
        }
        (None, None) => {}
    }
    copy_in(request.headers(), &mut head.headers);
    head.headers.remove(Known::Host);
    if let Some(protocol) = extended {
        head.headers.append(Known::Upgrade, protocol.as_str().as_bytes());
        head.headers.remove(Known::ContentLength);
    }
    head.upgrade = extended.is_some() || *request.method() == Method::CONNECT;
    head.expects_continue =
        head.headers.get(Known::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    head.body = body_length(&head.headers, ended && !head.upgrade)?;
    head.size = head.headers.byte_size() as u32;
    Ok(())
}

/// Reads a response head as it came from the endpoint.
pub fn read_response(
    status: StatusCode,
    headers: &HeaderMap,
    ended: bool,
    head: &mut ResponseHead,
) -> Result<(), Unspeakable> {
    head.protocol = Protocol::Http2;
    head.status = status.as_u16();
    copy_in(headers, &mut head.headers);
    head.body = body_length(&head.headers, ended)?;
    head.size = head.headers.byte_size() as u32;
    Ok(())
}

/// A request head for an endpoint.
pub fn write_request(head: &RequestHead) -> Result<Request<()>, Unspeakable> {
    let tunnel = head.upgrade.then(|| head.headers.get_str(Known::Upgrade)).flatten();
    let method = match tunnel {
        Some(_) => Method::CONNECT,
        None => Method::from_bytes(head.method().as_bytes()).map_err(|_| Unspeakable("invalid method"))?,
    };
    let plain_connect = head.is_connect() && tunnel.is_none();
    let mut target = BytesMut::with_capacity(head.path().len() + head.authority().len());
    target.extend_from_slice(head.authority().as_bytes());
    target.extend_from_slice(head.path().as_bytes());
    let mut path = target.freeze();
    let authority = path.split_to(head.authority().len());

    let mut parts = http::uri::Parts::default();
    if !authority.is_empty() {
        let authority = Authority::from_maybe_shared(authority);
        parts.authority = Some(authority.map_err(|_| Unspeakable("invalid authority"))?);
    }
    if !plain_connect {
        let path = PathAndQuery::from_maybe_shared(path);
        parts.path_and_query = Some(path.map_err(|_| Unspeakable("invalid path"))?);
        parts.scheme = Some(if head.https { Scheme::HTTPS } else { Scheme::HTTP });
        if parts.authority.is_none() {
            parts.scheme = None;
        }
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Unspeakable("invalid target"))?;
    copy_out(&head.headers, request.headers_mut())?;
    if let Some(protocol) = tunnel {
        request.extensions_mut().insert(ConnectProtocol::from(protocol));
    }
    Ok(request)
}

/// A response head for the client. A 101 is what a 200 says to extended CONNECT.
pub fn write_response(head: &ResponseHead) -> Result<Response<()>, Unspeakable> {
    let mut response = Response::new(());
    let status = if head.status == 101 { 200 } else { head.status };
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Unspeakable("invalid status"))?;
    copy_out(&head.headers, response.headers_mut())?;
    Ok(response)
}

/// Trailers for the peer.
pub fn write_trailers(trailers: &HeaderList) -> Result<HeaderMap, Unspeakable> {
    let mut map = HeaderMap::new();
    copy_out(trailers, &mut map)?;
    Ok(map)
}

/// Copies fields into our list; the crumbs of a cookie become one line again (RFC 9113 §8.2.3).
pub fn copy_in(map: &HeaderMap, list: &mut HeaderList) {
    let mut cookies = 0;
    for (name, value) in map {
        let name = name.as_str().as_bytes();
        match Known::lookup(name) {
            Some(Known::Cookie) => {
                cookies += 1;
                list.append(Known::Cookie, value.as_bytes());
            }
            Some(known) => list.append(known, value.as_bytes()),
            None => list.append_named(name, value.as_bytes()),
        }
    }
    if cookies > 1 {
        let joined = list.all(Known::Cookie).collect::<Vec<_>>().join(&b"; "[..]);
        list.set(Known::Cookie, &joined);
    }
}

/// Copies fields out of our list. One allocation holds all values and unknown names.
fn copy_out(list: &HeaderList, map: &mut HeaderMap) -> Result<(), Unspeakable> {
    let mut buf = BytesMut::with_capacity(list.iter().map(|field| field.value.len()).sum());
    for field in list.iter() {
        buf.extend_from_slice(field.value);
    }
    let mut values = buf.freeze();
    let names = known_names();
    map.reserve(list.len());
    for field in list.iter() {
        let value = values.split_to(field.value.len());
        let name = match field.id {
            Some(known) if CONNECTION_LEVEL & (1 << known as u8) != 0 => continue,
            Some(Known::Te) if !field.value.eq_ignore_ascii_case(b"trailers") => continue,
            Some(known) => names[known as usize].clone(),
            None => HeaderName::from_bytes(field.name).map_err(|_| Unspeakable("invalid header name"))?,
        };
        let mut value = header_value(value)?;
        // Never the same twice: kept out of the peer's compression table, where each would push out another field.
        value.set_sensitive(field.id.is_some_and(|known| UNIQUE & (1 << known as u8) != 0));
        map.append(name, value);
    }
    Ok(())
}

fn header_value(value: Bytes) -> Result<HeaderValue, Unspeakable> {
    HeaderValue::from_maybe_shared(value).map_err(|_| Unspeakable("invalid header value"))
}

/// The `http` crate's names by `Known as usize`: looking one up there costs a hash, cloning one nothing.
fn known_names() -> &'static [HeaderName] {
    static NAMES: OnceLock<Vec<HeaderName>> = OnceLock::new();
    NAMES.get_or_init(|| Known::all().iter().map(|known| HeaderName::from_static(known.name())).collect())
}

fn body_length(headers: &HeaderList, ended: bool) -> Result<BodyLength, Unspeakable> {
    match headers.get_str(Known::ContentLength) {
        // HEAD's answers name a length that does not follow.
        _ if ended => Ok(BodyLength::None),
        None => Ok(BodyLength::Unknown),
        Some(length) => {
            length.parse().map(BodyLength::Exact).map_err(|_| Unspeakable("invalid content-length"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_method("POST");
        head.set_path(path);
        head.set_authority("a.example:80");
        head.headers.append(Known::Te, b"trailers");
        head.headers.append(Known::Connection, b"keep-alive");
        head.headers.append_named(b"x-one", b"1");
        head.headers.append_named(b"x-one", b"2");
        head.headers.append(Known::Cookie, b"a=1");
        head
    }

    #[test]
    fn requests_leave_with_what_http_2_carries() {
        let request = write_request(&head("/p?q=1")).unwrap();
        assert_eq!(request.uri().to_string(), "http://a.example:80/p?q=1");
        let values: Vec<_> = request.headers().get_all("x-one").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        assert!(!request.headers().contains_key("connection"));
        assert_eq!(write_request(&head("/a b")).unwrap_err(), Unspeakable("invalid path"));
    }

    #[test]
    fn an_upgrade_becomes_an_extended_connect() {
        let mut head = head("/chat");
        head.set_method("GET");
        head.upgrade = true;
        head.headers.append(Known::Upgrade, b"websocket");
        let request = write_request(&head).unwrap();
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.extensions().get::<ConnectProtocol>().unwrap().as_str(), "websocket");
        let mut response = ResponseHead { status: 101, ..ResponseHead::default() };
        response.headers.append(Known::Upgrade, b"websocket");
        let response = write_response(&response).unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn cookie_crumbs_become_one_line() {
        let mut map = HeaderMap::new();
        map.append("cookie", HeaderValue::from_static("a=1"));
        map.append("cookie", HeaderValue::from_static("b=2"));
        let mut list = HeaderList::new();
        copy_in(&map, &mut list);
        assert_eq!(list.joined("cookie").as_deref(), Some("a=1; b=2"));
    }
}

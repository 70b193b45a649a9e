//! One question to one host: HTTP, gRPC or bytes.
//!
//! Called by [`super::task`]. Invariant: a probe reads no more than a bounded answer and takes no longer than its timeout,
//! which the caller sets.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::AbortHandle,
};

use super::{Check, Failure, GrpcCheck, HttpCheck, TcpCheck, Verdict};
use crate::{
    cluster::{Address, ClusterSettings, Endpoint},
    stream::Stream,
    upstream::{connect, proxy_header::Ends},
};

/// What Envoy calls itself when it asks.
const USER_AGENT: &str = "Envoy/HC";
/// An answer of gRPC is a handful of bytes.
const GRPC_ANSWER: usize = 4096;
/// What is read of bytes before a match is given up.
const TCP_ANSWER: usize = 64 * 1024;

/// A connection that may be asked again.
#[derive(Debug)]
pub(super) enum Link {
    Http1(http1::SendRequest<Full<Bytes>>, #[allow(dead_code, reason = "held")] Driver),
    Http2(http2::SendRequest<Full<Bytes>>, #[allow(dead_code, reason = "held")] Driver),
    Tcp(Stream),
}

/// The task of a connection, which ends with it.
#[derive(Debug)]
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) settings: Arc<ClusterSettings>,
    /// The cluster's name, which stands for a host without one.
    pub(super) name: Arc<str>,
    pub(super) alt_port: Option<u16>,
}

impl Asked {
    fn address(&self) -> Address {
        let at = self.endpoint.check.as_deref();
        let Address::Socket(mut address) = self.endpoint.address.clone() else {
            return self.endpoint.address.clone();
        };
        if let Some(other) = at.and_then(|at| at.address) {
            address = other;
        }
        if let Some(port) = at.and_then(|at| at.port).or(self.alt_port) {
            address.set_port(port);
        }
        Address::Socket(address)
    }

    /// `Host`: as configured, the host's own for checks, its own, the cluster's name.
    fn host<'a>(&'a self, configured: &'a str) -> &'a str {
        let at = self.endpoint.check.as_deref();
        match at.and_then(|at| at.hostname.as_deref()) {
            Some(own) => own,
            None if !configured.is_empty() => configured,
            None => self.endpoint.hostname.as_deref().filter(|own| !own.is_empty()).unwrap_or(&self.name),
        }
    }
}

/// What a probe found, and its connection where it may be asked again.
pub(super) type Found = (Verdict, Option<Link>);

const NETWORK: Found = (Verdict::Bad(Failure::Network), None);

/// Asks once; on a connection that is there already, or on a new one.
pub(super) async fn ask(asked: &Asked, check: &Check, link: Option<Link>) -> Found {
    let found = match check {
        Check::Http(check) => http(asked, check, link).await,
        Check::Grpc(check) => grpc(asked, check, link).await,
        Check::Tcp(check) => tcp(asked, check, link).await,
    };
    found.unwrap_or(NETWORK)
}

async fn open(asked: &Asked) -> Option<Stream> {
    connect::connect(&asked.address(), &asked.settings, Ends::NOBODY).await.ok()
}

/// A connection of HTTP, the one at hand if it still is one.
async fn speak(asked: &Asked, http2: bool, mut link: Option<Link>) -> Option<Link> {
    let alive = match &mut link {
        Some(Link::Http1(sender, _)) => !http2 && sender.ready().await.is_ok(),
        Some(Link::Http2(sender, _)) => http2 && sender.ready().await.is_ok(),
        _ => false,
    };
    if alive {
        return link;
    }
    let io = TokioIo::new(open(asked).await?);
    if http2 {
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        return Some(Link::Http2(sender, drive(driver)));
    }
    let (sender, driver) = http1::handshake(io).await.ok()?;
    Some(Link::Http1(sender, drive(driver)))
}

fn drive<E: Send + 'static>(driver: impl Future<Output = Result<(), E>> + Send + 'static) -> Driver {
    // How it ends is seen by whoever asks next.
    Driver(tokio::spawn(async move { drop(driver.await) }).abort_handle())
}

/// Sends a request and reads the answer to its end, of whose body it keeps at most `keep` bytes.
async fn exchange(
    link: &mut Link,
    request: Request<Full<Bytes>>,
    keep: usize,
) -> Option<(http::response::Parts, Vec<u8>, HeaderMap)> {
    let response = match link {
        Link::Http1(sender, _) => sender.send_request(request).await.ok()?,
        Link::Http2(sender, _) => sender.send_request(request).await.ok()?,
        Link::Tcp(_) => return None,
    };
    let (head, mut body) = response.into_parts();
    let (mut kept, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.ok()?.into_data() {
            Ok(data) => {
                let room = keep - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Some((head, kept, trailers))
}

async fn http(asked: &Asked, check: &HttpCheck, link: Option<Link>) -> Option<Found> {
    let mut link = speak(asked, check.http2, link).await?;
    let host = asked.host(&check.host);
    let uri = if check.http2 { format!("http://{host}{}", check.path) } else { check.path.to_string() };
    let mut request = Request::builder().method(check.method.clone()).uri(uri).body(Full::default()).ok()?;
    let headers = request.headers_mut();
    if !check.http2 {
        headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    for (name, value) in &check.headers {
        headers.append(name, value.clone());
    }
    for name in &check.without {
        headers.remove(name);
    }
    let (patterns, size) = &check.receive;
    let keep = if patterns.is_empty() { 0 } else { *size };
    let (head, body, _) = exchange(&mut link, request, keep).await?;
    let closing = head.headers.get(header::CONNECTION).is_some_and(|value| value == "close");
    Some((judge(check, &head, &body), (!closing).then_some(link)))
}

/// Whether an answer of HTTP is a good one.
fn judge(check: &HttpCheck, head: &http::response::Parts, body: &[u8]) -> Verdict {
    let status = head.status.as_u16();
    let within = |ranges: &[(u16, u16)]| ranges.iter().any(|(from, to)| (*from..*to).contains(&status));
    let expected = if check.expected.is_empty() { status == 200 } else { within(&check.expected) };
    if !expected {
        let retriable = within(&check.retriable);
        return Verdict::Bad(if retriable { Failure::Retriable } else { Failure::Said });
    }
    if !contains(body, &check.receive.0) {
        return Verdict::Bad(Failure::Said);
    }
    if let Some(service) = &check.service {
        let said = head.headers.get("x-envoy-upstream-healthchecked-cluster");
        let said = said.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !service.matches(said) {
            return Verdict::Bad(Failure::Said);
        }
    }
    Verdict::Good { degraded: head.headers.contains_key("x-envoy-degraded") }
}

/// True when the patterns occur one after the other.
fn contains(text: &[u8], patterns: &[Vec<u8>]) -> bool {
    let mut from = 0;
    for pattern in patterns {
        match memchr::memmem::find(&text[from..], pattern) {
            Some(at) => from += at + pattern.len(),
            None => return false,
        }
    }
    true
}

async fn grpc(asked: &Asked, check: &GrpcCheck, link: Option<Link>) -> Option<Found> {
    let mut link = speak(asked, true, link).await?;
    let uri = format!("http://{}/grpc.health.v1.Health/Check", asked.host(&check.authority));
    let body = Full::from(question(&check.service));
    let mut request = Request::post(uri).body(body).ok()?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    for (name, value) in &check.metadata {
        headers.append(name, value.clone());
    }
    let (head, body, trailers) = exchange(&mut link, request, GRPC_ANSWER).await?;
    let status = trailers.get("grpc-status").or(head.headers.get("grpc-status"));
    let good = head.status.as_u16() == 200 && status.is_some_and(|status| status == "0") && serves(&body);
    let verdict = if good { Verdict::Good { degraded: false } } else { Verdict::Bad(Failure::Said) };
    Some((verdict, Some(link)))
}

/// `HealthCheckRequest { service }` in a gRPC frame.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        prost::encoding::string::encode(1, &service.to_owned(), &mut message);
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// Whether `HealthCheckResponse` says SERVING.
fn serves(frame: &[u8]) -> bool {
    const SERVING: &[u8] = &[0x08, 0x01];
    frame.get(5..).is_some_and(|message| message == SERVING) && frame[0] == 0
}

async fn tcp(asked: &Asked, check: &TcpCheck, link: Option<Link>) -> Option<Found> {
    let kept = match link {
        Some(Link::Tcp(stream)) => Some(stream),
        _ => None,
    };
    if let Some(mut stream) = kept
        && !has_ended(&mut stream).await
        && talk(&mut stream, check).await.is_ok()
    {
        return Some((Verdict::Good { degraded: false }, Some(Link::Tcp(stream))));
    }
    let mut stream = open(asked).await?;
    match talk(&mut stream, check).await {
        Ok(()) => Some((Verdict::Good { degraded: false }, Some(Link::Tcp(stream)))),
        Err(_) => None,
    }
}

/// Whether the peer has closed meanwhile.
async fn has_ended(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = stream.read(&mut byte);
    matches!(tokio::time::timeout(std::time::Duration::ZERO, read).await, Ok(Ok(0) | Err(_)))
}

/// Says what is to be said and reads until all is heard that is to be heard.
async fn talk(stream: &mut Stream, check: &TcpCheck) -> io::Result<()> {
    stream.write_all(&check.send).await?;
    let mut heard = Vec::new();
    while !contains(&heard, &check.receive) {
        if heard.len() > TCP_ANSWER || stream.read_buf(&mut heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_come_one_after_the_other() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(contains(b"abcd", &patterns(&["a", "c"])) && contains(b"", &[]));
        assert!(!contains(b"abcd", &patterns(&["c", "a"])));
    }

    #[test]
    fn questions_and_answers_of_grpc() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("a")[..], [0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert!(serves(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!serves(&[0, 0, 0, 0, 2, 8, 2]) && !serves(&[]) && !serves(&[0; 5]));
    }
}

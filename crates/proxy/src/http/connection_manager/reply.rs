//! Local replies: what this proxy answers itself, as plain HTTP or as gRPC.
//!
//! Every phase that ends a request makes a [`LocalReply`]; [`super`] sends it.
//! Invariant: body, details and flags are Envoy's, since people search for them.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    error::Flags,
    http::{
        headers::Known,
        message::{BodyLength, ResponseHead},
    },
};

/// An answer of our own.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// Status.
    pub status: u16,
    /// Body; text unless said otherwise by a header rule.
    pub body: Bytes,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// Response flags to add.
    pub flags: u32,
    /// Headers of its own.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// `grpc-status` for gRPC requests, where the status does not say it.
    pub grpc_status: Option<u32>,
    /// Of the router: the route's response header rules apply.
    pub from_route: bool,
    /// `x-envoy-overloaded: true`.
    pub overloaded: bool,
    /// The connection cannot go on after it.
    pub close: bool,
}

impl LocalReply {
    /// A reply with a constant body.
    pub fn new(status: u16, body: &'static str, details: &'static str, flags: u32) -> Self {
        Self {
            status,
            body: Bytes::from_static(body.as_bytes()),
            details: Cow::Borrowed(details),
            flags,
            headers: Vec::new(),
            grpc_status: None,
            from_route: false,
            overloaded: false,
            close: false,
        }
    }

    /// The same, with a `location`: a redirect.
    pub fn to(mut self, location: String) -> Self {
        self.headers.push((Known::Location.name(), location.into_bytes()));
        self
    }

    /// The same, made by the router.
    pub fn of_route(self) -> Self {
        Self { from_route: true, ..self }
    }

    /// No route, or a route that does not answer.
    pub fn no_route() -> Self {
        Self::new(404, "", "route_not_found", Flags::NO_ROUTE)
    }

    /// A cluster that does not exist.
    pub fn no_cluster(status: u16) -> Self {
        Self::new(status, "", "cluster_not_found", Flags::NO_CLUSTER).of_route()
    }

    /// No endpoint to send to.
    pub fn no_healthy_upstream() -> Self {
        Self::new(503, "no healthy upstream", "no_healthy_upstream", Flags::NO_HEALTHY_UPSTREAM).of_route()
    }

    /// The route's timeout.
    pub fn request_timeout() -> Self {
        let flag = Flags::UPSTREAM_REQUEST_TIMEOUT;
        Self::new(504, "upstream request timeout", "upstream_response_timeout", flag).of_route()
    }

    /// The per-try timeout with no try left.
    pub fn per_try_timeout() -> Self {
        let flag = Flags::UPSTREAM_REQUEST_TIMEOUT;
        Self::new(504, "upstream request timeout", "upstream_per_try_timeout", flag).of_route()
    }

    /// Fills a response head; returns the body to send (empty for gRPC, whose reply is all head).
    pub fn fill(&self, head: &mut ResponseHead, grpc: bool) -> Bytes {
        head.clear();
        let headers = &mut head.headers;
        for (name, value) in &self.headers {
            headers.append_named(name.as_bytes(), value);
        }
        if self.overloaded {
            headers.append(Known::XEnvoyOverloaded, b"true");
        }
        if grpc {
            head.status = 200;
            headers.append(Known::ContentType, b"application/grpc");
            let mut digits = itoa::Buffer::new();
            let status = self.grpc_status.unwrap_or_else(|| grpc_status(self.status));
            headers.append(Known::GrpcStatus, digits.format(status).as_bytes());
            if !self.body.is_empty() {
                headers.append(Known::GrpcMessage, percent_encoded(&self.body).as_bytes());
            }
            return Bytes::new();
        }
        head.status = self.status;
        if !self.body.is_empty() {
            let mut digits = itoa::Buffer::new();
            headers.append(Known::ContentLength, digits.format(self.body.len()).as_bytes());
            headers.append(Known::ContentType, b"text/plain");
            head.body = BodyLength::Exact(self.body.len() as u64);
        }
        self.body.clone()
    }
}

/// `Grpc::Utility::httpToGrpcStatus`.
pub(crate) const fn grpc_status(status: u16) -> u32 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// `grpc-message` encoding (gRPC over HTTP/2: Percent-Encoded).
fn percent_encoded(message: &[u8]) -> String {
    let mut text = String::with_capacity(message.len());
    for &byte in message {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_replies_are_all_head() {
        let mut head = ResponseHead::default();
        let body = LocalReply::no_healthy_upstream().fill(&mut head, true);
        assert!(body.is_empty());
        assert_eq!(head.status, 200);
        assert_eq!(head.headers.get_str(Known::GrpcStatus), Some("14"));
        assert_eq!(head.headers.get_str(Known::GrpcMessage), Some("no healthy upstream"));
        assert_eq!(percent_encoded("a%\n".as_bytes()), "a%25%0A");
    }
}

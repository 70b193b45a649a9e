//! One call as its client makes it, and as the connection manager sees it.
//!
//! Invariant: what normalisation changes before routing, it changes here too.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use crate::{
    http::{
        config::HttpConnectionManager,
        connection_manager::normalize::{self, Path},
    },
    listener::{Listener, ListenerFilter},
    route::RequestView,
};

/// A connection, and the request on it if it is HTTP.
#[derive(Debug, Clone)]
pub struct Call {
    /// Where the client connects to: before any interception.
    pub destination: SocketAddr,
    /// The name that the client looked up to get the destination, where nobody knows what DNS said: then a listener for
    /// that name is looked for, and only the destination's port counts.
    pub looked_up: Option<String>,
    /// Where from.
    pub source: SocketAddr,
    /// True at the destination's own proxy.
    pub inbound: bool,
    /// SNI of a TLS connection, lower case; `None` is plaintext.
    pub server_name: Option<String>,
    /// The request; `None` for TCP.
    pub http: Option<Request>,
    /// The stream's random number, from which weights and fractions are drawn.
    pub random: u64,
}

/// An HTTP request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method.
    pub method: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Other headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// HTTP/2 with prior knowledge.
    pub http2: bool,
}

impl Call {
    /// What listener filters would find out.
    pub(super) fn application_protocols(&self, listener: &Listener) -> Vec<Arc<str>> {
        let inspected = listener.looks_with(ListenerFilter::HttpInspector, Some(self.destination));
        match &self.http {
            Some(request) if inspected && self.server_name.is_none() => {
                vec![if request.http2 { "h2c" } else { "http/1.1" }.into()]
            }
            _ => Vec::new(),
        }
    }

    /// The request as routes see it.
    pub(super) fn hop(&self, manager: &HttpConnectionManager) -> Hop {
        let request = self.http.clone().unwrap_or_default();
        let path = match normalize::path(&request.path, manager) {
            Path::Changed(path) => path,
            _ => request.path,
        };
        let port = self.destination.port();
        let authority = normalize::host(&request.authority, manager, port).map(std::borrow::Cow::into_owned);
        Hop {
            method: request.method,
            authority: authority.unwrap_or(request.authority),
            path,
            headers: request.headers,
            tls: self.server_name.is_some(),
            random: self.random,
        }
    }
}

/// A request after normalisation.
#[derive(Debug, Clone)]
pub struct Hop {
    pub(super) method: String,
    pub(super) authority: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) tls: bool,
    random: u64,
}

impl Hop {
    /// What the connection is to become, where the client asks for that; `connect` for CONNECT.
    pub(super) fn upgrade(&self) -> Option<String> {
        if self.method == "CONNECT" {
            return Some("connect".to_owned());
        }
        let asked =
            self.header("connection")?.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
        self.header("upgrade").filter(|_| asked).map(Cow::into_owned)
    }

    /// The cluster that a header names; empty when there is no such header.
    pub(super) fn named_cluster(&self, header: &str) -> String {
        self.header(header).unwrap_or_default().into_owned()
    }
}

impl RequestView for Hop {
    fn authority(&self) -> &str {
        &self.authority
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn method(&self) -> &str {
        &self.method
    }

    fn scheme(&self) -> &str {
        if self.tls { "https" } else { "http" }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values =
            self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str());
        let first = values.next()?;
        let rest: Vec<&str> = values.collect();
        Some(match rest.is_empty() {
            true => first.into(),
            false => format!("{first},{}", rest.join(",")).into(),
        })
    }

    fn any_header(&self, name: &str, condition: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
        let mut found = None;
        for (_, value) in self.headers.iter().filter(|(header, _)| header == name) {
            found = Some(found == Some(true) || condition(value));
        }
        found
    }

    fn is_tls(&self) -> bool {
        self.tls
    }

    fn random(&self) -> u64 {
        self.random
    }
}

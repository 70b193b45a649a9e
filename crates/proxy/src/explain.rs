//! What would happen to one call, and why: the data path's matchers run over configuration at rest, with their reasons.
//!
//! `meltemi explain` and the tables of calls use it; nothing here is on the request path. This file has the decisions of a
//! connection; [`http`] those of a request, [`forward`] what follows when it goes to a cluster.
//! Invariant: listener, filter chain, virtual host and route are chosen by the very functions that serve traffic.

mod call;
mod config;
mod endpoints;
mod forward;
mod http;
mod words;

use std::{net::SocketAddr, sync::Arc};

pub use self::{
    call::{Call, Hop, Request},
    config::{Config, Origin},
    endpoints::{Endpoints, Seat},
};
use crate::listener::{
    Listener, SniUse, TcpProxy, Terminal, address::ListenAddress, matcher::ConnectionView,
};

/// What is decided at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Which listener takes the connection.
    Listener,
    /// Which of its filter chains.
    FilterChain,
    /// Which virtual host of the route table.
    VirtualHost,
    /// Which route: a step for each that was looked at.
    Route,
    /// A fault that is injected into some requests.
    Fault,
    /// What a request of another origin is told.
    Cors,
    /// What goes on to the destination: path, host, timeout, retries; or the answer that the route gives.
    Request,
    /// What is changed in headers: a step for each level that changes any.
    Headers,
    /// Who gets a copy.
    Mirror,
    /// What a request is hashed by, where the cluster balances by hash.
    Hash,
    /// The cluster.
    Cluster,
    /// Its endpoints.
    Endpoints,
}

impl What {
    /// The word for it in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::FilterChain => "filter chain",
            Self::VirtualHost => "virtual host",
            Self::Route => "route",
            Self::Fault => "fault",
            Self::Cors => "cors",
            Self::Request => "request",
            Self::Headers => "headers",
            Self::Mirror => "mirror",
            Self::Hash => "hash",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
        }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was decided on.
    pub what: What,
    /// Name of what was looked at.
    pub name: String,
    /// Whether it was taken.
    pub matched: bool,
    /// Why, or why not.
    pub because: String,
    /// The resource that says so, as pilot notes it in metadata (`istio.config`); empty when it does not say.
    pub resource: String,
    /// The file that says so, where pilot noted it (`meltemi.file`).
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The endpoints of a step on endpoints.
    pub endpoints: Vec<Seat>,
}

/// A cluster that a call may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub cluster: Arc<str>,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// Why calls that go there fail, if they do.
    pub problem: Option<String>,
}

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes to one of these clusters, by weight.
    Forwarded {
        /// Clusters; at least one has no problem.
        clusters: Vec<Branch>,
        /// Clusters that get a copy.
        mirrors: Vec<Arc<str>>,
        /// Path (with query) as it goes on; empty for TCP.
        path: String,
        /// Authority as it goes on; empty for TCP.
        authority: String,
    },
    /// It is answered by the proxy.
    Answered {
        /// Status; 200 to gRPC requests, which are told in a header.
        status: u16,
        /// `grpc-status`, to gRPC requests.
        grpc_status: Option<u32>,
        /// `location` of a redirect.
        location: Option<String>,
        /// Istio's response flag, empty when nothing went wrong.
        flag: &'static str,
        /// What went wrong, in the words of `%LOCAL_REPLY_REASON%`; empty when nothing did.
        reason: String,
    },
    /// The connection is closed.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A call explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What comes of it.
    pub outcome: Outcome,
    /// How that was decided.
    pub steps: Vec<Step>,
}

/// Follows a call through the configuration of one proxy.
pub fn explain(config: &Config, call: &Call) -> Explanation {
    let mut trace = Trace { config, call: call.clone(), steps: Vec::new(), rule: String::new() };
    let outcome = trace.listener();
    Explanation { outcome, steps: trace.steps }
}

struct Trace<'a> {
    config: &'a Config,
    call: Call,
    steps: Vec<Step>,
    /// The resource of the route that was taken, by name.
    rule: String,
}

impl Trace<'_> {
    fn step(&mut self, what: What, name: impl Into<String>, matched: bool, because: impl Into<String>) {
        self.steps.push(Step {
            what,
            name: name.into(),
            matched,
            because: because.into(),
            resource: String::new(),
            file: None,
            line: None,
            endpoints: Vec::new(),
        });
    }

    /// Says of the last step where it is written.
    fn name_resource(&mut self, origin: Option<Origin>) {
        if let (Some(step), Some(origin)) = (self.steps.last_mut(), origin) {
            (step.resource, step.file, step.line) = (origin.resource, origin.file, origin.line);
        }
    }

    fn listener(&mut self) -> Outcome {
        let destination = self.call.destination;
        let Some((listener, because)) = self.config.listener_for(&self.call) else {
            let reason = format!("nothing listens at {destination}");
            self.step(What::Listener, destination.to_string(), false, reason.clone());
            return Outcome::Refused { reason };
        };
        self.step(What::Listener, &*listener.name, true, because);
        let mut sockets = listener.addresses.iter().filter_map(ListenAddress::socket);
        let own = sockets.find(|own| own.port() == destination.port());
        if self.call.looked_up.is_some()
            && let Some(own) = own.filter(|own| !own.ip().is_unspecified())
        {
            self.call.destination = own;
        }
        self.chain(&listener)
    }

    fn chain(&mut self, listener: &Listener) -> Outcome {
        let protocols = self.call.application_protocols(listener);
        // As the TLS inspector reads it.
        let server_name = self.call.server_name.as_deref().unwrap_or_default().to_ascii_lowercase();
        let connection = ConnectionView {
            destination: self.call.destination,
            source: self.call.source,
            direct_source: self.call.source,
            server_name: &server_name,
            transport_protocol: if self.call.server_name.is_some() { "tls" } else { "raw_buffer" },
            application_protocols: &protocols,
        };
        let Some(chain) = listener.chains.find(&connection) else {
            let reason = format!("no filter chain of {} takes {}", listener.name, described(&connection));
            self.step(What::FilterChain, &*listener.name, false, reason.clone());
            return Outcome::Refused { reason };
        };
        let name = if chain.name.is_empty() { "(unnamed)" } else { &chain.name };
        self.step(What::FilterChain, name, true, format!("it takes {}", described(&connection)));
        match &chain.terminal {
            Terminal::Http(manager) if self.call.http.is_some() => self.http(manager),
            Terminal::Http(manager) => {
                let reason =
                    format!("the chain speaks HTTP ({}), and the call is not HTTP", manager.stat_prefix);
                self.step(What::FilterChain, name, false, reason.clone());
                Outcome::Refused { reason }
            }
            Terminal::Tcp(proxy) => self.tcp(proxy),
            Terminal::DirectResponse(_) => Outcome::Refused {
                reason: "the chain answers every connection with the same bytes".to_owned(),
            },
            Terminal::Echo => {
                Outcome::Refused { reason: "the chain says what it hears and leads nowhere".to_owned() }
            }
        }
    }

    fn tcp(&mut self, proxy: &TcpProxy) -> Outcome {
        let clusters: Vec<(Arc<str>, u32)> = match &proxy.sni {
            // The name in the ClientHello is the cluster's.
            SniUse::Cluster(_) => vec![(self.call.server_name.as_deref().unwrap_or_default().into(), 1)],
            _ => proxy.clusters.iter().map(|(slot, weight, _)| (slot.name.clone(), *weight)).collect(),
        };
        let branches = self.clusters(&clusters);
        match branches.iter().find_map(|branch| branch.problem.clone()) {
            Some(reason) if branches.iter().all(|branch| branch.problem.is_some()) => {
                Outcome::Refused { reason }
            }
            _ if branches.is_empty() => {
                Outcome::Refused { reason: "the chain leads to no cluster".to_owned() }
            }
            _ => Outcome::Forwarded {
                clusters: branches,
                mirrors: Vec::new(),
                path: String::new(),
                authority: String::new(),
            },
        }
    }
}

const fn answered(status: u16, flag: &'static str, reason: String) -> Outcome {
    Outcome::Answered { status, grpc_status: None, location: None, flag, reason }
}

fn described(connection: &ConnectionView<'_>) -> String {
    let what = match (connection.server_name, connection.application_protocols.first()) {
        ("", None) => connection.transport_protocol.to_owned(),
        ("", Some(protocol)) => format!("{} ({protocol})", connection.transport_protocol),
        (name, _) => format!("TLS for {name:?}"),
    };
    let SocketAddr::V4(_) = connection.destination else {
        return format!("{what} to {}", connection.destination);
    };
    format!("{what} to {} from {}", connection.destination, connection.source.ip())
}

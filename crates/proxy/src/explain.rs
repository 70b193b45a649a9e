//! What would happen to one call, and why: the data path's matchers run over configuration at rest, with their reasons.
//!
//! `meltemi explain` and the tables of calls use it; nothing here is on the request path.
//! Invariant: listener, filter chain, virtual host and route are chosen by the very functions that serve traffic.

mod call;
mod config;

use std::{net::SocketAddr, sync::Arc};

pub use self::{
    call::{Call, Hop, Request},
    config::{Config, Endpoints, Origin},
};
use crate::{
    http::config::HttpConnectionManager,
    listener::{Listener, TcpProxy, Terminal, matcher::ConnectionView},
    route::{Action, Forward, RequireTls, Route, Target, VirtualHost, rewrite::Picked},
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
    /// What goes on to the destination: path, host, timeout, retries.
    Request,
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
            Self::Request => "request",
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
}

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes to one of these clusters, by weight.
    Forwarded {
        /// Cluster and share.
        clusters: Vec<(Arc<str>, u32)>,
        /// Path (with query) as it goes on; empty for TCP.
        path: String,
        /// Authority as it goes on; empty for TCP.
        authority: String,
    },
    /// It is answered by the proxy.
    Answered {
        /// Status.
        status: u16,
        /// `location` of a redirect.
        location: Option<String>,
        /// Istio's response flag, empty when nothing went wrong.
        flag: &'static str,
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
    let mut trace = Trace { config, call, steps: Vec::new() };
    let outcome = trace.listener();
    Explanation { outcome, steps: trace.steps }
}

struct Trace<'a> {
    config: &'a Config,
    call: &'a Call,
    steps: Vec<Step>,
}

impl Trace<'_> {
    fn step(&mut self, what: What, name: impl Into<String>, matched: bool, because: impl Into<String>) {
        let (name, because) = (name.into(), because.into());
        let resource = String::new();
        self.steps.push(Step { what, name, matched, because, resource, file: None, line: None });
    }

    fn listener(&mut self) -> Outcome {
        let destination = self.call.destination;
        let Some((listener, because)) = self.config.listener_for(self.call) else {
            let reason = format!("nothing listens at {destination}");
            self.step(What::Listener, destination.to_string(), false, reason.clone());
            return Outcome::Refused { reason };
        };
        self.step(What::Listener, &*listener.name, true, because);
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
        }
    }

    fn tcp(&mut self, proxy: &TcpProxy) -> Outcome {
        let clusters: Vec<_> =
            proxy.clusters.iter().map(|(slot, weight)| (slot.name.clone(), *weight)).collect();
        match self.clusters(&clusters) {
            Some(reason) => Outcome::Refused { reason },
            None => Outcome::Forwarded { clusters, path: String::new(), authority: String::new() },
        }
    }

    fn http(&mut self, manager: &HttpConnectionManager) -> Outcome {
        let hop = self.call.hop(manager);
        let Some(table) = manager.routes.table.load_full() else {
            let because = format!("the route table {} is not there", manager.routes.name);
            self.step(What::VirtualHost, &*manager.routes.name, false, because);
            return answered(404, "NR");
        };
        let Some(host) = table.virtual_host(&hop.authority) else {
            let because =
                format!("no virtual host of {} has a domain that takes {:?}", table.name, hop.authority);
            self.step(What::VirtualHost, &*table.name, false, because);
            return answered(404, "NR");
        };
        let because =
            format!("of route table {}, it has the domain that takes {:?} best", table.name, hop.authority);
        self.step(What::VirtualHost, &*host.name, true, because);
        if host.require_tls != RequireTls::None && !hop.tls {
            let location = format!("https://{}{}", hop.authority, hop.path);
            self.step(What::Request, "redirect", true, format!("the virtual host wants TLS: {location}"));
            return Outcome::Answered { status: 301, location: Some(location), flag: "" };
        }
        match self.route(host, &hop) {
            Some(route) => self.action(&route, &hop),
            None => answered(404, "NR"),
        }
    }

    /// A step for each route up to the one that is taken.
    fn route(&mut self, host: &VirtualHost, hop: &Hop) -> Option<Arc<Route>> {
        let taken = host.route(hop);
        for (at, entry) in host.routes().enumerate() {
            let name = match &*entry.route.name {
                "" => format!("#{}", at + 1),
                name => name.to_owned(),
            };
            let is_it = taken.is_some_and(|taken| Arc::ptr_eq(taken, &entry.route));
            let because = match (is_it, entry.condition.failure(hop)) {
                (false, Some(failure)) => failure,
                _ => entry.condition.to_string(),
            };
            self.step(What::Route, name, is_it, because);
            self.name_resource(self.config.route_resource(&host.name, at));
            if is_it {
                break;
            }
        }
        if taken.is_none() {
            self.step(What::Route, &*host.name, false, "no route of the virtual host takes the request");
        }
        taken.cloned()
    }

    /// Says of the last step where it is written.
    fn name_resource(&mut self, origin: Option<Origin>) {
        if let (Some(step), Some(origin)) = (self.steps.last_mut(), origin) {
            (step.resource, step.file, step.line) = (origin.resource, origin.file, origin.line);
        }
    }

    fn action(&mut self, route: &Route, hop: &Hop) -> Outcome {
        match &route.action {
            Action::Forward(forward) => self.forward(forward, hop),
            Action::Redirect(redirect) => {
                let location = redirect.location(hop);
                self.step(What::Request, "redirect", true, format!("{} {location}", redirect.status));
                Outcome::Answered { status: redirect.status, location: Some(location), flag: "" }
            }
            Action::Respond(response) => {
                self.step(What::Request, "direct response", true, response.status.to_string());
                answered(response.status, "")
            }
            Action::None => {
                self.step(What::Request, "no action", false, "the route does nothing with requests");
                answered(404, "NR")
            }
        }
    }

    fn forward(&mut self, forward: &Forward, hop: &Hop) -> Outcome {
        let path = forward.rewrite.apply(&hop.path).unwrap_or_else(|| hop.path.clone());
        let mut authority = forward.host_rewrite.apply(hop).map_or_else(|| hop.authority.clone(), Into::into);
        let clusters: Vec<_> = match &forward.target {
            Target::Cluster(slot) => vec![(slot.name.clone(), 1)],
            Target::Weighted { parts, .. } => {
                parts.iter().map(|part| (part.cluster.name.clone(), part.weight)).collect()
            }
            Target::Header { name, .. } => vec![(hop.named_cluster(name).into(), 1)],
        };
        if let Picked::Weighted(part) = forward.target.pick(self.call.random)
            && let Some(host) = &part.host_rewrite
        {
            authority = host.to_string();
        }
        self.step(What::Request, format!("{} {authority}{path}", hop.method), true, in_force(forward));
        match self.clusters(&clusters) {
            Some(_) if clusters.len() == 1 && !self.config.has_cluster(&clusters[0].0) => {
                answered(forward.not_found_status, "NC")
            }
            Some(_) => answered(503, "UH"),
            None => Outcome::Forwarded { clusters, path, authority },
        }
    }

    /// Steps for clusters and their endpoints; a reason when the call can reach none of them.
    fn clusters(&mut self, clusters: &[(Arc<str>, u32)]) -> Option<String> {
        let total: u32 = clusters.iter().map(|(_, weight)| weight).sum();
        let mut problem = Some("no cluster".to_owned());
        for (name, weight) in clusters {
            let share = match clusters.len() {
                1 => "all of it".to_owned(),
                _ => format!("{weight} of {total}"),
            };
            let Some(endpoints) = self.config.endpoints(name) else {
                let reason = format!("there is no cluster {name}");
                self.step(What::Cluster, &**name, false, reason.clone());
                problem = problem.and(Some(reason));
                continue;
            };
            self.step(What::Cluster, &**name, true, share);
            self.name_resource(self.config.cluster_resource(name));
            match endpoints {
                Endpoints::Known(addresses) if addresses.is_empty() => {
                    let reason = format!("{name} has no endpoints");
                    self.step(What::Endpoints, &**name, false, reason.clone());
                    problem = problem.and(Some(reason));
                }
                Endpoints::Known(addresses) => {
                    self.step(What::Endpoints, &**name, true, addresses.join(", "));
                    problem = None;
                }
                Endpoints::Elsewhere(how) => {
                    self.step(What::Endpoints, &**name, true, how);
                    problem = None;
                }
            }
        }
        problem
    }
}

const fn answered(status: u16, flag: &'static str) -> Outcome {
    Outcome::Answered { status, location: None, flag }
}

/// Timeouts and retries of a route, for people.
fn in_force(forward: &Forward) -> String {
    let timeout = forward.timeout.map_or("no timeout".to_owned(), |timeout| format!("timeout {timeout:?}"));
    match &forward.retry {
        None => format!("{timeout}, no retries"),
        Some(retry) => {
            let per_try = retry.per_try_timeout.map(|limit| format!(", {limit:?} a try")).unwrap_or_default();
            format!("{timeout}, up to {} retries{per_try}", retry.attempts)
        }
    }
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

//! The decisions about a request: virtual host, route, filters, and what the route does.
//!
//! Invariant: they are taken in the order of the connection manager ([`crate::http::connection_manager`]).

use std::sync::Arc;

use super::{Hop, Origin, Outcome, Trace, What, answered, words};
use crate::{
    http::{
        config::HttpConnectionManager,
        connection_manager::{self, mutation::Levels, normalize, reply},
        filters::{
            self, HttpFilter, Kind, cors,
            fault::{self, Settings, Share},
            overrides::Overrides,
        },
        reason::blame,
    },
    route::{Action, RequestView, RequireTls, Route, RouteTable, VirtualHost, matcher::is_grpc},
};

/// A request on its way through a connection manager.
pub(super) struct Matched<'a> {
    pub(super) table: &'a RouteTable,
    pub(super) host: &'a VirtualHost,
    pub(super) route: &'a Route,
}

impl Trace<'_> {
    pub(super) fn http(&mut self, manager: &HttpConnectionManager) -> Outcome {
        let mut outcome = self.request(manager);
        let grpc = self.call.http.is_some() && is_grpc(&self.call.hop(manager));
        if let Outcome::Answered { status, grpc_status, .. } = &mut outcome
            && grpc
        {
            let told = grpc_status.unwrap_or_else(|| reply::grpc_status(*status));
            (*status, *grpc_status) = (200, Some(told));
        }
        outcome
    }

    fn request(&mut self, manager: &HttpConnectionManager) -> Outcome {
        if let Some(refused) = self.unreadable(manager) {
            return refused;
        }
        let hop = self.call.hop(manager);
        let Some(table) = manager.routes.table.load_full() else {
            let because = format!("the route table {} is not there", manager.routes.name);
            self.step(What::VirtualHost, &*manager.routes.name, false, because.clone());
            return answered(404, "NR", because);
        };
        let Some(host) = table.virtual_host(&hop.authority) else {
            let because =
                format!("no virtual host of {} has a domain that takes {:?}", table.name, hop.authority);
            self.step(What::VirtualHost, &*table.name, false, because);
            return answered(404, "NR", blame::no_host(&hop.authority));
        };
        let because =
            format!("of route table {}, it has the domain that takes {:?} best", table.name, hop.authority);
        self.step(What::VirtualHost, &*host.name, true, because);
        let Some((route, origin)) = self.route(host, &hop) else {
            let rule = host.routes().find_map(|entry| entry.route.origin.clone());
            return answered(404, "NR", blame::no_rule(rule.as_deref(), &host.name, &hop.method, &hop.path));
        };
        let rule = origin.as_ref().map(|origin| &*origin.resource).filter(|resource| !resource.is_empty());
        self.rule = blame::named(rule, "the route");
        let decided = self.upgrade(manager, &route, &hop).or_else(|| self.filters(manager, &route, &hop));
        if let Some(outcome) = decided.or_else(|| self.secure(host, &hop)) {
            return outcome;
        }
        self.action(Matched { table: &table, host, route: &route }, &hop)
    }

    /// What no route is looked for.
    fn unreadable(&mut self, manager: &HttpConnectionManager) -> Option<Outcome> {
        let request = self.call.http.clone()?;
        if request.authority.is_empty() {
            let reason = "the request has no host".to_owned();
            self.step(What::Request, "refused", false, reason.clone());
            return Some(answered(400, "", reason));
        }
        match normalize::path(&request.path, manager) {
            normalize::Path::Reject => {
                let reason = "the path cannot be normalised".to_owned();
                self.step(What::Request, "refused", false, reason.clone());
                Some(answered(400, "", reason))
            }
            normalize::Path::Redirect(path) => {
                self.step(
                    What::Request,
                    "redirect",
                    true,
                    format!("the path has escaped slashes: 307 {path}"),
                );
                let (flag, reason) = ("", String::new());
                Some(Outcome::Answered { status: 307, grpc_status: None, location: Some(path), flag, reason })
            }
            _ => None,
        }
    }

    /// A step for each route up to the one that is taken.
    fn route(&mut self, host: &VirtualHost, hop: &Hop) -> Option<(Arc<Route>, Option<Origin>)> {
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
            let origin = self.config.route_resource(&host.name, at);
            self.name_resource(origin.clone());
            if is_it {
                return Some((entry.route.clone(), origin));
            }
        }
        self.step(What::Route, &*host.name, false, "no route of the virtual host takes the request");
        None
    }

    fn upgrade(&mut self, manager: &HttpConnectionManager, route: &Route, hop: &Hop) -> Option<Outcome> {
        let name = hop.upgrade()?;
        if connection_manager::upgrades(manager, Some(route), &name) {
            return None;
        }
        let reason = format!("{} does not allow the upgrade", self.rule);
        self.step(What::Request, format!("upgrade to {name}"), false, reason.clone());
        Some(answered(403, "", reason))
    }

    fn secure(&mut self, host: &VirtualHost, hop: &Hop) -> Option<Outcome> {
        if host.require_tls == RequireTls::None
            || hop.tls
            || hop.header("x-forwarded-proto").as_deref() == Some("https")
        {
            return None;
        }
        let location = format!("https://{}{}", hop.authority, hop.path);
        self.step(What::Request, "redirect", true, format!("the virtual host wants TLS: {location}"));
        Some(Outcome::Answered {
            status: 301,
            grpc_status: None,
            location: Some(location),
            flag: "",
            reason: String::new(),
        })
    }

    /// What filters do before the route; an outcome if one answers every such request.
    fn filters(&mut self, manager: &HttpConnectionManager, route: &Route, hop: &Hop) -> Option<Outcome> {
        let overrides = filters::overrides_of(route, hop.random()).cloned();
        let overrides = overrides.as_deref();
        for filter in manager.filters.iter().filter(|filter| !filter.is_off(overrides)) {
            let outcome = match &filter.kind {
                Kind::Fault(own) => {
                    let settings = overrides.and_then(|overrides| overrides.fault(&filter.name));
                    let settings = settings.or(own.settings.as_ref());
                    settings.and_then(|settings| self.fault(settings, route, hop))
                }
                Kind::Cors if matches!(route.action, Action::Forward(_)) => self.cors(filter, overrides, hop),
                _ => None,
            };
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }

    fn fault(&mut self, settings: &Settings, route: &Route, hop: &Hop) -> Option<Outcome> {
        if !settings.applies(hop, fault::cluster_of(Some(route), hop.random())) {
            return None;
        }
        let origin = self.taken();
        let mut say = |name: &str, share: Share, what: String| {
            self.step(What::Fault, name, share.0 > 0, format!("{} {what}", words::requests(share)));
            self.name_resource(origin.clone());
        };
        if let Some((kbps, share)) = settings.rate_for(hop) {
            say("rate limit", share, format!("answered at {kbps} KiB a second"));
        }
        if let Some((delay, share)) = settings.delay_for(hop) {
            say("delay", share, format!("held up by {delay:?}"));
        }
        let ((status, grpc), share) = settings.abort_for(hop)?;
        let grpc_status = grpc.map(|status| format!(", gRPC status {status}")).unwrap_or_default();
        say("abort", share, format!("answered {status}{grpc_status}"));
        let reason = format!("{} injected a fault", self.rule);
        // One in a million that gets through does not change what is to be expected.
        let always = share.0 >= share.1.max(1);
        let (location, flag) = (None, "FI");
        always.then_some(Outcome::Answered { status, grpc_status: grpc, location, flag, reason })
    }

    fn cors(&mut self, filter: &HttpFilter, overrides: Option<&Overrides>, hop: &Hop) -> Option<Outcome> {
        let policies = overrides?.cors(&filter.name);
        let origin = hop.header("origin").filter(|origin| !origin.is_empty())?;
        let most = policies.first()?;
        if most.enabled.is_some_and(|(part, _)| part == 0) {
            return None;
        }
        let allowed = cors::is_allowed(policies, &origin);
        let wanted = hop.header("access-control-request-method");
        let answers = cors::answers(policies, &hop.method, wanted.as_deref().map(str::as_bytes), allowed);
        let because = match (allowed, answers) {
            (true, true) => format!("the preflight of {origin:?} is answered by the proxy"),
            (true, false) => format!("origin {origin:?} is allowed, and the answer will say so"),
            (false, true) => {
                format!("origin {origin:?} is not allowed, and its preflight is answered without leave")
            }
            (false, false) => format!(
                "origin {origin:?} is not allowed; the request goes on, and its answer gives no leave"
            ),
        };
        let taken = self.taken();
        self.step(What::Cors, &*origin, allowed, because);
        self.name_resource(taken);
        answers.then(|| answered(200, "", String::new()))
    }

    /// Where the route that was taken is written.
    fn taken(&self) -> Option<Origin> {
        let step = self.steps.iter().rfind(|step| step.what == What::Route && step.matched)?;
        Some(Origin { resource: step.resource.clone(), file: step.file.clone(), line: step.line })
    }

    fn action(&mut self, matched: Matched<'_>, hop: &Hop) -> Outcome {
        match &matched.route.action {
            Action::Forward(forward) => self.forward(&matched, forward, hop),
            Action::Redirect(redirect) => {
                let location = redirect.location(hop);
                self.step(What::Request, "redirect", true, format!("{} {location}", redirect.status));
                self.response_headers(&matched);
                let (status, reason) = (redirect.status, String::new());
                Outcome::Answered { status, grpc_status: None, location: Some(location), flag: "", reason }
            }
            Action::Respond(response) => {
                self.step(What::Request, "direct response", true, words::response(response));
                self.response_headers(&matched);
                let blocked = &*matched.route.name == blame::BLOCK_ALL;
                let reason = if blocked {
                    blame::not_in_registry(&format!("host {}", hop.authority))
                } else {
                    String::new()
                };
                answered(response.status, "", reason)
            }
            Action::None => {
                self.step(What::Request, "no action", false, "the route does nothing with requests");
                answered(404, "NR", format!("{} does nothing with requests", self.rule))
            }
        }
    }

    fn response_headers(&mut self, matched: &Matched<'_>) {
        for rules in Levels::new(matched.table, matched.host, matched.route, None).rules() {
            if !rules.response.is_empty() {
                self.step(What::Headers, "answer", true, words::operations(&rules.response));
            }
        }
    }
}

//! HTTP filters between the connection manager and the router: a closed set with named phases.
//!
//! The connection manager calls [`request`] once a route is looked for and [`response`] for every head that goes down.
//! Invariant: a filter that has nothing to do for a request costs it a comparison, no allocation and no future.

pub mod cors;
pub mod fault;
pub mod overrides;

use std::sync::Arc;

use self::overrides::Overrides;
use crate::{
    http::{
        connection_manager::{Ended, Exchange, Session},
        deadline::Deadline,
        exchange::Downstream,
        reason,
    },
    route::{Action, Route, rewrite::Picked},
};

/// A filter of a connection manager.
#[derive(Debug)]
pub struct HttpFilter {
    /// Under this name routes override it.
    pub name: Arc<str>,
    /// `disabled`: off unless a route says otherwise.
    pub disabled: bool,
    /// What it is.
    pub kind: Kind,
}

/// The filters there are.
#[derive(Debug)]
pub enum Kind {
    /// `envoy.filters.http.fault`.
    Fault(fault::Fault),
    /// `envoy.filters.http.cors`; all its settings are the routes'.
    Cors,
    /// `meltemi.local_reply_reason`: puts the reason of an answer of our own into this response header.
    Reason(Arc<str>),
}

/// What filters remember of a request until its end.
#[derive(Debug, Default)]
pub struct State {
    /// Where no route of the virtual host matched: the resource that its first route comes from.
    pub(crate) blamed: Option<Arc<str>>,
    cors: Option<cors::Granted>,
    fault: Option<fault::Active>,
    throttle: Option<Box<fault::throttle::Throttle>>,
}

impl State {
    /// What slows the response down.
    #[inline]
    pub fn throttle(&mut self) -> Option<&mut fault::throttle::Throttle> {
        self.throttle.as_deref_mut()
    }
}

/// The request phase; `Err` when a filter answers in place of the route.
#[inline]
pub async fn request<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
    route: Option<&Route>,
) -> Result<(), Ended> {
    let overrides = route.and_then(|route| overrides_of(route, exchange.info.random));
    if !session.manager.filters.iter().any(|filter| filter.acts(overrides, exchange)) {
        return Ok(());
    }
    let overrides = overrides.cloned();
    Box::pin(run(session, downstream, exchange, deadline, route, overrides)).await
}

/// What a route says of filters: the drawn part of a weighted set before the route.
pub(crate) fn overrides_of(route: &Route, random: u64) -> Option<&Arc<Overrides>> {
    if let Action::Forward(forward) = &route.action
        && forward.parts_override
        && let Picked::Weighted(part) = forward.target.pick(random)
        && part.filters.is_some()
    {
        return part.filters.as_ref();
    }
    route.filters.as_ref()
}

async fn run<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
    route: Option<&Route>,
    overrides: Option<Arc<Overrides>>,
) -> Result<(), Ended> {
    let overrides = overrides.as_deref();
    for filter in session.manager.filters.iter() {
        if filter.is_off(overrides) {
            continue;
        }
        match &filter.kind {
            Kind::Fault(fault) => {
                let settings = overrides.and_then(|overrides| overrides.fault(&filter.name));
                let Some(settings) = settings.or(fault.settings.as_ref()) else { continue };
                let request = fault::Request { session, downstream, exchange, deadline };
                fault::inject(fault, settings, request, route).await?;
            }
            Kind::Cors => {
                let forwards = route.is_some_and(|route| matches!(route.action, Action::Forward(_)));
                let policies = overrides.filter(|_| forwards);
                if let Some(policies) = policies.map(|overrides| overrides.cors(&filter.name)) {
                    cors::request(session, exchange, policies)?;
                }
            }
            Kind::Reason(_) => {}
        }
    }
    Ok(())
}

impl HttpFilter {
    /// Whether the filter is switched off for a request.
    pub(crate) fn is_off(&self, overrides: Option<&Overrides>) -> bool {
        overrides.and_then(|overrides| overrides.disabled(&self.name)).unwrap_or(self.disabled)
    }

    /// Whether the filter may have anything to do.
    fn acts(&self, overrides: Option<&Arc<Overrides>>, exchange: &Exchange) -> bool {
        match &self.kind {
            Kind::Fault(fault) => {
                fault.settings.is_some() || overrides.is_some_and(|o| o.fault(&self.name).is_some())
            }
            Kind::Reason(_) => false,
            Kind::Cors => overrides.is_some() && exchange.request.headers.contains(cors::ORIGIN),
        }
    }
}

/// The response phase: of upstreams' answers and of our own.
#[inline]
pub fn response(exchange: &mut Exchange) {
    if let Some(state) = &exchange.info.filters
        && let Some(granted) = &state.cors
    {
        granted.mark(&mut exchange.response);
    }
}

/// The response phase of answers of our own: says why, where that is wanted.
pub fn explain(filters: &[HttpFilter], exchange: &mut Exchange) {
    for filter in filters {
        if let Kind::Reason(header) = &filter.kind
            && !filter.disabled
            && let Some(mut reason) = reason::of(&exchange.info, Some(&exchange.request))
        {
            // What came from the network was checked, but one never knows.
            reason.retain(|c| !c.is_control());
            exchange.response.headers.set_named(header.as_bytes(), reason.as_bytes());
        }
    }
}

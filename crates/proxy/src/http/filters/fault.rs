//! `envoy.filters.http.fault`: delays requests and answers them with errors, by chance or as their headers ask.
//!
//! Settings are the filter's own or the most specific of the route's. A delay may be followed by an abort.
//! Invariant: every fault in force is counted in `active` exactly as long as its request lives.

pub mod throttle;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use crate::{
    error::Flags,
    http::{
        clock,
        connection_manager::{Ended, Exchange, Session, reply::LocalReply},
        deadline::Deadline,
        exchange::Downstream,
        headers::Known,
        message::{RequestHead, View},
    },
    route::{Action, RequestView, Route, matcher::HeaderMatch, rewrite::Picked},
};

/// A fault filter of a connection manager.
#[derive(Debug, Default)]
pub struct Fault {
    /// Its own settings, if they could ever do anything.
    pub settings: Option<Arc<Settings>>,
    /// Requests under a fault, over all workers.
    pub active: Arc<AtomicU32>,
}

/// A compiled `HTTPFault`.
#[derive(Debug)]
pub struct Settings {
    /// How long, and for which share of requests.
    pub delay: Option<(Delay, Share)>,
    /// With what, and for which share.
    pub abort: Option<(Abort, Share)>,
    /// `response_rate_limit`: KiB a second, and for which share.
    pub rate: Option<(Rate, Share)>,
    /// Body of aborts; empty is Envoy's `fault filter abort`.
    pub body: Arc<str>,
    /// `upstream_cluster`: only requests to it.
    pub cluster: Option<Arc<str>>,
    /// `headers`: all must match.
    pub headers: Vec<HeaderMatch>,
    /// `downstream_nodes`: only requests whose `x-envoy-downstream-service-node` is one of them.
    pub nodes: Vec<Arc<str>>,
    /// `max_active_faults`.
    pub max_active: Option<u32>,
    /// `disable_downstream_cluster_stats`.
    pub ignore_downstream_cluster: bool,
}

/// Numerator and denominator.
pub type Share = (u32, u32);

/// What sets a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// `fixed_delay`.
    Fixed(Duration),
    /// `x-envoy-fault-delay-request`, in milliseconds.
    Header,
}

/// What sets the rate of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// `fixed_limit`, in KiB a second.
    Fixed(u64),
    /// `x-envoy-fault-throughput-response`, in KiB a second.
    Header,
}

/// What sets an abort's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// `http_status`.
    Http(u16),
    /// `grpc_status`.
    Grpc(u32),
    /// `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request`.
    Header,
}

/// Counts a request under a fault.
#[derive(Debug)]
pub(super) struct Active {
    all: Arc<AtomicU32>,
    stats: Arc<crate::stats::groups::FaultStats>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.stats.active_faults.dec();
    }
}

/// A request and who waits for it.
pub(super) struct Request<'a, D> {
    pub(super) session: &'a Session,
    pub(super) downstream: &'a mut D,
    pub(super) exchange: &'a mut Exchange,
    pub(super) deadline: &'a Deadline,
}

/// The request phase.
pub(super) async fn inject<D: Downstream>(
    fault: &Fault,
    settings: &Settings,
    mut request: Request<'_, D>,
    route: Option<&Route>,
) -> Result<(), Ended> {
    let cluster = cluster_of(route, request.exchange.info.random);
    if !settings.applies(&request.view(), cluster) {
        return Ok(());
    }
    if let Some((kbps, share)) = settings.rate_for(&request.view())
        && settings.happens(request.session, &request.exchange.request, share)
        && request.begin(fault, settings)
    {
        request.stats().response_rl_injected.inc();
        let state = request.exchange.info.filters.get_or_insert_default();
        state.throttle = Some(Box::new(throttle::Throttle::new(kbps)));
    }
    if let Some((delay, share)) = settings.delay_for(&request.view())
        && settings.happens(request.session, &request.exchange.request, share)
        && request.begin(fault, settings)
    {
        request.stats().delays_injected.inc();
        request.exchange.info.flags.set(Flags::DELAY_INJECTED);
        request.wait(delay).await?;
    }
    if let Some(((status, grpc), share)) = settings.abort_for(&request.view())
        && settings.happens(request.session, &request.exchange.request, share)
        && request.begin(fault, settings)
    {
        request.stats().aborts_injected.inc();
        let mut reply =
            LocalReply::new(status, "fault filter abort", "fault_filter_abort", Flags::FAULT_INJECTED);
        if !settings.body.is_empty() {
            reply.body = bytes::Bytes::copy_from_slice(settings.body.as_bytes());
        }
        reply.grpc_status = grpc;
        return Err(reply.of_route().into());
    }
    Ok(())
}

impl Settings {
    /// True when it could do nothing to any request.
    pub fn is_inert(&self) -> bool {
        self.delay.is_none() && self.abort.is_none() && self.rate.is_none()
    }

    /// Whether a request to this cluster is one that the settings are for.
    pub fn applies<V: RequestView>(&self, request: &V, cluster: Option<&str>) -> bool {
        if let Some(wanted) = &self.cluster
            && cluster.is_none_or(|cluster| cluster != &**wanted)
        {
            return false;
        }
        if !self.nodes.is_empty() {
            let node = request.header(Known::XEnvoyDownstreamServiceNode.name());
            if node.is_none_or(|node| !self.nodes.iter().any(|wanted| **wanted == *node)) {
                return false;
            }
        }
        self.headers.iter().all(|condition| condition.matches(request))
    }

    /// By chance.
    fn happens(&self, session: &Session, head: &RequestHead, share: Share) -> bool {
        let draw = || session.worker.random() % u64::from(share.1.max(1)) < u64::from(share.0);
        // As in Envoy, a request that names its service cluster has a second chance.
        let again = !self.ignore_downstream_cluster
            && head.headers.get(Known::XEnvoyDownstreamServiceCluster).is_some_and(|name| !name.is_empty());
        draw() || again && draw()
    }

    /// How long a request would be held up, and the share of such requests that are.
    pub fn delay_for<V: RequestView>(&self, request: &V) -> Option<(Duration, Share)> {
        let (delay, share) = self.delay?;
        let (delay, share) = match delay {
            Delay::Fixed(delay) => (delay, share),
            Delay::Header => {
                let delay = Duration::from_millis(number(request, "x-envoy-fault-delay-request")?);
                (delay, steered(share, request, "x-envoy-fault-delay-request-percentage"))
            }
        };
        (!delay.is_zero()).then_some((delay, share))
    }

    /// How fast answers would be sent, in KiB a second, and the share of such requests whose are.
    pub fn rate_for<V: RequestView>(&self, request: &V) -> Option<(u64, Share)> {
        let (rate, share) = self.rate?;
        Some(match rate {
            Rate::Fixed(kbps) => (kbps, share),
            Rate::Header => {
                let kbps = number(request, "x-envoy-fault-throughput-response").filter(|kbps| *kbps > 0)?;
                (kbps, steered(share, request, "x-envoy-fault-throughput-response-percentage"))
            }
        })
    }

    /// Status and gRPC status that a request would be answered with, and the share of such requests that are.
    pub fn abort_for<V: RequestView>(&self, request: &V) -> Option<((u16, Option<u32>), Share)> {
        let (abort, share) = self.abort?;
        Some(match abort {
            Abort::Http(status) => ((status, None), share),
            Abort::Grpc(status) => ((200, Some(status)), share),
            Abort::Header => {
                let http =
                    number(request, "x-envoy-fault-abort-request").filter(|code| (200..600).contains(code));
                let status = match http {
                    Some(code) => (code, None),
                    None => (200, Some(number(request, "x-envoy-fault-abort-grpc-request")?)),
                };
                (status, steered(share, request, "x-envoy-fault-abort-request-percentage"))
            }
        })
    }
}

/// The share, lowered by a header.
fn steered<V: RequestView>(share: Share, request: &V, header: &str) -> Share {
    (number(request, header).map_or(share.0, |asked: u32| asked.min(share.0)), share.1)
}

/// The first value of a header as a number.
fn number<V: RequestView, N: std::str::FromStr>(request: &V, name: &str) -> Option<N> {
    request.header(name)?.split(',').next()?.trim().parse().ok()
}

/// The cluster that a route leads to, as far as it is known before the request has gone anywhere.
pub fn cluster_of(route: Option<&Route>, random: u64) -> Option<&str> {
    let Action::Forward(forward) = &route?.action else { return None };
    match forward.target.pick(random) {
        Picked::Cluster(slot) => Some(&slot.name),
        Picked::Weighted(part) => Some(&part.cluster.name),
        Picked::Header(..) => None,
    }
}

impl<D: Downstream> Request<'_, D> {
    fn view(&self) -> View<'_> {
        View { head: &self.exchange.request, tls: self.session.tls, random: self.exchange.info.random }
    }

    fn stats(&self) -> Arc<crate::stats::groups::FaultStats> {
        self.session.worker.fault_stats(&self.session.manager.stat_prefix)
    }

    /// Counts the request as one under a fault; false when there are too many.
    fn begin(&mut self, fault: &Fault, settings: &Settings) -> bool {
        let stats = self.stats();
        let state = self.exchange.info.filters.get_or_insert_default();
        if state.fault.is_some() {
            return true;
        }
        if settings.max_active.is_some_and(|max| fault.active.load(Ordering::Relaxed) >= max) {
            stats.faults_overflow.inc();
            return false;
        }
        fault.active.fetch_add(1, Ordering::Relaxed);
        stats.active_faults.inc();
        state.fault = Some(Active { all: fault.active.clone(), stats });
        true
    }

    /// Waits, unless the client goes or the stream is idle for too long.
    async fn wait(&mut self, delay: Duration) -> Result<(), Ended> {
        let idle = self.session.manager.stream_idle_timeout;
        self.deadline.set(idle.map(|limit| clock::now() + limit));
        let mut sleep = Box::pin(tokio::time::sleep(delay));
        poll_fn(|cx| {
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = self.downstream.poll_flush(cx) {
                return Poll::Ready(Err(Ended::Gone(error)));
            }
            if self.downstream.request_complete()
                && let Poll::Ready(error) = self.downstream.poll_gone(cx)
            {
                return Poll::Ready(Err(Ended::Gone(error)));
            }
            self.deadline.poll(cx).map(|()| {
                let complete = self.downstream.request_complete();
                let status = if complete { 504 } else { 408 };
                let flag = Flags::STREAM_IDLE_TIMEOUT;
                Err(LocalReply::new(status, "stream timeout", "stream_idle_timeout", flag).into())
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests;

//! One request's way to its endpoint and back: cluster, endpoint, connection, tries, response.
//!
//! The connection manager calls [`forward`] once a route with a cluster has matched. One task drives both sides.
//! Invariant: `exchange.response` holds the upstream's head only from the moment that no further try follows.

mod attempt;
mod dynamic;
mod failure;
mod respond;
mod rewrite;

use std::{rc::Rc, sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    balancer::Selection,
    cluster::{BalancerPolicy, Endpoint},
    http::{
        Worker, clock,
        connection_manager::{
            Ended, Exchange, Session,
            forwarding::Client,
            mutation::Levels,
            reply::LocalReply,
            timeouts::{self, Limits, Until},
        },
        deadline::Deadline,
        exchange::Downstream,
        headers::Known,
        message::View,
        router::{
            mirror::{self, Copies},
            relay::Relay,
            replay::Replay,
            retry::Retries,
        },
    },
    route::{
        Forward, HostRewrite, Route, RouteTable, VirtualHost, WeightedCluster,
        hash::{self, Hashed},
        rewrite::Picked,
    },
    upstream::{
        cluster::{ClusterState, Purpose},
        limits::Permit,
        proxy_header::Ends,
    },
};

/// A matched route that forwards.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    /// The table it was found in.
    pub table: &'a RouteTable,
    /// Its virtual host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
    /// Its action.
    pub forward: &'a Forward,
    /// Who asks.
    pub client: Client,
}

impl<'a> Matched<'a> {
    /// The header rules that apply.
    fn levels(&self, part: Option<&'a WeightedCluster>) -> Levels<'a> {
        Levels::new(self.table, self.host, self.route, part)
    }
}

/// Forwards the request; `Ok` when a whole response went downstream.
pub async fn forward<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
    matched: Matched<'_>,
) -> Result<(), Ended> {
    let Some((state, part)) = target(&session.worker, exchange, matched.forward) else {
        return Err(LocalReply::no_cluster(matched.forward.not_found_status).into());
    };
    exchange.info.cluster = Some(state.clone());
    if matched.route.stat_prefix.is_some() || !matched.host.virtual_clusters.is_empty() {
        count_apart(session, exchange, matched);
    }
    let limits = rewrite::prepare(session, exchange, matched);
    let retries = Retries::new(matched.forward.retry.as_ref(), &mut exchange.request, matched.client);
    let kept = matched.route.buffer_limit.of(session.connection.listener.buffer_limit);
    let replay = Replay::new(retries.as_ref().map(|_| kept));
    rewrite::rewrite(session, exchange, matched, part);
    let copies = match matched.forward.mirrors.as_slice() {
        [] => None,
        mirrors => mirror::start(session, exchange, mirrors, limits.route),
    };
    let until = Until {
        idle: limits.idle.map(|limit| clock::now() + limit),
        request: session.manager.request_timeout.map(|limit| clock::now() + limit),
        ..Until::default()
    };
    let mut forwarding = Forwarding {
        session,
        downstream,
        exchange,
        deadline,
        matched,
        part,
        state,
        limits,
        until,
        retries,
        replay,
        copies,
        tried: SmallVec::new(),
        hashed: None,
        retrying: None,
        request: Relay::Body,
    };
    forwarding.set_duration(None);
    forwarding.run().await
}

/// Statistics of the route and of the first virtual cluster that takes the request.
#[cold]
fn count_apart(session: &Session, exchange: &mut Exchange, matched: Matched<'_>) {
    let view = View { head: &exchange.request, tls: session.tls, random: exchange.info.random };
    let mut clusters = matched.host.virtual_clusters.iter();
    let taken = clusters.find(|cluster| cluster.headers.iter().all(|header| header.matches(&view)));
    let known = taken.is_none_or(|taken| session.worker.has_route_stats(&taken.stat_prefix));
    // As in Envoy, all of a host are there together.
    if !known {
        matched.host.virtual_clusters.iter().for_each(|c| drop(session.worker.route_stats(&c.stat_prefix)));
    }
    exchange.info.virtual_cluster = taken.map(|cluster| cluster.stat_prefix.clone());
    let prefixes = matched.route.stat_prefix.iter().chain(taken.map(|cluster| &cluster.stat_prefix));
    let stats = prefixes.map(|prefix| session.worker.route_stats(prefix)).collect();
    exchange.info.route_stats = stats;
}

/// The cluster to send to, and the part of a weighted set that it came from.
fn target<'a>(
    worker: &Worker,
    exchange: &Exchange,
    forward: &'a Forward,
) -> Option<(Rc<ClusterState>, Option<&'a WeightedCluster>)> {
    match forward.target.pick(exchange.info.random) {
        Picked::Cluster(slot) => Some((worker.cluster(slot)?, None)),
        Picked::Weighted(part) => Some((worker.cluster(&part.cluster)?, Some(part))),
        Picked::Header(name, clusters) => {
            let value = exchange.request.headers.joined(name)?;
            Some((worker.cluster(&clusters.get(&value)?)?, None))
        }
    }
}

/// Counts a request that has its stream in and out of its endpoint.
#[derive(Debug)]
pub(super) struct Active(Arc<Endpoint>, Rc<ClusterState>, #[allow(dead_code, reason = "held")] Permit);

impl Active {
    pub(super) fn new(endpoint: Arc<Endpoint>, state: Rc<ClusterState>, permit: Permit) -> Self {
        endpoint.begin();
        state.stats.upstream_rq_active.inc();
        Self(endpoint, state, permit)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
        self.1.stats.upstream_rq_active.dec();
    }
}

struct Forwarding<'a, D> {
    session: &'a Session,
    downstream: &'a mut D,
    exchange: &'a mut Exchange,
    deadline: &'a Deadline,
    matched: Matched<'a>,
    /// Of a weighted set.
    part: Option<&'a WeightedCluster>,
    state: Rc<ClusterState>,
    limits: Limits,
    until: Until,
    retries: Option<Retries<'a>>,
    replay: Replay,
    /// Where copies of the request go, until it is complete.
    copies: Option<Copies>,
    tried: SmallVec<[Arc<Endpoint>; 2]>,
    /// What the request is hashed to, and cookies that were made for it.
    hashed: Option<Box<Hashed>>,
    /// A retry's share of `max_retries`, until its outcome is known.
    retrying: Option<Permit>,
    /// The request body on its way up, in the current try.
    request: Relay,
}

impl<D: Downstream> Forwarding<'_, D> {
    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            let endpoint = match self.state.cluster.settings.dynamic {
                None => self.pick()?,
                Some(_) => Box::pin(self.pick_dynamic()).await?,
            };
            let pools = self.state.pools(&endpoint, self.purpose());
            match self.try_once(&endpoint, &pools).await {
                Ok((acquired, _active)) if !self.retries_response() => {
                    return self.respond(acquired, &pools).await;
                }
                // The rest of that response interests nobody.
                Ok(tried) => drop(tried),
                Err(failure) => self.after_failure(failure)?,
            }
            Box::pin(self.back_off()).await?;
        }
    }

    /// Whose connections it may use.
    fn purpose(&self) -> Purpose {
        let connection = &self.session.connection;
        let ends = Ends { source: connection.remote, destination: connection.local };
        Purpose { ends, high: self.matched.forward.high_priority }
    }

    /// The next endpoint to try.
    fn pick(&mut self) -> Result<Arc<Endpoint>, Ended> {
        let hash = self.hash();
        let policy = self.retries.as_ref().map(Retries::policy);
        let avoid = policy.and_then(|policy| policy.avoid_previous_hosts);
        let by_priority = policy.and_then(|policy| policy.avoid_previous_priorities);
        let connection = &self.session.connection;
        let destination = connection.local_restored.then_some(connection.local);
        let asked = match self.part {
            Some(part) => part.asked.as_deref(),
            None => self.matched.forward.asked.as_deref(),
        };
        let mut wanted = Selection { hash, asked, ..Selection::default() };
        if let Some(attempts) = avoid {
            (wanted.avoid, wanted.attempts) = (&self.tried, attempts);
        }
        let mut exclude = SmallVec::<[u32; 4]>::new();
        if let Some(frequency) = by_priority {
            // Only whole rounds count.
            let rounds = self.tried.len() - self.tried.len() % frequency as usize;
            exclude.extend(self.tried[..rounds].iter().map(|endpoint| endpoint.priority));
            wanted.exclude = &exclude;
        }
        let Some(endpoint) = self.state.pick(&self.session.worker, destination, wanted) else {
            return Err(LocalReply::no_healthy_upstream().into());
        };
        if avoid.is_some() || by_priority.is_some() {
            self.tried.push(endpoint.clone());
        }
        self.chosen(&endpoint);
        Ok(endpoint)
    }

    /// Notes the endpoint of the next try.
    fn chosen(&mut self, endpoint: &Arc<Endpoint>) {
        let info = &mut self.exchange.info;
        info.attempts += 1;
        if info.attempts > 1 && self.matched.host.request_attempt_count {
            let mut digits = itoa::Buffer::new();
            let count = digits.format(info.attempts);
            self.exchange.request.headers.set(Known::XEnvoyAttemptCount, count.as_bytes());
        }
        let named = !self.session.manager.router.suppress_envoy_headers;
        if info.attempts > 1 && (named || self.matched.forward.tells_grpc_timeout) {
            // What is left of the route's timeout.
            let passed = info.request_end.map_or(Duration::ZERO, |end| end.elapsed());
            let left =
                self.limits.route.map(|limit| limit.saturating_sub(passed).max(Duration::from_millis(1)));
            let per_try = self.limits.per_try.map(|limit| left.map_or(limit, |left| limit.min(left)));
            let limits = Limits { route: left, per_try, ..self.limits };
            timeouts::announce(&mut self.exchange.request, limits, self.matched.forward, named);
        }
        let info = &mut self.exchange.info;
        let before = info.endpoint.replace(endpoint.clone());
        let connection = std::mem::take(&mut info.upstream_connection);
        if connection != 0 && !self.session.manager.access_log.is_empty() {
            info.earlier.extend(before.map(|before| (before, connection)));
        }
        if matches!(self.matched.forward.host_rewrite, HostRewrite::Auto)
            && let Some(hostname) = &endpoint.hostname
        {
            let (hostname, forward) = (hostname.clone(), self.matched.forward);
            rewrite::set_host(self.session, self.exchange, forward, &hostname);
        }
    }

    /// The request's hash, where the balancer wants one; the same for all tries.
    fn hash(&mut self) -> Option<u64> {
        if !matches!(self.state.cluster.settings.balancer, BalancerPolicy::Consistent(_)) {
            return None;
        }
        if self.hashed.is_none() {
            let (client, local) = (self.exchange.info.client, self.session.connection.local);
            let policies = &self.matched.forward.hash;
            self.hashed = Some(Box::new(hash::hash(policies, &self.exchange.request, client, local)));
        }
        self.hashed.as_ref().and_then(|hashed| hashed.hash)
    }
}

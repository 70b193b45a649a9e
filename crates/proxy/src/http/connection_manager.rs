//! The HTTP connection manager: the phases of a request, one function each, whatever codec brought it.
//!
//! Codecs call [`handle`] with a request head and a [`Downstream`] to answer on; it comes back when the exchange is
//! over. Invariant: every request that reaches [`handle`] is counted once and logged once, however it ends.

pub mod forwarding;
pub mod info;
pub mod mutation;
pub mod normalize;
pub mod reply;
pub mod request_id;
pub mod response;
pub mod session;
pub mod timeouts;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use self::{forwarding::Client, normalize::Path, reply::LocalReply};
pub use self::{
    info::{Exchange, Info},
    session::Session,
};
use crate::{
    error::{Flags, StreamError},
    http::{
        config::{HttpConnectionManager, Underscores},
        deadline::Deadline,
        exchange::Downstream,
        filters,
        headers::Known,
        message::{Protocol, ResponseHead, View},
        router::forward::{self, Matched},
    },
    route::{Action, RequestView as _, RequireTls, Route, RouteTable, VirtualHost, rewrite::Picked},
};

/// How an exchange ended before a response was complete.
#[derive(Debug)]
pub enum Ended {
    /// With an answer of our own.
    Reply(Box<LocalReply>),
    /// The client has gone.
    Gone(StreamError),
    /// The response had begun; flags and details say what broke it.
    Aborted {
        /// Response flags.
        flags: u32,
        /// `%RESPONSE_CODE_DETAILS%`.
        details: std::borrow::Cow<'static, str>,
    },
}

impl From<LocalReply> for Ended {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// Serves one request: `exchange.request` is filled in, everything else is fresh.
pub async fn handle<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
) {
    let _active = session.begin(exchange, downstream.protocol());
    let ended = match prepare(session, exchange) {
        Ok(client) => route(session, downstream, exchange, deadline, client).await,
        Err(reply) => Err(reply.into()),
    };
    match ended {
        Ok(()) => {}
        Err(Ended::Reply(reply)) => answer(session, downstream, exchange, *reply, None, deadline).await,
        Err(Ended::Gone(error)) => {
            session.counted.is_cut(false);
            gone(downstream, exchange, error);
        }
        Err(Ended::Aborted { flags, details }) => {
            exchange.info.flags.set(flags);
            exchange.info.details = details;
            session.counted.stats().rq_reset_after_downstream_response_started.inc();
            session.counted.is_cut(true);
            downstream.abort();
        }
    }
    session.finish(exchange, downstream);
}

/// Answers what could not be read as a request.
pub async fn refuse<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    reply: LocalReply,
    deadline: &Deadline,
) {
    // Nothing of a head that was refused is to be believed or logged.
    exchange.request.clear();
    let _active = session.begin(exchange, downstream.protocol());
    answer(session, downstream, exchange, reply, None, deadline).await;
    session.finish(exchange, downstream);
}

/// Everything before routing: host, path, forwarding headers, request id.
fn prepare(session: &Session, exchange: &mut Exchange) -> Result<Client, LocalReply> {
    let manager = &*session.manager;
    if manager.underscores != Underscores::Allow {
        check_names(session, exchange)?;
    }
    let head = &mut exchange.request;
    if head.authority().is_empty()
        && head.protocol == Protocol::Http10
        && let Some(host) = &manager.http1.default_host_for_http_10
    {
        head.set_authority(host);
    }
    if head.authority().is_empty() {
        return Err(LocalReply { close: true, ..LocalReply::new(400, "", "missing_host_header", 0) });
    }
    if let Some(host) = normalize::host(head.authority(), manager, session.connection.local.port()) {
        let host = host.into_owned();
        head.set_authority(&host);
    }
    normalize_path(manager, exchange)?;
    let head = &mut exchange.request;
    let client = forwarding::apply(head, manager, session.peer());
    exchange.info.client = client.address;
    exchange.info.internal = client.internal;
    request_id::apply(head, manager, client.edge, &session.worker);
    Ok(client)
}

/// Header names with underscores, where they are not allowed.
#[cold]
fn check_names(session: &Session, exchange: &mut Exchange) -> Result<(), LocalReply> {
    let head = &mut exchange.request;
    let bad = |name: &[u8]| memchr::memchr(b'_', name).is_some();
    let bad: Vec<Vec<u8>> =
        head.headers.iter().filter(|field| bad(field.name)).map(|field| field.name.to_vec()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let http2 = (head.protocol == Protocol::Http2).then(|| session.worker.http2_stats());
    if session.manager.underscores == Underscores::Reject {
        if let Some(stats) = http2 {
            stats.requests_rejected_with_underscores_in_headers.inc();
        }
        let flags = Flags::DOWNSTREAM_PROTOCOL_ERROR;
        let reply = LocalReply::new(400, "Bad Request", "http1.unexpected_underscore", flags);
        return Err(LocalReply { close: true, ..reply });
    }
    for name in &bad {
        head.headers.remove_named(name);
    }
    if let Some(stats) = http2 {
        stats.dropped_headers_with_underscores.add(bad.len() as u64);
    }
    Ok(())
}

fn normalize_path(manager: &HttpConnectionManager, exchange: &mut Exchange) -> Result<(), LocalReply> {
    let head = &mut exchange.request;
    if head.path().is_empty() {
        return Ok(());
    }
    match normalize::path(head.path(), manager) {
        Path::Unchanged => Ok(()),
        Path::Changed(path) => {
            head.set_path(&path);
            Ok(())
        }
        Path::Reject => {
            Err(LocalReply { close: true, ..LocalReply::new(400, "", "path_normalization_failed", 0) })
        }
        Path::Redirect(path) => {
            head.set_path(&path);
            let reply = LocalReply::new(307, "", "path_normalization_failed", 0);
            Err(reply.to(path))
        }
    }
}

/// Finds the route and does what it says.
async fn route<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
    client: Client,
) -> Result<(), Ended> {
    continue_expectation(session, downstream, exchange);
    let table = session.manager.routes.table.load_full();
    let Some(table) = table else {
        allow_upgrade(session, exchange, None)?;
        filter(session, downstream, exchange, deadline, None).await?;
        return Err(LocalReply::no_route().into());
    };
    let view = View { head: &exchange.request, tls: session.tls, random: exchange.info.random };
    let found = find(&table, &view);
    allow_upgrade(session, exchange, found.map(|(_, route)| &**route))?;
    let Some((host, route)) = found else {
        note_unrouted(&table, exchange);
        session.log_start(exchange);
        filter(session, downstream, exchange, deadline, None).await?;
        return Err(LocalReply::no_route().into());
    };
    exchange.info.route = Some(route.clone());
    exchange.info.virtual_host = Some(host.name.clone());
    exchange.info.host_metadata.clone_from(&host.metadata);
    session.log_start(exchange);
    if !session.manager.filters.is_empty() {
        match filters::request(session, downstream, exchange, deadline, Some(route)).await {
            // As in Envoy, the route's rules for answers hold for what filters answer in the upstream's place.
            Err(Ended::Reply(reply)) if reply.from_route => {
                let rules = rules_drawn(&table, host, route, exchange.info.random);
                Box::pin(answer(session, downstream, exchange, *reply, Some(rules), deadline)).await;
                return Ok(());
            }
            done => done?,
        }
    }
    require_tls(session, exchange, host, client)?;
    match &route.action {
        Action::None => Err(LocalReply::no_route().into()),
        Action::Respond(direct) => {
            let mut reply = LocalReply::new(direct.status, "", "direct_response", 0);
            reply.body = direct.body.clone();
            // As in Envoy, what was created or is elsewhere says where: here.
            if direct.status == 201 || direct.status / 100 == 3 {
                let view = View { head: &exchange.request, tls: session.tls, random: exchange.info.random };
                reply = reply.to(format!("{}://{}{}", view.scheme(), view.authority(), view.path()));
            }
            let rules = mutation::Levels::new(&table, host, route, None);
            answer(session, downstream, exchange, reply, Some(rules), deadline).await;
            Ok(())
        }
        Action::Redirect(redirect) => {
            let view = View { head: &exchange.request, tls: session.tls, random: exchange.info.random };
            let mut reply = LocalReply::new(redirect.status, "", "direct_response", 0);
            reply = reply.to(redirect.location(&view));
            let rules = mutation::Levels::new(&table, host, route, None);
            answer(session, downstream, exchange, reply, Some(rules), deadline).await;
            Ok(())
        }
        Action::Forward(forward) => {
            let matched = Matched { table: &table, host, route, forward, client };
            match forward::forward(session, downstream, exchange, deadline, matched).await {
                Err(Ended::Reply(mut reply)) if reply.from_route => {
                    let rules = rules_drawn(&table, host, route, exchange.info.random);
                    // The count begins once there is a cluster.
                    if host.response_attempt_count && exchange.info.cluster.is_some() {
                        let count = exchange.info.attempts.max(1).to_string().into_bytes();
                        reply.headers.push((Known::XEnvoyAttemptCount.name(), count));
                    }
                    Box::pin(answer(session, downstream, exchange, *reply, Some(rules), deadline)).await;
                    Ok(())
                }
                done => done,
            }
        }
    }
}

/// Header rules of a route and of the part of its weights that was drawn.
fn rules_drawn<'t>(
    table: &'t RouteTable,
    host: &'t VirtualHost,
    route: &'t Route,
    random: u64,
) -> mutation::Levels<'t> {
    let part = match &route.action {
        Action::Forward(forward) => match forward.target.pick(random) {
            Picked::Weighted(part) => Some(part),
            _ => None,
        },
        _ => None,
    };
    mutation::Levels::new(table, host, route, part)
}

/// Filters run without a route too; rare enough for a future of its own.
async fn filter<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    deadline: &Deadline,
    route: Option<&Route>,
) -> Result<(), Ended> {
    match session.manager.filters.is_empty() {
        true => Ok(()),
        false => Box::pin(filters::request(session, downstream, exchange, deadline, route)).await,
    }
}

/// Keeps whose rules did not take the request, for the reason of the answer.
fn note_unrouted(table: &RouteTable, exchange: &mut Exchange) {
    let Some(host) = table.virtual_host(exchange.request.authority()) else { return };
    exchange.info.virtual_host = Some(host.name.clone());
    exchange.info.host_metadata.clone_from(&host.metadata);
    let origin = host.routes().find_map(|entry| entry.route.origin.clone());
    if origin.is_some() {
        exchange.info.filters.get_or_insert_default().blamed = origin;
    }
}

/// The virtual host and route of a request.
fn find<'t>(table: &'t RouteTable, view: &View<'_>) -> Option<(&'t VirtualHost, &'t Arc<Route>)> {
    let (host, route) = table.route(view)?;
    Some((&**host, route))
}

/// Answers `Expect: 100-continue` for the upstream, unless it is to be asked itself.
fn continue_expectation<D: Downstream>(session: &Session, downstream: &mut D, exchange: &mut Exchange) {
    if exchange.request.expects_continue && !session.manager.proxy_100_continue {
        exchange.request.headers.remove(Known::Expect);
        downstream.send_interim(&ResponseHead { status: 100, ..ResponseHead::default() });
    }
}

/// 403 for an upgrade that neither the route nor the connection manager lets pass.
fn allow_upgrade(session: &Session, exchange: &Exchange, route: Option<&Route>) -> Result<(), LocalReply> {
    let head = &exchange.request;
    if !head.upgrade {
        return Ok(());
    }
    let name = match head.is_connect() {
        true => "connect",
        false => head.headers.get_str(Known::Upgrade).unwrap_or_default(),
    };
    if upgrades(&session.manager, route, name) {
        Ok(())
    } else {
        Err(LocalReply { close: true, ..LocalReply::new(403, "", "upgrade_failed", 0) })
    }
}

/// Whether an upgrade passes; the name of CONNECT is `connect`.
pub(crate) fn upgrades(manager: &HttpConnectionManager, route: Option<&Route>, name: &str) -> bool {
    let enabled = manager.upgrades.iter().any(|upgrade| upgrade.eq_ignore_ascii_case(name));
    match route.map(|route| &route.action) {
        Some(Action::Forward(forward)) => forward.allows_upgrade(name, enabled),
        // A CONNECT that matches no route is simply not found.
        None if name == "connect" => true,
        _ => enabled,
    }
}

fn require_tls(
    session: &Session,
    exchange: &Exchange,
    host: &VirtualHost,
    client: Client,
) -> Result<(), LocalReply> {
    let required = match host.require_tls {
        RequireTls::None => false,
        RequireTls::ExternalOnly => !client.internal,
        RequireTls::All => true,
    };
    if !required || session.tls || exchange.request.headers.get(Known::XForwardedProto) == Some(b"https") {
        return Ok(());
    }
    let head = &exchange.request;
    let reply = LocalReply::new(301, "", "direct_response", 0);
    Err(reply.to(format!("https://{}{}", head.authority(), head.path())))
}

/// Sends an answer of our own.
pub(crate) async fn answer<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    exchange: &mut Exchange,
    reply: LocalReply,
    rules: Option<mutation::Levels<'_>>,
    deadline: &Deadline,
) {
    let grpc = exchange.request.is_grpc();
    let body = reply.fill(&mut exchange.response, grpc);
    exchange.info.flags.set(reply.flags);
    exchange.info.details = reply.details;
    if let Some(rules) = rules {
        rules.apply_response(session, exchange);
    }
    filters::response(exchange);
    if !session.manager.filters.is_empty() {
        filters::explain(&session.manager.filters, exchange);
    }
    response::finalize(session, exchange);
    // What follows a CONNECT is for somebody else. Streams are apart: one that is refused ends no other.
    let ends = reply.close || exchange.request.is_connect();
    if session.must_close() || (ends && downstream.protocol() != Protocol::Http2) {
        downstream.close_after_response();
    }
    session.answers(exchange);
    exchange.response.protocol = downstream.protocol();
    downstream.send_head(&exchange.response, body.is_empty());
    if !body.is_empty() && !exchange.request.is_head() {
        downstream.send_last(&body);
    }
    let limit = session.manager.stream_idle_timeout.map(|limit| crate::http::clock::now() + limit);
    deadline.set(limit);
    let flushed = poll_fn(|cx| poll_flush(cx, downstream, deadline)).await;
    if flushed.is_err() {
        downstream.abort();
    }
}

fn poll_flush<D: Downstream>(
    cx: &mut Context<'_>,
    downstream: &mut D,
    deadline: &Deadline,
) -> Poll<Result<(), ()>> {
    match downstream.poll_flush(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(drop)),
        Poll::Pending => deadline.poll(cx).map(|()| Err(())),
    }
}

fn gone<D: Downstream>(downstream: &mut D, exchange: &mut Exchange, error: StreamError) {
    use crate::error::ResetReason;
    let info = &mut exchange.info;
    let (flag, details) = match error.reason {
        ResetReason::ProtocolError => (Flags::DOWNSTREAM_PROTOCOL_ERROR, error.details),
        ResetReason::RemoteReset | ResetReason::RemoteRefusedStreamReset => {
            (Flags::DOWNSTREAM_REMOTE_RESET, "downstream_remote_reset")
        }
        _ => (Flags::DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect"),
    };
    info.flags.set(flag);
    info.details = details.into();
    downstream.abort();
}

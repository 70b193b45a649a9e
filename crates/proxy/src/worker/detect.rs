//! Protocol detection that listens to both sides: while listener filters wait for the client's first bytes, the endpoint
//! that a silent client would be proxied to is connected already, and when it speaks first the protocol is TCP.
//!
//! Runs where a listener says `continue_on_listener_filters_timeout` and a silent client would end in a TCP proxy.
//! What a destination did last time decides whether its endpoint is connected at once or after a moment, so that
//! neither side pays: HTTP clients have spoken by then, and server-first protocols are not kept waiting.
//! Invariant: what is known of destinations is bounded.

use std::{cell::RefCell, future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::time::{Instant, Sleep};

use super::thread::WorkerThread;
use crate::{
    listener::{
        Listener, ListenerFilter, TcpProxy, Terminal,
        connection::Detected,
        filters::{FilterError, Inspected, inspect},
    },
    stats::groups::{DetectionStats, HttpInspectorStats, TlsInspectorStats},
    tcp_proxy::{Origin, early::Early},
};

/// How long a client is waited for where clients spoke first before.
const MOMENT: Duration = Duration::from_millis(10);
/// Destinations that are remembered; beyond that memory starts anew.
const MOST: usize = 4096;

/// Who spoke first at a destination: of these clusters, at this original destination.
#[derive(Debug, Default)]
pub(super) struct Speakers(RefCell<FxHashMap<(u32, Option<SocketAddr>), Speaker>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
}

impl Speakers {
    fn wait(&self, key: (u32, Option<SocketAddr>)) -> Duration {
        match self.0.borrow().get(&key) {
            Some(Speaker::Client) => MOMENT,
            Some(Speaker::Server) | None => Duration::ZERO,
        }
    }

    fn remember(&self, key: (u32, Option<SocketAddr>), speaker: Speaker) {
        let mut known = self.0.borrow_mut();
        if known.len() >= MOST && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, speaker);
    }
}

/// What the filters of all listeners count on this worker.
#[derive(Debug)]
pub(super) struct Inspectors {
    http: Arc<HttpInspectorStats>,
    tls: Arc<TlsInspectorStats>,
    detection: Arc<DetectionStats>,
}

impl Inspectors {
    /// The groups of a worker.
    pub(super) fn new(registry: &crate::stats::Registry, shard: usize) -> Self {
        Self {
            http: registry.group("http_inspector.", shard),
            tls: registry.group("tls_inspector.", shard),
            detection: registry.group("protocol_detection.", shard),
        }
    }
}

/// How looking at a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The filters are done, or are not waited for any longer because the endpoint has spoken.
    Found(Option<Box<Early>>),
    /// The connection is over.
    Failed(FilterError),
    /// The client said nothing in time.
    TimedOut(Option<Box<Early>>),
}

/// Runs the listener's filters on a connection.
pub(super) async fn look(thread: &Rc<WorkerThread>, listener: &Listener, connection: &mut Inspected) -> End {
    connection.next = 0;
    connection.detected = Detected::Unknown;
    let limit = listener.filters_timeout;
    let deadline = (!limit.is_zero()).then(|| Instant::now() + limit);
    // Most clients have spoken by now.
    let first = tokio::select! {
        biased;
        done = inspect(&listener.filters, connection) => Some(done),
        () = std::future::ready(()) => None,
    };
    let end = match first {
        Some(Ok(())) => End::Found(None),
        Some(Err(error)) => End::Failed(error),
        None => race(thread, listener, connection, deadline).await,
    };
    count(thread, listener, connection, &end);
    end
}

/// The client's bytes, the endpoint's, or the end of patience.
async fn race(
    thread: &Rc<WorkerThread>,
    listener: &Listener,
    connection: &mut Inspected,
    deadline: Option<Instant>,
) -> End {
    let mut attempt = Attempt::prepare(thread, listener, connection);
    let key = attempt.as_ref().map(|attempt| attempt.key);
    let mut patience = std::pin::pin!(async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    });
    let speakers = &thread.speakers;
    loop {
        let speculation = async {
            match &mut attempt {
                Some(attempt) => attempt.step(thread).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = inspect(&listener.filters, connection) => {
                if let Some(key) = key && done.is_ok() {
                    speakers.remember(key, Speaker::Client);
                }
                let early = attempt.and_then(Attempt::take);
                return match done {
                    Ok(()) => End::Found(early),
                    Err(error) => End::Failed(error),
                };
            }
            spoke = speculation => {
                if spoke {
                    if let Some(key) = key {
                        speakers.remember(key, Speaker::Server);
                    }
                    connection.detected = Detected::ServerFirst;
                    return End::Found(attempt.and_then(Attempt::take));
                }
            }
            () = &mut patience => return End::TimedOut(attempt.and_then(Attempt::take)),
        }
    }
}

fn count(thread: &WorkerThread, listener: &Listener, connection: &mut Inspected, end: &End) {
    let stats = thread.inspectors();
    match end {
        End::Failed(_) => {
            if listener.looks_with(ListenerFilter::HttpInspector, connection.destination()) {
                stats.http.read_error.inc();
            }
            return;
        }
        End::TimedOut(_) => {
            connection.detected = Detected::Silent;
            stats.detection.silent.inc();
            return;
        }
        End::Found(_) if connection.detected == Detected::ServerFirst => {
            stats.detection.server_first.inc();
            return;
        }
        End::Found(_) => {}
    }
    if listener.looks_with(ListenerFilter::TlsInspector, connection.destination()) {
        count_tls(&stats.tls, connection);
    }
    if connection.tls_detected {
        connection.detected = Detected::Tls;
    } else if listener.looks_with(ListenerFilter::HttpInspector, connection.destination()) {
        let (counter, detected) = match connection.application_protocols.first().map(|found| &**found) {
            Some("http/1.0") => (&stats.http.http10_found, Detected::Http10),
            Some("http/1.1") => (&stats.http.http11_found, Detected::Http11),
            Some("h2c") => (&stats.http.http2_found, Detected::Http2),
            _ => (&stats.http.http_not_found, Detected::Tcp),
        };
        counter.inc();
        connection.detected = detected;
    }
}

fn count_tls(stats: &TlsInspectorStats, connection: &Inspected) {
    if !connection.tls_detected {
        return stats.tls_not_found.inc();
    }
    stats.tls_found.inc();
    match connection.server_name {
        Some(_) => stats.sni_found.inc(),
        None => stats.sni_not_found.inc(),
    }
    match connection.application_protocols.is_empty() {
        true => stats.alpn_not_found.inc(),
        false => stats.alpn_found.inc(),
    }
}

/// An early connection in the making.
struct Attempt {
    key: (u32, Option<SocketAddr>),
    proxy: Arc<TcpProxy>,
    origin: Origin,
    state: State,
}

enum State {
    /// The client is given a moment.
    Waiting(Pin<Box<Sleep>>),
    Connecting(Pin<Box<dyn Future<Output = Option<Early>>>>),
    Listening(Box<Early>),
    /// It did not work out; only the client counts now.
    Over,
}

impl Attempt {
    /// When the client has said nothing, and saying nothing would lead to a TCP proxy.
    fn prepare(thread: &WorkerThread, listener: &Listener, connection: &Inspected) -> Option<Self> {
        let waits_for_client = matches!(
            listener.filters.get(connection.next).map(|installed| installed.filter),
            Some(ListenerFilter::TlsInspector | ListenerFilter::HttpInspector)
        );
        if !listener.continue_on_timeout || !waits_for_client || !connection.prefix.is_empty() {
            return None;
        }
        // Nothing is known yet but addresses.
        let Terminal::Tcp(proxy) = &listener.chains.find(&connection.view())?.terminal else { return None };
        if proxy.tunnel.is_some() {
            return None;
        }
        let origin = Origin::of(connection);
        let key = (proxy.clusters.first()?.0.id, origin.destination);
        let state = State::Waiting(Box::pin(tokio::time::sleep(thread.speakers.wait(key))));
        Some(Self { key, proxy: proxy.clone(), origin, state })
    }

    /// Does the next thing; true when the endpoint has spoken. Cancel-safe.
    async fn step(&mut self, thread: &Rc<WorkerThread>) -> bool {
        match &mut self.state {
            State::Waiting(moment) => {
                if !moment.is_elapsed() {
                    moment.await;
                }
                thread.inspectors().detection.early_connects.inc();
                let (proxy, worker) = (self.proxy.clone(), thread.worker.clone());
                self.state = State::Connecting(Box::pin(Early::connect(proxy, self.origin.clone(), worker)));
                false
            }
            State::Connecting(connecting) => {
                self.state = match connecting.await {
                    Some(early) => State::Listening(Box::new(early)),
                    None => State::Over,
                };
                false
            }
            State::Listening(early) => {
                let spoke = early.hears().await;
                if !spoke {
                    self.state = State::Over;
                }
                spoke
            }
            State::Over => std::future::pending().await,
        }
    }

    fn take(self) -> Option<Box<Early>> {
        match self.state {
            State::Listening(early) => Some(early),
            State::Waiting(_) | State::Connecting(_) | State::Over => None,
        }
    }
}

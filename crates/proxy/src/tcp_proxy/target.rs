//! Choosing the endpoint of a TCP connection and connecting to it.
//!
//! Called once per connection. Invariant: circuit breakers and endpoint counts are held as long as the connection.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{Origin, Outcome, tunnel::Tunnel};
use crate::{
    balancer::{Selection, hash::xxh64},
    cluster::{ClusterSlot, Endpoint, metadata::Criteria, outlier::Outcome as Reported},
    error::Flags,
    http::{Worker, clock, message::RequestHead},
    listener::{SniUse, TcpProxy},
    stream::Stream,
    upstream::{
        cluster::{Acquired, ClusterState},
        dynamic::Unresolved,
        limits::Permit,
    },
};

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct Target {
    /// What bytes travel on.
    pub(super) carrier: Carrier,
    /// What the endpoint said before anybody relayed.
    pub(super) greeting: Vec<u8>,
    endpoint: Arc<Endpoint>,
    /// A tunnel holds its own.
    _permit: Option<Permit>,
}

/// What bytes travel on.
#[derive(Debug)]
pub(super) enum Carrier {
    /// A connection.
    Stream(Stream),
    /// An HTTP stream.
    Tunnel(Box<Acquired>),
}

impl Drop for Target {
    fn drop(&mut self) {
        self.endpoint.end();
    }
}

/// Tries until connected or out of attempts; `outcome` says why not.
pub(super) async fn connect(
    proxy: &TcpProxy,
    origin: &Origin,
    asked: Option<&(&Tunnel, RequestHead)>,
    worker: &Rc<Worker>,
    outcome: &mut Outcome,
) -> Option<Target> {
    let mut asked_of_hosts = None;
    let slot = match &proxy.sni {
        SniUse::Cluster(clusters) => origin.server_name.as_deref().and_then(|name| clusters.get(name)),
        SniUse::Nothing | SniUse::Host { .. } => {
            let chosen = choose_cluster(&proxy.clusters, worker.random());
            asked_of_hosts = chosen.and_then(|(_, _, asked)| asked.as_deref());
            chosen.map(|(slot, ..)| slot.clone())
        }
    };
    let wanted = slot.as_ref().map(|slot| slot.name.clone()).or_else(|| origin.server_name.clone());
    let Some(state) = slot.and_then(|slot| worker.cluster(&slot)) else {
        outcome.flags.set(Flags::NO_CLUSTER);
        outcome.missing = wanted;
        return None;
    };
    outcome.cluster = Some(state.clone());
    while outcome.attempts < proxy.max_connect_attempts.max(1) {
        if let (Some(backoff), 1..) = (proxy.backoff, outcome.attempts) {
            tokio::time::sleep(pause(backoff, outcome.attempts, worker)).await;
        }
        let endpoint = choose_endpoint(proxy, (origin, asked_of_hosts), &state, worker, outcome).await?;
        let mut permit = match asked {
            Some(_) => None,
            None => Some(admitted(&state, &endpoint, outcome)?),
        };
        outcome.attempts += 1;
        outcome.endpoint = Some(endpoint.clone());
        let begun = clock::now();
        let opened = match asked {
            None => state.dial(&endpoint, origin.ends()).await.map(Carrier::Stream),
            Some((tunnel, head)) => Box::pin(tunnel.open(&state, &endpoint, origin.ends(), worker, head))
                .await
                .map(|acquired| Carrier::Tunnel(Box::new(acquired))),
        };
        match opened {
            Ok(carrier) => {
                state.cluster.report(&endpoint, Reported::Status(200));
                state.cluster.report(&endpoint, Reported::Connected);
                endpoint.begin();
                if let Some(permit) = &mut permit {
                    permit.connected(&state.stats, None);
                }
                outcome.flags = Flags::default();
                outcome.connect = Some((begun, clock::now()));
                outcome.upstream_connection = match &carrier {
                    Carrier::Stream(_) => crate::upstream::next_id(),
                    Carrier::Tunnel(acquired) => acquired.0.id(),
                };
                outcome.upstream_local = match &carrier {
                    Carrier::Stream(stream) => stream.local_addr(),
                    Carrier::Tunnel(acquired) => acquired.0.local_addr(),
                };
                return Some(Target { carrier, greeting: Vec::new(), endpoint, _permit: permit });
            }
            Err(failure) => {
                state.cluster.report(&endpoint, Reported::Failed);
                outcome.failed(&failure.error, failure.transport);
            }
        }
    }
    // As Envoy has it, even where one try is all there is.
    outcome.flags.set(Flags::RETRY_LIMIT_EXCEEDED);
    None
}

/// How long to wait before the next attempt: up to the base interval, doubled with each one, up to the maximum.
fn pause((base, most): (Duration, Duration), attempts: u32, worker: &Worker) -> Duration {
    let longest = base.saturating_mul(1 << (attempts - 1).min(16)).min(most);
    longest.mul_f64(worker.random() as f64 / u64::MAX as f64)
}

/// A place among the cluster's connections; `outcome` says when there is none.
fn admitted(state: &ClusterState, endpoint: &Arc<Endpoint>, outcome: &mut Outcome) -> Option<Permit> {
    let permit = state.connection(endpoint, false);
    if permit.is_none() {
        outcome.flags.set(Flags::UPSTREAM_OVERFLOW);
    }
    permit
}

/// `outcome` says why there is none.
async fn choose_endpoint(
    proxy: &TcpProxy,
    (origin, asked): (&Origin, Option<&Criteria>),
    state: &ClusterState,
    worker: &Rc<Worker>,
    outcome: &mut Outcome,
) -> Option<Arc<Endpoint>> {
    if let (SniUse::Host { port }, Some(name)) = (&proxy.sni, &origin.server_name)
        && state.cluster.settings.dynamic.is_some()
    {
        let resolved = Box::pin(state.resolve(name, *port)).await;
        return resolved
            .map_err(|error| match error {
                Unresolved::Overflow => outcome.flags.set(Flags::UPSTREAM_OVERFLOW),
                Unresolved::Failed(why) => {
                    outcome.flags.set(Flags::DNS_RESOLUTION_FAILED);
                    outcome.transport_failure = why;
                }
            })
            .ok();
    }
    let hash = proxy.hash_source_ip.then(|| xxh64(origin.source.ip().to_string().as_bytes(), 0));
    let wanted = Selection { hash, asked, ..Selection::default() };
    let endpoint = state.pick(worker, origin.destination, wanted);
    if endpoint.is_none() {
        outcome.flags.set(Flags::NO_HEALTHY_UPSTREAM);
    }
    endpoint
}

/// A cluster, its weight, and what is asked of its hosts.
type Choice = (Arc<ClusterSlot>, u32, Option<Box<Criteria>>);

/// By weight.
fn choose_cluster(clusters: &[Choice], random: u64) -> Option<&Choice> {
    let total: u64 = clusters.iter().map(|(_, weight, _)| u64::from(*weight)).sum();
    if total == 0 {
        return clusters.first();
    }
    let mut at = random % total;
    for choice in clusters {
        match at.checked_sub(u64::from(choice.1)) {
            Some(rest) => at = rest,
            None => return Some(choice),
        }
    }
    None
}

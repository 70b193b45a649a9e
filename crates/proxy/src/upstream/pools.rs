//! The connections to one endpoint, and whose they are.
//!
//! [`super::cluster::ClusterState`] keeps them. Invariant: who may not share a connection never finds it.

use std::{rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    cluster::Endpoint,
    upstream::{h2, pool::Pool, proxy_header::Ends, queue::Queue},
};

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Pools {
    /// Idle HTTP/1 connections.
    pub http1: Rc<Pool>,
    /// HTTP/2 connections.
    pub http2: h2::Pool,
}

impl Pools {
    /// Who waits for connections of a kind.
    #[inline]
    pub(super) fn queue(&self, http2: bool) -> &Rc<Queue> {
        if http2 { &self.http2.queue } else { &self.http1.queue }
    }

    /// True without any connection, and nobody waits for one.
    fn is_empty(&self) -> bool {
        [false, true].map(|http2| self.queue(http2)).iter().all(|q| q.is_empty() && q.is_without_connection())
    }
}

/// Whose connections a request may use. Pools are kept apart by it, where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Purpose {
    /// The connection that asks: endpoints are told of it where the cluster says so.
    pub ends: Ends,
    /// The route's priority is HIGH.
    pub high: bool,
}

impl Purpose {
    /// On nobody's behalf: checks, copies of requests.
    pub const NOBODYS: Self = Self { ends: Ends::NOBODY, high: false };

    /// Of ordinary priority.
    pub fn of(ends: Ends) -> Self {
        Self { ends, high: false }
    }
}

/// An endpoint with its pools.
pub(super) type Kept = (Arc<Endpoint>, Rc<Pools>);

/// Pools of an endpoint that not everybody may use: of requests of priority HIGH, and, where endpoints are told whose
/// connection it is, of the requests of one client's connection.
#[derive(Debug, Default)]
pub(super) struct Apart {
    pub(super) pools: FxHashMap<(usize, Purpose), Kept>,
    /// With so many it is time to look for those that are of no more use.
    next_sweep: usize,
}

/// Fewer pools than that are not worth a look.
const LEAST_SWEEP: usize = 64;

impl Apart {
    pub(super) fn get(&mut self, endpoint: &Arc<Endpoint>, purpose: Purpose) -> Rc<Pools> {
        if self.pools.len() >= self.next_sweep {
            self.pools.retain(|_, (_, pools)| Rc::strong_count(pools) > 1 || !pools.is_empty());
            self.next_sweep = (self.pools.len() * 2).max(LEAST_SWEEP);
        }
        let key = (Arc::as_ptr(endpoint) as usize, purpose);
        let (_, pools) = self.pools.entry(key).or_insert_with(|| (endpoint.clone(), Rc::default()));
        pools.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Address, Health};

    #[test]
    fn pools_that_nobody_uses_are_forgotten_as_others_come() {
        let endpoint = Endpoint::new(Address::Socket(([127, 0, 0, 1], 1).into()), None, 1, Health::Healthy);
        let (endpoint, mut apart) = (Arc::new(endpoint), Apart::default());
        let of = |port: u16| {
            let source = ([192, 0, 2, 1], port).into();
            Purpose::of(Ends { source, ..Ends::NOBODY })
        };
        let held = apart.get(&endpoint, of(1));
        for port in 2..10_000 {
            apart.get(&endpoint, of(port));
            assert!(apart.pools.len() <= 2 * LEAST_SWEEP);
        }
        assert!(Rc::ptr_eq(&held, &apart.get(&endpoint, of(1))), "one that is in use stays");
        assert!(!Rc::ptr_eq(&held, &apart.get(&endpoint, Purpose { high: true, ..of(1) })));
    }
}

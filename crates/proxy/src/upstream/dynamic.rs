//! Endpoints that requests name themselves: the cache of a dynamic forward proxy cluster on one worker.
//!
//! [`super::cluster::ClusterState`] keeps one; the router and `tcp_proxy` ask it. Names are resolved when they are first
//! asked for and again when what is known has aged.
//! Invariant: at most `max_hosts` names are kept, and a name that cannot be resolved any more keeps its last address.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use rustc_hash::FxHashMap;

use crate::{
    cluster::{Address, DynamicForward, Endpoint, Health, dns},
    http::clock,
};

/// Names and what they led to.
#[derive(Debug, Default)]
pub struct Names(RefCell<FxHashMap<Box<str>, Rc<Entry>>>);

#[derive(Debug)]
struct Entry {
    endpoint: RefCell<Arc<Endpoint>>,
    fresh_until: Cell<Option<Instant>>,
    used: Cell<Instant>,
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The cache is full of names that are in use.
    Overflow,
    /// The name has no address: why.
    Failed(String),
}

/// An endpoint, and those whose pools are of no use any more.
#[derive(Debug)]
pub struct Resolved {
    /// Where to connect.
    pub endpoint: Arc<Endpoint>,
    /// Left the cache, or moved.
    pub gone: Vec<Arc<Endpoint>>,
}

impl Names {
    /// The endpoint of a name and port.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        settings: &DynamicForward,
    ) -> Result<Resolved, Unresolved> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let key: Box<str> = format!("{host}|{port}").into();
        let now = clock::now();
        let known = self.0.borrow().get(&key).cloned();
        if let Some(known) = &known {
            known.used.set(now);
            if known.fresh_until.get().is_none_or(|until| now < until) {
                let endpoint = known.endpoint.borrow().clone();
                return Ok(Resolved { endpoint, gone: Vec::new() });
            }
        }
        let gone = if known.is_none() { self.make_room(settings, now)? } else { Vec::new() };
        let literal = host.parse::<IpAddr>().ok();
        let found = match literal {
            Some(address) => Ok(vec![address]),
            None => lookup(&host, settings).await,
        };
        let fresh_until = literal.is_none().then(|| clock::now() + settings.refresh);
        match (found, known) {
            (Ok(found), known) => Ok(self.take_in(key, &host, port, &found, (known, gone, fresh_until))),
            (Err(_), Some(known)) => {
                known.fresh_until.set(Some(clock::now() + settings.failure_refresh));
                let endpoint = known.endpoint.borrow().clone();
                Ok(Resolved { endpoint, gone })
            }
            (Err(error), None) => Err(Unresolved::Failed(error)),
        }
    }

    /// Forgets names that nobody used for long, when there are as many as there may be.
    fn make_room(&self, settings: &DynamicForward, now: Instant) -> Result<Vec<Arc<Endpoint>>, Unresolved> {
        let mut names = self.0.borrow_mut();
        let mut gone = Vec::new();
        if names.len() >= settings.max_hosts as usize {
            names.retain(|_, entry| {
                let stays = now.duration_since(entry.used.get()) < settings.host_ttl;
                if !stays {
                    gone.push(entry.endpoint.borrow().clone());
                }
                stays
            });
            if names.len() >= settings.max_hosts as usize {
                return Err(Unresolved::Overflow);
            }
        }
        Ok(gone)
    }

    fn take_in(
        &self,
        key: Box<str>,
        host: &str,
        port: u16,
        found: &[IpAddr],
        (known, mut gone, fresh_until): (Option<Rc<Entry>>, Vec<Arc<Endpoint>>, Option<Instant>),
    ) -> Resolved {
        let is_found = |endpoint: &Endpoint| match &endpoint.address {
            Address::Socket(address) => found.contains(&address.ip()),
            Address::Pipe(_) => false,
        };
        // The address of before goes on as long as it is among the answers, and its connections with it.
        if let Some(known) = &known
            && is_found(&known.endpoint.borrow())
        {
            known.fresh_until.set(fresh_until);
            return Resolved { endpoint: known.endpoint.borrow().clone(), gone };
        }
        let address = Address::Socket((found[0], port).into());
        let endpoint = Arc::new(Endpoint::new(address, Some(host.into()), 1, Health::Healthy));
        match known {
            Some(known) => {
                gone.push(known.endpoint.replace(endpoint.clone()));
                known.fresh_until.set(fresh_until);
            }
            None => {
                let (endpoint, used) = (RefCell::new(endpoint.clone()), Cell::new(clock::now()));
                let entry = Entry { endpoint, fresh_until: Cell::new(fresh_until), used };
                self.0.borrow_mut().insert(key, Rc::new(entry));
            }
        }
        Resolved { endpoint, gone }
    }
}

/// At least one address.
async fn lookup(host: &str, settings: &DynamicForward) -> Result<Vec<IpAddr>, String> {
    let looking = dns::lookup(host, settings.family);
    match tokio::time::timeout(settings.query_timeout, looking).await {
        Ok(found) => found,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::dns::Family;

    fn settings(max_hosts: u32) -> DynamicForward {
        DynamicForward {
            family: Family::V4,
            refresh: Duration::from_secs(60),
            failure_refresh: Duration::from_secs(5),
            host_ttl: Duration::from_secs(300),
            query_timeout: Duration::from_secs(5),
            max_hosts,
        }
    }

    #[tokio::test]
    async fn names_and_addresses_lead_to_endpoints_that_stay() {
        let names = Names::default();
        let first = names.resolve("localhost", 80, &settings(8)).await.unwrap().endpoint;
        assert_eq!(first.address, Address::Socket(([127, 0, 0, 1], 80).into()));
        assert_eq!(first.hostname.as_deref(), Some("localhost"));
        let again = names.resolve("LOCALHOST", 80, &settings(8)).await.unwrap().endpoint;
        assert!(Arc::ptr_eq(&first, &again));
        let other = names.resolve("localhost", 81, &settings(8)).await.unwrap().endpoint;
        assert!(!Arc::ptr_eq(&first, &other));
        let literal = names.resolve("[::1]", 80, &settings(8)).await.unwrap().endpoint;
        assert_eq!(literal.address, Address::Socket("[::1]:80".parse().unwrap()));
        let failed = names.resolve("no-such-name.invalid", 80, &settings(8)).await.unwrap_err();
        assert!(matches!(failed, Unresolved::Failed(_)));
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let names = Names::default();
        for port in 1..=2 {
            names.resolve("127.0.0.1", port, &settings(2)).await.unwrap();
        }
        assert_eq!(names.resolve("127.0.0.1", 3, &settings(2)).await.unwrap_err(), Unresolved::Overflow);
        let forgetful = DynamicForward { host_ttl: Duration::ZERO, ..settings(2) };
        let resolved = names.resolve("127.0.0.1", 3, &forgetful).await.unwrap();
        assert_eq!(resolved.gone.len(), 2);
    }
}

//! One upstream address, with what is known of it at any moment: weight, health, requests and connections.
//!
//! Sets of them are in [`super::endpoints`]. Invariant: an endpoint stays the same `Arc` as long as its address is known, and what
//! discovery, health checks and outlier detection say of it never overwrites another's word.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::Instant,
};

use super::{health, metadata, outlier};

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// IP and port.
    Socket(SocketAddr),
    /// A Unix stream socket.
    Pipe(Arc<Path>),
}

/// `core.v3.HealthStatus`, as far as picking needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// HEALTHY or UNKNOWN.
    #[default]
    Healthy,
    /// DEGRADED.
    Degraded,
    /// UNHEALTHY, DRAINING, TIMEOUT.
    Unhealthy,
}

/// `core.v3.Locality`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// `region`.
    pub region: Arc<str>,
    /// `zone`.
    pub zone: Arc<str>,
    /// `sub_zone`.
    pub sub_zone: Arc<str>,
}

/// One upstream address. Kept (same `Arc`) across updates that leave its address, so its pools and counts survive;
/// weight and health change in place.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// `hostname`, for `auto_host_rewrite`.
    pub hostname: Option<Arc<str>>,
    /// Where it runs.
    pub locality: Option<Arc<Locality>>,
    /// Its priority, 0 first.
    pub priority: u32,
    /// Address as text, for logs and statistics; made once.
    pub label: Arc<str>,
    /// `hash_key` of its `envoy.lb` metadata.
    pub hash_key: Option<Arc<str>>,
    /// Its `envoy.lb` metadata.
    pub metadata: Option<Arc<metadata::Fields>>,
    /// Where and whether it is asked how it is, if not where it serves.
    pub check: Option<Arc<health::CheckAt>>,
    /// `metadata`, for logs.
    pub logged: Option<Arc<serde_json::Value>>,
    /// When it became known: slow start counts from here.
    pub since: Instant,
    /// What outlier detection knows of it.
    pub monitor: OnceLock<Box<outlier::Monitor>>,
    weight: AtomicU32,
    health: AtomicU8,
    /// Requests in flight from all workers: what LEAST_REQUEST compares.
    active: AtomicU32,
    /// Connections from all workers, those in the making too.
    connections: AtomicU32,
}

/// In an endpoint's health: outlier detection has ejected it.
const EJECTED: u8 = 0x80;
/// Health checks say that it is not well.
const FAILED: u8 = 0x40;
/// Health checks have not asked it yet.
const PENDING: u8 = 0x20;
/// Health checks say that it would rather not.
const DEGRADED: u8 = 0x10;
/// The last failed check had no answer in time.
const TIMED_OUT: u8 = 0x08;
/// Discovery does not know it any more; it stays as long as its checks succeed.
const LEAVING: u8 = 0x04;
/// What the control plane said.
const TOLD: u8 = 0x03;

impl Endpoint {
    /// A fresh endpoint without requests.
    pub fn new(address: Address, hostname: Option<Arc<str>>, weight: u32, health: Health) -> Self {
        Self::placed(address, hostname, None, 0, weight, health)
    }

    /// A fresh endpoint with its place.
    pub fn placed(
        address: Address,
        hostname: Option<Arc<str>>,
        locality: Option<Arc<Locality>>,
        priority: u32,
        weight: u32,
        health: Health,
    ) -> Self {
        let label = match &address {
            Address::Socket(addr) => addr.to_string().into(),
            Address::Pipe(path) => path.display().to_string().into(),
        };
        let (weight, health) = (AtomicU32::new(weight.max(1)), AtomicU8::new(health as u8));
        let (since, active, connections) = (Instant::now(), AtomicU32::new(0), AtomicU32::new(0));
        let (hash_key, metadata, check, logged, monitor) = (None, None, None, None, OnceLock::new());
        Self {
            address,
            hostname,
            locality,
            priority,
            label,
            hash_key,
            metadata,
            check,
            logged,
            since,
            monitor,
            weight,
            health,
            active,
            connections,
        }
    }

    /// Relative weight, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Health: what the control plane says, unless outlier detection has ejected it or health checks know better.
    pub fn health(&self) -> Health {
        let health = self.health.load(Ordering::Relaxed);
        match health & TOLD {
            _ if health & (EJECTED | FAILED) != 0 => Health::Unhealthy,
            0 if health & DEGRADED == 0 => Health::Healthy,
            0 | 1 => Health::Degraded,
            _ => Health::Unhealthy,
        }
    }

    /// Health as the control plane says.
    pub fn told_health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) & TOLD {
            0 => Health::Healthy,
            1 => Health::Degraded,
            _ => Health::Unhealthy,
        }
    }

    /// Takes weight and health of an update.
    pub(crate) fn update(&self, weight: u32, health: Health) {
        self.weight.store(weight.max(1), Ordering::Relaxed);
        self.set_flags(TOLD | LEAVING, health as u8);
    }

    /// Sets the bits of `mask` to those of `bits`; true when that changed any.
    fn set_flags(&self, mask: u8, bits: u8) -> bool {
        let next = |health: u8| Some(health & !mask | bits & mask);
        let before = self.health.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.is_ok_and(|before| before & mask != bits & mask)
    }

    fn has(&self, flag: u8) -> bool {
        self.health.load(Ordering::Relaxed) & flag != 0
    }

    /// It gets no traffic until it was asked how it is.
    pub(crate) fn await_check(&self) {
        self.set_flags(FAILED | PENDING, FAILED | PENDING);
    }

    /// It is asked no more: what checks have found is forgotten.
    pub(crate) fn forget_checks(&self) -> bool {
        self.set_flags(FAILED | PENDING | DEGRADED | TIMED_OUT, 0)
    }

    /// Health checks say that it is not well, or have not asked it yet.
    pub fn has_failed_check(&self) -> bool {
        self.has(FAILED)
    }

    /// Health checks have not asked it yet.
    pub fn awaits_check(&self) -> bool {
        self.has(PENDING)
    }

    /// Health checks say that it would rather not.
    pub fn is_degraded_by_check(&self) -> bool {
        self.has(DEGRADED)
    }

    /// Its last failed check had no answer in time.
    pub fn check_timed_out(&self) -> bool {
        self.has(TIMED_OUT)
    }

    /// Discovery does not know it any more.
    pub fn is_leaving(&self) -> bool {
        self.has(LEAVING)
    }

    /// A check failed (`true`: for want of an answer in time), or checks succeed again.
    pub(crate) fn set_failed_check(&self, failed: Option<bool>) {
        let timed_out = if failed == Some(true) { TIMED_OUT } else { 0 };
        self.set_flags(FAILED | TIMED_OUT, if failed.is_some() { FAILED | timed_out } else { 0 });
    }

    /// True when that changed it.
    pub(crate) fn set_degraded(&self, degraded: bool) -> bool {
        self.set_flags(DEGRADED, if degraded { DEGRADED } else { 0 })
    }

    /// True when that changed it.
    pub(crate) fn set_pending(&self, pending: bool) -> bool {
        self.set_flags(PENDING, if pending { PENDING } else { 0 })
    }

    /// Discovery does not know it any more.
    pub(crate) fn leave(&self) {
        self.set_flags(LEAVING, LEAVING);
    }

    /// True while outlier detection keeps it out.
    pub fn is_ejected(&self) -> bool {
        self.has(EJECTED)
    }

    /// Keeps it out, or takes it back; its set is then to be laid out again.
    pub(crate) fn set_ejected(&self, ejected: bool) {
        self.set_flags(EJECTED, if ejected { EJECTED } else { 0 });
    }

    /// Requests in flight.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections, those in the making too.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection in.
    pub(crate) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection out.
    pub(crate) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a request in.
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request out.
    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

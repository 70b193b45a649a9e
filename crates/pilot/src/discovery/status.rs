//! What is known of each connected proxy, and counters. Shown by `proxy-status`, debug pages and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meltemi_config::Str;
use meltemi_xds::pb::envoy::config::core::v3::Node as EnvoyNode;
use meltemi_xds::pb::envoy::config::core::v3::node::UserAgentVersionType;
use meltemi_xds::pb::google::protobuf::value;
use meltemi_xds::server::Event;

use super::role;
use crate::node::Node;

/// A connected proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Node id.
    pub id: Str,
    /// Name of the workload instance.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// `sidecar`, `router` or `grpc`.
    pub role: &'static str,
    /// Main address.
    pub address: Str,
    /// Name and version of the program.
    pub program: String,
    /// Where its admin interface listens, as its metadata says (`MELTEMI_ADMIN`); empty if it does not.
    pub admin: String,
    /// Whether it speaks delta.
    pub delta: bool,
    /// When it came.
    pub connected: Instant,
    /// By short name of the type (`CDS`).
    pub types: BTreeMap<String, TypeStatus>,
}

/// What became of the resources of one type.
#[derive(Debug, Clone, Default)]
pub struct TypeStatus {
    /// When the last response went out.
    pub sent: Option<Instant>,
    /// Its nonce.
    pub nonce: String,
    /// How many resources the client has with it.
    pub resources: usize,
    /// When a response was last taken.
    pub acknowledged: Option<Instant>,
    /// Why the last response was refused; `None` if it was not.
    pub error: Option<String>,
    /// How often a response was refused.
    pub rejections: u64,
    /// Whether the answer to the last response is still to come.
    pub pending: bool,
}

impl TypeStatus {
    /// `SYNCED`, `STALE` (sent, not yet answered), `REJECTED` or `NOT SENT`.
    pub fn state(&self) -> &'static str {
        match self {
            TypeStatus { sent: None, .. } => "NOT SENT",
            TypeStatus { pending: true, .. } => "STALE",
            TypeStatus { error: Some(_), .. } => "REJECTED",
            _ => "SYNCED",
        }
    }
}

impl Proxy {
    pub(super) fn new(node: &Node, envoy: &EnvoyNode, delta: bool) -> Proxy {
        Proxy {
            id: node.id.clone(),
            name: node.name.clone(),
            namespace: node.namespace.clone(),
            role: role(node),
            address: node.addresses.first().cloned().unwrap_or_default(),
            program: program(envoy),
            admin: admin(envoy),
            delta,
            connected: Instant::now(),
            types: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, event: Event<'_>) {
        let (Event::Sent { type_url, .. }
        | Event::Acknowledged { type_url, .. }
        | Event::Rejected { type_url, .. }) = event;
        let status = self.types.entry(short_name(type_url)).or_default();
        match event {
            Event::Sent { nonce, resources, .. } => {
                status.sent = Some(Instant::now());
                status.nonce = nonce.to_owned();
                status.resources = resources;
                status.pending = true;
            }
            Event::Acknowledged { .. } => {
                status.acknowledged = Some(Instant::now());
                status.error = None;
                status.pending = false;
            }
            Event::Rejected { message, .. } => {
                status.error = Some(message.to_owned());
                status.rejections += 1;
                status.pending = false;
            }
        }
    }
}

fn admin(envoy: &EnvoyNode) -> String {
    let said =
        envoy.metadata.as_ref().and_then(|metadata| metadata.fields.get("MELTEMI_ADMIN")?.kind.as_ref());
    match said {
        Some(value::Kind::StringValue(address)) => address.clone(),
        _ => String::new(),
    }
}

fn program(envoy: &EnvoyNode) -> String {
    let version = match &envoy.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            let version = build.version.as_ref();
            version.map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)).unwrap_or_default()
        }
        None => String::new(),
    };
    format!("{} {version}", envoy.user_agent_name).trim().to_owned()
}

/// `CDS` for clusters and so on; of an unknown type its last part.
pub fn short_name(type_url: &str) -> String {
    use meltemi_xds::type_url as url;
    match type_url {
        url::CLUSTER => "CDS",
        url::ENDPOINT => "EDS",
        url::LISTENER => "LDS",
        url::ROUTE => "RDS",
        url::VIRTUAL_HOST => "VHDS",
        url::SECRET => "SDS",
        other => other.rsplit('.').next().unwrap_or(other),
    }
    .to_owned()
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Snapshots published.
    pub changes: AtomicU64,
    /// Time changes were held back, in microseconds.
    pub debounced: AtomicU64,
    /// Time snapshots took, in microseconds.
    pub building: AtomicU64,
    /// Responses by type, in the order of [`TYPES`].
    pub sent: [AtomicU64; TYPES.len()],
    /// Responses refused, likewise.
    pub rejected: [AtomicU64; TYPES.len()],
}

/// Types that are counted apart; the last stands for all others.
pub const TYPES: [&str; 7] = ["cds", "eds", "lds", "rds", "vhds", "sds", "other"];

impl Counters {
    pub(super) fn pushed(&self, waited: Duration, took: Duration) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.debounced.fetch_add(micros(waited), Ordering::Relaxed);
        self.building.fetch_add(micros(took), Ordering::Relaxed);
    }

    pub(super) fn count(&self, event: &Event<'_>) {
        let (list, type_url) = match event {
            Event::Sent { type_url, .. } => (&self.sent, type_url),
            Event::Rejected { type_url, .. } => (&self.rejected, type_url),
            Event::Acknowledged { .. } => return,
        };
        let name = short_name(type_url).to_ascii_lowercase();
        let at = TYPES.iter().position(|known| *known == name).unwrap_or(TYPES.len() - 1);
        list[at].fetch_add(1, Ordering::Relaxed);
    }
}

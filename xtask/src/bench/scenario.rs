//! The scenarios, what each measures and what the proxy must reach.
//!
//! Invariant: every target names a metric that its scenario yields; `targets` is the only place with numbers to reach.

use std::{borrow::Cow, fmt};

use super::{hostile, peer::Peer};

/// A situation to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Scenario {
    Http1,
    Http1Log,
    Http2,
    #[value(name = "body-1mib")]
    Body1Mib,
    #[value(name = "body-1gb")]
    Body1Gb,
    #[value(name = "upload-1gb")]
    Upload1Gb,
    Memory,
    Start,
    BigConfig,
    XdsConfig,
    Routes,
    RoutesHosts,
    RoutesHeaders,
    RoutesRegex,
    RoutesIgnoreCase,
    RoutesTenants,
    Hostile,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("invariant: no scenario is hidden");
        f.write_str(value.get_name())
    }
}

/// One thing measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Metric {
    Cpu,
    CpuUser,
    CpuKernel,
    Throughput,
    P50,
    P99,
    Idle,
    /// What of it is the process's own, and shared with nobody (`RssAnon`).
    IdleOwn,
    PerConnection,
    Peak,
    Ready,
    /// Of the largest mesh.
    ReadyMany,
    IdleMany,
    CpuOneCluster,
    Growth,
    /// With so many routes.
    CpuOf(u32),
    /// That against ten routes.
    GrowthOf(u32),
    /// One request that a hostile pattern looks at, by the pattern's place in `hostile::PATTERNS`.
    Hostile(usize),
    /// The slowest of them.
    Worst,
    /// Of ordinary requests without hostile ones beside them.
    P99Alone,
}

impl Metric {
    /// Its name with the unit, as the table shows it.
    pub(super) fn label(self, scenario: Scenario) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Cpu if scenario == Scenario::Body1Mib => "CPU, µs/MiB",
            Self::Cpu => "CPU, µs/request",
            Self::CpuUser => "  user",
            Self::CpuKernel => "  kernel",
            Self::Throughput => "requests/s",
            Self::P50 => "p50, µs",
            Self::P99 => "p99, µs",
            Self::Idle if scenario == Scenario::XdsConfig => "S=1,000: resident, MB",
            Self::Ready if scenario == Scenario::XdsConfig => "S=1,000: ready, ms",
            Self::Idle => "resident, MB",
            Self::IdleOwn => "  its own",
            Self::ReadyMany => "S=5,000: ready, ms",
            Self::IdleMany => "S=5,000: resident, MB",
            Self::PerConnection => "KB/connection",
            Self::Peak => "peak, MB",
            Self::Ready => "ready, ms",
            Self::CpuOneCluster => "CPU, one cluster",
            Self::Growth => "CPU growth, ×",
            Self::CpuOf(size) => return Cow::Owned(format!("{size} routes, µs")),
            Self::GrowthOf(size) => return Cow::Owned(format!("  {size} : 10")),
            Self::Hostile(at) => return Cow::Owned(format!("{}, ms", hostile::PATTERNS[at].name)),
            Self::Worst => "the worst, ms",
            Self::P99Alone => "p99 without, µs",
        })
    }

    /// Its key in JSON.
    pub(super) fn key(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Cpu => "cpu_us",
            Self::CpuUser => "cpu_user_us",
            Self::CpuKernel => "cpu_kernel_us",
            Self::Throughput => "requests_per_s",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::Idle => "resident_mb",
            Self::IdleOwn => "resident_own_mb",
            Self::PerConnection => "kb_per_connection",
            Self::Peak => "peak_mb",
            Self::Ready => "ready_ms",
            Self::ReadyMany => "ready_many_ms",
            Self::IdleMany => "resident_many_mb",
            Self::CpuOneCluster => "cpu_one_cluster_us",
            Self::Growth => "cpu_growth",
            Self::CpuOf(size) => return Cow::Owned(format!("cpu_us_{size}")),
            Self::GrowthOf(size) => return Cow::Owned(format!("cpu_growth_{size}")),
            Self::Hostile(at) => return Cow::Owned(format!("{}_ms", hostile::PATTERNS[at].name)),
            Self::Worst => "worst_ms",
            Self::P99Alone => "p99_alone_us",
        })
    }
}

/// What Meltemi's median must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// At most this times Envoy's.
    Ratio(f64),
    /// At most this, in the metric's unit.
    Most(f64),
    /// Less than that peer's.
    Below(Peer),
}

impl Scenario {
    /// What it is, in a line.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1, 64 connections, 100-byte body, ten routes, no access log",
            Self::Http1Log => "as http1, with a text access log to a file",
            Self::Http2 => "HTTP/2 on both sides (nginx: HTTP/1.1 upstream), 16 connections × 4 streams",
            Self::Body1Mib => "bodies of 1 MiB, 16 connections",
            Self::Body1Gb => "one body of 1 GB",
            Self::Upload1Gb => "one request body of 1 GB",
            Self::Memory => "idle, then with 2,000 idle HTTP/1.1 connections",
            Self::Start => "from exec to ready",
            Self::BigConfig => "5,000 static clusters and 5,000 virtual hosts",
            Self::XdsConfig => "S services of two ports and five endpoints from our control plane",
            Self::Routes => "CPU of a request among routes with a prefix each",
            Self::RoutesHosts => "… among virtual hosts",
            Self::RoutesHeaders => "… among prefixes with two routes each, the first with a header condition",
            Self::RoutesRegex => "… among routes with a regular expression each",
            Self::RoutesIgnoreCase => "… among prefixes without regard to case",
            Self::RoutesTenants => "… among routes that one header's value tells apart",
            Self::Hostile => {
                "regular expressions and 64 KB values that are made to hurt; ordinary requests beside them"
            }
        }
    }

    /// Whether the peer takes part.
    pub(super) fn has(self, peer: Peer) -> bool {
        match peer {
            Peer::Meltemi | Peer::Envoy => true,
            Peer::Nginx | Peer::Haproxy => self < Self::BigConfig,
            Peer::Relay => self == Self::Http1,
        }
    }

    /// What must be reached.
    pub(super) fn targets(self) -> &'static [(Metric, Target)] {
        use Target::{Below, Most, Ratio};
        match self {
            Self::Http1 => &[
                (Metric::Cpu, Ratio(0.26)),
                (Metric::Cpu, Below(Peer::Nginx)),
                (Metric::Cpu, Below(Peer::Haproxy)),
            ],
            Self::Http1Log | Self::Http2 => &[(Metric::Cpu, Ratio(0.30))],
            Self::Body1Mib => &[(Metric::Cpu, Ratio(0.75))],
            Self::Body1Gb | Self::Upload1Gb => &[(Metric::Peak, Most(50.0))],
            Self::Memory => &[(Metric::Idle, Most(12.0)), (Metric::PerConnection, Most(4.0))],
            Self::Start => &[(Metric::Ready, Most(25.0))],
            Self::XdsConfig => &[
                (Metric::Idle, Most(30.0)),
                (Metric::Ready, Most(150.0)),
                (Metric::IdleMany, Most(90.0)),
                (Metric::ReadyMany, Most(600.0)),
            ],
            Self::Routes | Self::RoutesHosts | Self::RoutesHeaders => {
                &[(Metric::GrowthOf(10_000), Most(1.2))]
            }
            Self::RoutesRegex | Self::RoutesIgnoreCase => &[(Metric::GrowthOf(10_000), Most(1.2))],
            Self::RoutesTenants => &[],
            Self::Hostile => &[(Metric::Worst, Most(10.0))],
            Self::BigConfig => {
                &[(Metric::Growth, Most(1.05)), (Metric::Idle, Most(100.0)), (Metric::Ready, Most(500.0))]
            }
        }
    }
}

//! Active health checks: hosts are asked whether they are well, and those that are not get no traffic.
//!
//! The plane starts one [`watch`] per cluster that has checks and puts the cluster in force when every host was asked once.
//! Invariant: Envoy's rules (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>);
//! a cluster's hosts are asked from one task, which alone changes what is known of them.

mod probe;
mod streak;
mod task;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{route::strings::StringMatch, stats::groups::HealthCheckStats};

pub use self::{
    streak::{Change, Failure, Streak, Verdict},
    task::watch,
};

/// A compiled `HealthCheck`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `timeout` of a check.
    pub timeout: Duration,
    /// `interval`, of a host that is well.
    pub interval: Duration,
    /// `initial_jitter` before the first check.
    pub initial_jitter: Duration,
    /// `interval_jitter`, added at random.
    pub jitter: Duration,
    /// `interval_jitter_percent`, likewise.
    pub jitter_percent: u32,
    /// `unhealthy_threshold`.
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`.
    pub healthy_threshold: u32,
    /// `reuse_connection`, default true.
    pub reuse: bool,
    /// `no_traffic_interval`, default 60 s, and `no_traffic_healthy_interval`, default the same.
    pub no_traffic: (Duration, Duration),
    /// `unhealthy_interval`, default `interval`, and `unhealthy_edge_interval`, default `unhealthy_interval`.
    pub unhealthy: (Duration, Duration),
    /// `healthy_edge_interval`, default `interval`.
    pub healthy_edge: Duration,
    /// `alt_port`.
    pub port: Option<u16>,
    /// What is asked.
    pub check: Check,
}

/// What is asked, and which answer is good.
#[derive(Debug, Clone)]
pub enum Check {
    /// `http_health_check`
    Http(Box<HttpCheck>),
    /// `grpc_health_check`
    Grpc(Box<GrpcCheck>),
    /// `tcp_health_check`
    Tcp(TcpCheck),
}

/// `HttpHealthCheck`.
#[derive(Debug, Clone)]
pub struct HttpCheck {
    /// `host`; empty is the host's own or the cluster's name.
    pub host: Arc<str>,
    /// `path`
    pub path: Arc<str>,
    /// `method`, default GET.
    pub method: http::Method,
    /// `request_headers_to_add`: name, value.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// `request_headers_to_remove`
    pub without: Vec<http::HeaderName>,
    /// `expected_statuses`, half open; default 200.
    pub expected: Vec<(u16, u16)>,
    /// `retriable_statuses`, likewise: they count towards the threshold only.
    pub retriable: Vec<(u16, u16)>,
    /// `codec_client_type: HTTP2`
    pub http2: bool,
    /// `service_name_matcher`
    pub service: Option<StringMatch>,
    /// `receive`: what the body must contain, in order, and `response_buffer_size`.
    pub receive: (Vec<Vec<u8>>, usize),
}

/// `GrpcHealthCheck`.
#[derive(Debug, Clone)]
pub struct GrpcCheck {
    /// `service_name`
    pub service: Arc<str>,
    /// `authority`; empty is the host's own or the cluster's name.
    pub authority: Arc<str>,
    /// `initial_metadata`
    pub metadata: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// `TcpHealthCheck`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpCheck {
    /// `send`
    pub send: Vec<u8>,
    /// `receive`: what must come, in order, whatever lies between.
    pub receive: Vec<Vec<u8>>,
}

/// `Endpoint.health_check_config`: where a host is asked, if not where it serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CheckAt {
    /// `port_value`
    pub port: Option<u16>,
    /// `address`
    pub address: Option<SocketAddr>,
    /// `hostname`
    pub hostname: Option<Arc<str>>,
    /// `disable_active_health_check`
    pub disabled: bool,
}

/// A cluster's checks.
#[derive(Debug)]
pub struct Checker {
    /// What is asked and how often.
    pub settings: Arc<Settings>,
    /// `cluster.<stat_name>.health_check.`
    pub stats: HealthCheckStats,
    /// Hosts have come or gone.
    pub(super) moved: tokio::sync::Notify,
}

impl Checker {
    /// A checker that has asked nobody yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, stats: HealthCheckStats::default(), moved: tokio::sync::Notify::new() }
    }

    /// Hosts have come or gone.
    pub fn follow(&self) {
        self.moved.notify_one();
    }
}

impl Settings {
    /// How long to wait before the next check of a host.
    pub fn pause(&self, healthy: bool, change: Change, used: bool, random: &mut fastrand::Rng) -> Duration {
        let edge = change == Change::Pending;
        let base = match (used, healthy) {
            (true, true) => {
                if edge {
                    self.healthy_edge
                } else {
                    self.interval
                }
            }
            (true, false) => {
                if edge {
                    self.unhealthy.1
                } else {
                    self.unhealthy.0
                }
            }
            (false, true) if !edge => self.no_traffic.1,
            (false, _) => self.no_traffic.0,
        };
        let percent = base.as_millis() as u64 * u64::from(self.jitter_percent) / 100;
        let jitter = self.jitter.as_millis() as u64;
        let mut draw = |most: u64| if most > 0 { random.u64(..most) } else { 0 };
        let more = draw(jitter) + draw(percent);
        (base + Duration::from_millis(more)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let second = Duration::from_secs;
        Settings {
            timeout: second(1),
            interval: second(10),
            initial_jitter: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_percent: 0,
            unhealthy_threshold: 2,
            healthy_threshold: 2,
            reuse: true,
            no_traffic: (second(60), second(61)),
            unhealthy: (second(20), second(21)),
            healthy_edge: second(11),
            port: None,
            check: Check::Tcp(TcpCheck { send: Vec::new(), receive: Vec::new() }),
        }
    }

    #[test]
    fn pauses() {
        let mut random = fastrand::Rng::with_seed(1);
        let settings = settings();
        for (healthy, change, used, seconds) in [
            (true, Change::None, true, 10),
            (true, Change::Pending, true, 11),
            (true, Change::Changed, true, 10),
            (false, Change::None, true, 20),
            (false, Change::Pending, true, 21),
            (true, Change::None, false, 61),
            (true, Change::Pending, false, 60),
            (false, Change::Changed, false, 60),
        ] {
            let pause = settings.pause(healthy, change, used, &mut random);
            assert_eq!(pause, Duration::from_secs(seconds), "{healthy} {change:?} {used}");
        }
        let jittered = Settings { jitter: Duration::from_secs(5), jitter_percent: 50, ..settings };
        for _ in 0..100 {
            let pause = jittered.pause(true, Change::None, true, &mut random);
            assert!(pause >= Duration::from_secs(10) && pause < Duration::from_secs(20), "{pause:?}");
        }
    }
}

//! `/stats` of our proxy and of an Envoy with the same bootstrap after the same traffic: the same names, and the same
//! values where nothing but the traffic decides them; and the same families and labels for Prometheus. What differs is
//! listed with its reason.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use meltemi_testkit::{peers, ports, proxy::Proxy};
use regex::Regex;

/// Names that only Envoy has, and why. Each line must be needed.
const ONLY_ENVOY: &[(&str, &str)] = &[
    (
        r"^(listener\.admin|http\.admin)\.",
        "admin is no HTTP connection manager here and does not count itself",
    ),
    (r"^http\.async-client\.", "Envoy's client for its own filters; there is none here"),
    (r"_http3_|upstream_http3_broken|0rtt", "no HTTP/3"),
    (r"watchdog", "workers are watched by nobody: there is no code of others in them"),
    (
        r"^runtime\.|^overload\.|^envoy\.overload_actions|overload",
        "no runtime layers and no overload manager",
    ),
    (r"^filesystem\.", "access log files have a writer thread without statistics"),
    (r"^thread_local_cluster_manager\.", "clusters are not copied to workers"),
    (
        r"^http1\.|\.http1\.",
        "headers with underscores are not counted, metadata are not refused; floods are bounded by reading",
    ),
    (r"tracing", "no tracing yet"),
    (r"passthrough_internal_redirect|^cluster\..*internal_redirect", "no internal redirects"),
    (r"_bytes_buffered$", "no memory is held for a connection beside the message on its way"),
    (
        r"^server\.(compilation|debug_assertion|envoy_|dropped_stat|dynamic_unknown|static_unknown|wip_protos)",
        "about Envoy's own build",
    ),
    (
        r"^server\.(hot_restart_generation|stats_recent_lookups|version)$",
        "no hot restart; names are never looked up; versions are no numbers",
    ),
    (
        r"total_match_count$|assignment_use_cached$|upstream_cx_preconnect_skipped$",
        "no cluster matchers, no cached assignments, no preconnect",
    ),
    (
        r"upstream_rq_per_cx$|upstream_queue_|upstream_rq_rx_reset_no_error$",
        "newer than what the documentation lists; not counted yet",
    ),
    (r"connections_accepted_per_socket_event$", "the accept loop takes one connection at a time"),
    (r"extension_config_missing$", "no extension discovery"),
    (
        r"^listener_manager\.(total_filter_chains_draining|total_listeners_draining|workers_pinned)$",
        "draining is each worker's own; threads are not pinned",
    ),
    (
        r"downstream_cx_http1_soft_drain$|rejected_via_ip_detection$|premature_resets$|rs_too_large$",
        "refusals that cannot happen here",
    ),
];

/// Values that the traffic alone does not decide.
const NOT_COMPARED: &str = r"(?x) ^server\. | _ms$ | _time$ | update_time | \.version$ | rq_pending | _bytes_ | cx_active$
    | membership_change | max_host_weight | ^listener_manager\.listener_create_success | warming_state";

const YAML: &str = r#"
static_resources:
  listeners:
  - name: test
    address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            name: test
            virtual_hosts:
            - name: all
              domains: ["*"]
              virtual_clusters:
              - { name: getting, headers: [{ name: ":method", string_match: { exact: GET } }] }
              - { name: nobody, headers: [{ name: x-nobody }] }
              routes:
              - { match: { path: /old }, redirect: { path_redirect: / } }
              - { match: { path: / }, route: { cluster: backend }, stat_prefix: front }
  clusters:
  - { name: backend, type: STATIC, load_assignment: { cluster_name: backend, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: BACKEND } } } }] }] } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_are_envoys() {
    if peers::require("envoy").is_none() {
        return;
    }
    let (ours, our_series) = statistics(Proxy::Meltemi).await;
    let (theirs, their_series) = statistics(Proxy::Envoy).await;

    let listed: Vec<Regex> = ONLY_ENVOY.iter().map(|(names, _)| Regex::new(names).unwrap()).collect();
    let missing: Vec<_> = theirs.keys().filter(|name| !ours.contains_key(*name)).collect();
    let unlisted: Vec<_> =
        missing.iter().filter(|name| !listed.iter().any(|regex| regex.is_match(name))).collect();
    assert!(unlisted.is_empty(), "only Envoy has: {unlisted:#?}");
    for (regex, (names, _)) in listed.iter().zip(ONLY_ENVOY) {
        assert!(missing.iter().any(|name| regex.is_match(name)), "not needed any more: {names}");
    }
    let more: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(more.is_empty(), "only ours has: {more:#?}");

    assert!(our_series.len() > 300, "{} series", our_series.len());
    let more: Vec<_> = our_series.difference(&their_series).collect();
    assert!(more.is_empty(), "only ours has for Prometheus: {more:#?}");

    let free = Regex::new(NOT_COMPARED).unwrap();
    let compared: Vec<_> =
        ours.iter().filter(|(name, value)| !free.is_match(name) && value.parse::<u64>().is_ok()).collect();
    assert!(compared.len() > 150, "{} values", compared.len());
    let other: Vec<_> = compared
        .into_iter()
        .filter(|(name, value)| theirs[*name] != **value)
        .map(|(name, value)| format!("{name}: {value}, Envoy {}", theirs[name]))
        .collect();
    assert!(other.is_empty(), "{other:#?}");
}

/// What a proxy says after the traffic: its statistics by name, and its series for Prometheus.
async fn statistics(proxy: Proxy) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let port = ports::free();
    let values = [("PORT", port), ("BACKEND", backend())];
    let yaml =
        values.iter().fold(YAML.to_owned(), |text, (key, value)| text.replace(key, &value.to_string()));
    let proxy = proxy.start(env!("CARGO_BIN_EXE_meltemi"), &yaml, folder.path()).await;
    traffic(port);
    proxy.until("http.test.downstream_cx_destroy", 1).await;
    let series = series(&proxy.get("/stats/prometheus").await.body, port);
    (parse(&proxy.get("/stats").await.body, port), series)
}

/// A server whose answers are all alike.
fn backend() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while exchange(&mut stream).is_some() {});
        }
    });
    port
}

fn exchange(stream: &mut TcpStream) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok()
}

/// Two answers of the backend, a redirect and a 404 on one connection that the client closes.
fn traffic(port: u16) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for (path, status) in [("/", "200"), ("/", "200"), ("/old", "301"), ("/none", "404")] {
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let head = String::from_utf8(answer).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {head}");
        if status == "200" {
            stream.read_exact(&mut [0; 2]).unwrap();
        }
    }
}

/// Families with their types and series with their labels, with the listener's port made one.
fn series(answer: &str, port: u16) -> BTreeSet<String> {
    let port = format!("_{port}\"");
    let lines = answer.lines().filter(|line| line.starts_with("# TYPE") || line.starts_with("envoy_"));
    let named = |line: &str| match line.strip_prefix('#') {
        Some(kind) => kind.to_owned(),
        None => {
            let series = line.rsplit_once(' ').map_or(line, |(series, _)| series).replace(&port, "_PORT\"");
            sorted(&series)
        }
    };
    lines.map(named).collect()
}

/// A series with its labels in order, which means nothing to Prometheus.
fn sorted(series: &str) -> String {
    let Some((name, labels)) = series.strip_suffix('}').and_then(|series| series.split_once('{')) else {
        return series.to_owned();
    };
    let mut labels: Vec<_> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// By name, with the listener's port made one.
fn parse(answer: &str, port: u16) -> BTreeMap<String, String> {
    let port = format!("_{port}.");
    let name = Regex::new(r"^[a-z_0-9]+(\.[^ ]+)+: ").unwrap();
    let lines = answer.lines().filter(|line| name.is_match(line));
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.replace(&port, "_PORT."), value.to_owned()))
        .collect()
}

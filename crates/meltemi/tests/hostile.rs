//! Peers that mean harm: floods, bombs, heads and readers that never end. Each is shown the door as Envoy shows it, costs
//! a bounded amount of memory, and is not felt by others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use attacks::{ATTACKS, Attack};
use meltemi_testkit::{
    peers, ports,
    proxy::{Proxy, Running},
    raw,
};

#[path = "hostile/attacks.rs"]
mod attacks;

const PATIENCE: Duration = Duration::from_secs(30);

const YAML: &str = r#"
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: t
          http2_protocol_options: { max_concurrent_streams: 100 }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - { name: v, domains: ["*"], routes: [ { match: { prefix: /flood }, route: { cluster: flood, timeout: 0s } }, { match: { prefix: / }, route: { cluster: c, timeout: 0s } } ] }
  clusters:
  - name: c
    type: STATIC
    circuit_breakers: { thresholds: [ { max_connections: 20000, max_requests: 20000, max_pending_requests: 20000 } ] }
    load_assignment: { cluster_name: c, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: BACKEND } } } }] }] }
  - name: flood
    type: STATIC
    typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: { http2_protocol_options: {} } } }
    load_assignment: { cluster_name: flood, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: FLOOD } } } }] }] }
"#;

/// A proxy that is attacked.
struct Victim {
    proxy: Running,
    port: u16,
}

impl Victim {
    async fn start(proxy: Proxy, backend: u16, folder: &Path) -> Self {
        Self::before(proxy, backend, backend, folder).await
    }

    /// Before an endpoint for HTTP/1, and one for HTTP/2.
    async fn before(proxy: Proxy, backend: u16, flood: u16, folder: &Path) -> Self {
        let port = ports::free();
        let values = [("PORT", port), ("BACKEND", backend), ("FLOOD", flood)];
        let yaml =
            values.iter().fold(YAML.to_owned(), |text, (key, value)| text.replace(key, &value.to_string()));
        Self { proxy: proxy.start(env!("CARGO_BIN_EXE_meltemi"), &yaml, folder).await, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Resident memory of its own (`RssAnon`), KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// True when an honest client is served.
    async fn serves(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        raw::get(address, "/", PATIENCE).await.is_ok_and(|answer| answer.status == 200)
    }

    /// How a connection ends that does this.
    fn suffer(&self, attack: &Attack, patience: Duration) -> End {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = attacks::opening();
        (attack.frames)(&mut bytes);
        // The proxy may close before it has read everything.
        let written = stream.write_all(&bytes).is_ok();
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        let closed = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => break false,
                Err(_) => break true,
            }
        };
        End { closed, goaway: attacks::goaway(&answer), written }
    }
}

/// How a proxy dealt with a connection.
#[derive(Debug)]
struct End {
    closed: bool,
    goaway: Option<u32>,
    /// All of the attack could be written.
    #[allow(dead_code, reason = "shown when an expectation fails")]
    written: bool,
}

/// Answers `/` with two bytes, and everything else with a body that never ends.
fn backend() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || while answer(&stream).is_some() {});
        }
    });
    port
}

fn answer(mut stream: &TcpStream) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    if head.starts_with(b"GET / ") {
        return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").ok()?;
    let zeros = vec![0; 64 * 1024];
    loop {
        stream.write_all(&zeros).ok()?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_and_bombs_end_the_connection_as_in_envoy() {
    let folder = tempfile::tempdir().unwrap();
    let backend = backend();
    let ours = Victim::start(Proxy::Meltemi, backend, folder.path()).await;
    let theirs = match peers::require("envoy") {
        Some(_) => Some(Victim::start(Proxy::Envoy, backend, folder.path()).await),
        None => None,
    };
    let (before, mut differ) = (ours.memory(), Vec::new());
    for attack in ATTACKS {
        let end = ours.suffer(attack, PATIENCE);
        assert!(end.closed, "{}: {end:?}", attack.name);
        // A reset may overtake what was said before it.
        assert!(end.goaway.is_none_or(|code| code == attack.code), "{}: {end:?}", attack.name);
        if let Some(statistic) = attack.statistic {
            ours.proxy.until(statistic, 1).await;
        }
        if let Some(theirs) = &theirs {
            let end = theirs.suffer(attack, if attack.in_envoy { PATIENCE } else { Duration::from_secs(1) });
            if end.closed != attack.in_envoy {
                differ.push((attack.name, end));
            }
        }
        assert!(ours.serves().await, "after {}", attack.name);
    }
    assert!(differ.is_empty(), "Envoy: {differ:#?}");
    let grown = ours.memory().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB after all attacks");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_never_end_hold_little_more_than_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::start(Proxy::Meltemi, backend(), folder.path()).await;
    assert!(victim.serves().await);
    let count = 1000;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-slow: {}", "z".repeat(1000));
    let before = victim.memory();
    let mut slow: Vec<_> = (0..count).map(|_| victim.connect()).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
    }
    // Bytes are counted when they are read.
    victim.proxy.until("http.t.downstream_cx_rx_bytes_total", (count * head.len()) as i64).await;
    let each = victim.memory().saturating_sub(before) as f64 / count as f64;
    assert!(each < 8.0, "{each} KiB for each head of 1 KB");
    assert!(victim.serves().await);
    // What was slow may still be honest.
    let mut stream = slow.pop().unwrap();
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_hold_one_buffer_each() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::start(Proxy::Meltemi, backend(), folder.path()).await;
    assert!(victim.serves().await);
    let before = victim.memory();
    let count = 40;
    let mut slow: Vec<_> = (0..count).map(|_| victim.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut begun = [0; 15];
        stream.read_exact(&mut begun).unwrap();
    }
    let each = at_rest(&victim).saturating_sub(before) / count;
    assert!(each < 320, "{each} KiB for each reader that does not read");
    assert!(victim.serves().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_with_large_windows_and_no_reader_hold_a_bounded_queue() {
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::start(Proxy::Meltemi, backend(), folder.path()).await;
    assert!(victim.serves().await);
    for (name, opening) in [
        ("open windows", attacks::wide_open()),
        ("windows of 16 MiB", attacks::generous()),
        ("shut windows", attacks::shut()),
    ] {
        let before = victim.memory();
        let requests = victim.proxy.stat("http.t.downstream_rq_total").await;
        let mut stream = victim.connect();
        let mut bytes = opening;
        let streams = 100;
        attacks::requests(streams, "/endless", &mut bytes);
        stream.write_all(&bytes).unwrap();
        victim.proxy.until("http.t.downstream_rq_total", requests + i64::from(streams)).await;
        let grown = at_rest(&victim).saturating_sub(before);
        assert!(grown < 16 * 1024, "{name}: {grown} KiB for {streams} streams of one connection");
        assert!(victim.serves().await);
    }
}

/// What an HTTP/2 endpoint leaves of the windows that it was given.
#[derive(Clone, Copy, PartialEq)]
enum Flood {
    /// It fills them, and sends no more.
    Fills,
    /// It sends and sends.
    Ignores,
}

/// An HTTP/2 endpoint that answers each request with a body that never ends, and says when a connection has.
fn flood(kind: Flood) -> (u16, mpsc::Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (over, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, over) = (stream.unwrap(), over.clone());
            thread::spawn(move || {
                pour(stream, kind);
                // The test may be over too.
                let _ = over.send(());
            });
        }
    });
    (port, told)
}

/// The proxy's windows: what Envoy's defaults are, of a stream and of a connection.
const WINDOWS: (usize, usize) = (16 << 20, 24 << 20);

/// Ends when the connection does.
fn pour(mut stream: TcpStream, kind: Flood) -> Option<()> {
    let mut bytes = vec![0; 24];
    stream.read_exact(&mut bytes).ok()?;
    stream.write_all(&attacks::settings()).ok()?;
    bytes.clear();
    let (mut left, mut room) = (WINDOWS.1, vec![0; 64 * 1024]);
    loop {
        while let Some((frame, id, len)) = attacks::frame_at(&bytes) {
            bytes.drain(..len);
            if !attacks::is_headers(frame) {
                continue;
            }
            let mut out = Vec::new();
            attacks::answer_head(id, &mut out);
            stream.write_all(&out).ok()?;
            let mut of_stream = WINDOWS.0;
            while kind == Flood::Ignores || left.min(of_stream) >= 16 * 1024 {
                out.clear();
                attacks::answer_data(id, &mut out);
                stream.write_all(&out).ok()?;
                left = left.saturating_sub(16 * 1024);
                of_stream = of_stream.saturating_sub(16 * 1024);
            }
        }
        let n = stream.read(&mut room).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&room[..n]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_flood_fill_the_windows_that_they_were_given_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let backend = backend();
    for kind in [Flood::Fills, Flood::Ignores] {
        let (port, over) = flood(kind);
        let victim = Victim::before(Proxy::Meltemi, backend, port, folder.path()).await;
        assert!(victim.serves().await);
        let before = victim.memory();
        let mut stream = victim.connect();
        let mut bytes = attacks::opening();
        attacks::requests(4, "/flood", &mut bytes);
        stream.write_all(&bytes).unwrap();
        match kind {
            // As much as it may: the first stream's window, and what is left of the connection's.
            Flood::Fills => {
                let filled = WINDOWS.1 as i64 - (128 << 10);
                victim.proxy.until("cluster.flood.upstream_cx_rx_bytes_total", filled).await;
            }
            Flood::Ignores => {
                tokio::task::spawn_blocking(move || over.recv_timeout(PATIENCE)).await.unwrap().unwrap();
            }
        }
        let grown = at_rest(&victim).saturating_sub(before);
        assert!(grown < 2 * WINDOWS.1 as u64 / 1024, "{grown} KiB for an endpoint that floods");
        assert!(victim.serves().await);
        drop(stream);
    }
}

/// Memory once it does not grow any more.
fn at_rest(victim: &Victim) -> u64 {
    let (mut last, mut same) = (victim.memory(), 0);
    let deadline = Instant::now() + PATIENCE;
    while same < 10 && Instant::now() < deadline {
        thread::park_timeout(Duration::from_millis(30));
        let now = victim.memory();
        same = if now > last { 0 } else { same + 1 };
        last = now.max(last);
    }
    last
}

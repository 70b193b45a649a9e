//! Regular expressions that are made to hurt, each shown a 64 KB value that fits it badly, and what that does to ordinary requests
//! of the same worker.
//!
//! Called by `round`. Invariant: one hostile request at a time; every load ends by itself.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{
    Bench, load,
    load::Ask,
    peer::{self, Peer, Shape, Table},
    scenario::Metric,
};

/// Bytes of a hostile value.
const LENGTH: usize = 64_000;
/// Requests of each pattern; their median counts.
const REPEATS: usize = 5;

/// A hostile pattern with the value that suits it.
pub(super) struct Pattern {
    pub(super) name: &'static str,
    regex: fn() -> String,
    value: fn() -> String,
    /// Whether the value is the path and not a header.
    path: bool,
}

/// All of them; the last is as costly as the limit of a program allows.
pub(super) const PATTERNS: [Pattern; 6] = [
    Pattern { name: "(a+)+$", regex: || "(a+)+$".into(), value: nearly, path: false },
    Pattern { name: "/(.*)*x", regex: || "/(.*)*x".into(), value: || format!("/{}", nearly()), path: true },
    Pattern { name: "words", regex: words, value: wrong_words, path: false },
    Pattern { name: "[ab]*a[ab]{18}", regex: || explosive(18), value: coins, path: false },
    Pattern { name: "repeats", regex: || "((a{0,9}){0,9}){0,2}c".into(), value: nearly, path: false },
    Pattern { name: "[ab]*a[ab]{90}", regex: || explosive(90), value: coins, path: false },
];

fn nearly() -> String {
    format!("{}!", "a".repeat(LENGTH - 1))
}

/// Its DFA has two to the `count` states.
fn explosive(count: usize) -> String {
    format!("[ab]*a[ab]{{{count}}}c")
}

fn coins() -> String {
    let mut state = 12_345_u64;
    let mut toss = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if state >> 40 & 1 == 0 { 'a' } else { 'b' }
    };
    (0..LENGTH).map(|_| toss()).collect()
}

fn words() -> String {
    let all: Vec<String> = (0..100).map(|n| format!("word{n:02}")).collect();
    format!(".*({}).*", all.join("|"))
}

fn wrong_words() -> String {
    (0..LENGTH / 6).map(|n| format!("word{}x", n % 10)).collect()
}

/// The virtual host that has them, and a route for everything else.
pub(super) fn virtual_hosts() -> anyhow::Result<String> {
    let mut routes = String::new();
    for (at, pattern) in PATTERNS.iter().enumerate() {
        let regex = (pattern.regex)();
        let answer = "direct_response: { status: 200 }";
        // Writing to a string cannot fail.
        let _ = match pattern.path {
            true => {
                writeln!(
                    routes,
                    "              - {{ match: {{ safe_regex: {{ regex: '{regex}' }} }}, {answer} }}"
                )
            }
            false => writeln!(
                routes,
                "              - {{ match: {{ path: /{at}, headers: [{{ name: x-value, string_match: \
                 {{ safe_regex: {{ regex: '{regex}' }} }} }}] }}, {answer} }}"
            ),
        };
    }
    peer::fill("hostile.yaml", &[("ROUTES", routes)])
}

/// Measures once: each pattern alone; ordinary requests alone; ordinary requests beside the costliest pattern.
pub(super) fn run(bench: &Bench, peer: Peer, shape: Shape) -> anyhow::Result<Vec<(Metric, f64)>> {
    let proxy = peer::start(bench, peer, Shape { table: Table::Hostile, ..shape })?;
    let ask = Ask::new(proxy.port, "/", "bench", 16);
    let wrk = |length| load::wrk(bench.load_core, &bench.programs.wrk, &ask, length);
    wrk(Duration::from_secs(1))?;
    let alone = wrk(bench.length)?;
    let mut values = Vec::new();
    let mut client = load::connect(proxy.port)?;
    let mut worst = (0, 0.0);
    for (at, pattern) in PATTERNS.iter().enumerate() {
        let mut times = Vec::new();
        for _ in 0..REPEATS {
            times.push(one(&mut client, &request(at, pattern))?.as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let median = times[REPEATS / 2];
        values.push((Metric::Hostile(at), median));
        if median > worst.1 {
            worst = (at, median);
        }
    }
    let request = request(worst.0, &PATTERNS[worst.0]);
    let over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let hostile = scope.spawn(|| -> anyhow::Result<()> {
            while !over.load(Ordering::Relaxed) {
                one(&mut client, &request)?;
            }
            Ok(())
        });
        let beside = wrk(bench.length);
        over.store(true, Ordering::Relaxed);
        hostile.join().map_err(|_| anyhow::anyhow!("the hostile client panicked"))??;
        beside
    })?;
    values.push((Metric::Worst, worst.1));
    values.push((Metric::P99Alone, alone.p99));
    values.push((Metric::P99, beside.p99));
    Ok(values)
}

fn request(at: usize, pattern: &Pattern) -> String {
    let value = (pattern.value)();
    match pattern.path {
        true => format!("GET {value} HTTP/1.1\r\nhost: bench\r\n\r\n"),
        false => format!("GET /{at} HTTP/1.1\r\nhost: bench\r\nx-value: {value}\r\n\r\n"),
    }
}

/// Sends a request and waits for its answer, which is a route's.
fn one(stream: &mut TcpStream, request: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16_384]);
    let (end, length) = loop {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        break (end + 4, length.unwrap_or(0));
    };
    let took = began.elapsed();
    while answer.len() < end + length {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "closed within a body");
        answer.extend_from_slice(&buffer[..read]);
    }
    let status = String::from_utf8_lossy(&answer[..12.min(answer.len())]).into_owned();
    ensure!(status == "HTTP/1.1 200", "answered {status}");
    Ok(took)
}

//! What a request costs with 10, 100, 1,000 and 10,000 routes, requests spread over all of them.
//!
//! Called by `round`. Invariant: both proxies get the same routes, and every request takes one (all else would be no 2xx).

use std::fmt::Write as _;

use super::{
    Bench, load,
    load::Ask,
    measure::{Cpu, settle},
    peer::{self, Peer, Shape, Table},
    scenario::Metric,
};

/// Routes of a curve's points.
pub(super) const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];
/// Connections of the load.
const CONNECTIONS: u32 = 64;

/// What tells the routes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    /// A prefix of the path each.
    Prefixes,
    /// A virtual host each.
    Hosts,
    /// A prefix for two, of which the first asks for a header too.
    Headers,
    /// A regular expression each, with a literal beginning.
    Regexes,
    /// The path's prefix, without regard to case.
    IgnoringCase,
    /// The value of one header each: no path to tell them apart.
    Tenants,
}

impl Curve {
    /// The virtual hosts, as YAML in the place of bench/virtual_host.yaml.
    pub(super) fn virtual_hosts(self, count: usize) -> String {
        let mut text = String::new();
        if self != Self::Hosts {
            text.push_str(
                "            - name: bench\n              domains: [\"*\"]\n              routes:\n",
            );
        }
        for n in 0..count {
            let forward = "route: { cluster: backend } }";
            // Writing to a string cannot fail.
            let _ = match self {
                Self::Prefixes => {
                    writeln!(text, "              - {{ match: {{ prefix: \"/svc-{n}/\" }}, {forward}")
                }
                Self::IgnoringCase => writeln!(
                    text,
                    "              - {{ match: {{ prefix: \"/svc-{n}/\", case_sensitive: false }}, {forward}"
                ),
                Self::Hosts => writeln!(
                    text,
                    "            - {{ name: \"{n}\", domains: [svc-{n}.bench.example], \
                     routes: [{{ match: {{ prefix: / }}, {forward}] }}"
                ),
                Self::Headers => {
                    let of = n / 2;
                    let canary = ", headers: [{ name: x-version, string_match: { exact: v2 } }]";
                    let also = if n % 2 == 0 { canary } else { "" };
                    writeln!(text, "              - {{ match: {{ prefix: \"/svc-{of}/\"{also} }}, {forward}")
                }
                Self::Regexes => writeln!(
                    text,
                    "              - {{ match: {{ safe_regex: {{ regex: \"/svc-{n}/[^/]+/items\" }} }}, {forward}"
                ),
                Self::Tenants => writeln!(
                    text,
                    "              - {{ match: {{ prefix: /, headers: [{{ name: host, string_match: \
                     {{ exact: svc-{n}.bench.example }} }}] }}, {forward}"
                ),
            };
        }
        text
    }

    /// wrk's script for that many routes.
    fn script(self, count: usize) -> anyhow::Result<String> {
        let (count, path, host) = match self {
            Self::Prefixes | Self::IgnoringCase => (count, "/svc-%d/1", "bench"),
            Self::Hosts | Self::Tenants => (count, "/", "svc-%d.bench.example"),
            Self::Headers => (count / 2, "/svc-%d/1", "bench"),
            Self::Regexes => (count, "/svc-%d/1/items", "bench"),
        };
        let values = [("COUNT", count.to_string()), ("PATH", path.into()), ("HOST", host.into())];
        peer::fill("routes.lua", &values)
    }
}

/// Measures all points once.
pub(super) fn run(
    bench: &Bench,
    peer: Peer,
    shape: Shape,
    curve: Curve,
) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut points = Vec::new();
    for size in SIZES {
        let proxy = peer::start(bench, peer, Shape { table: Table::Curve(curve, size as usize), ..shape })?;
        settle();
        let script = bench.folder.join("routes.lua");
        std::fs::write(&script, curve.script(size as usize)?)?;
        let ask = Ask { script: Some(&script), ..Ask::new(proxy.port, "/", "bench", CONNECTIONS) };
        let wrk = |length| load::wrk(bench.load_core, &bench.programs.wrk, &ask, length);
        wrk(std::time::Duration::from_secs(1))?;
        let before = Cpu::of(proxy.guard.id())?;
        let seen = wrk(bench.length)?;
        let used = Cpu::of(proxy.guard.id())?.since(before);
        points.push((size, (used.user + used.kernel) * 1e6 / seen.requests));
    }
    let (_, smallest) = points[0];
    let growth = points[1..].iter().map(|(size, cpu)| (Metric::GrowthOf(*size), cpu / smallest));
    Ok(points.iter().map(|(size, cpu)| (Metric::CpuOf(*size), *cpu)).chain(growth).collect())
}

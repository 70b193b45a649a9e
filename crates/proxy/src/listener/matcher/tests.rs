//! Filter chain matching: a table of Envoy's documented precedence, and the index against a naive oracle.

use std::{net::SocketAddr, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::listener::{TcpProxy, Terminal};

fn chain(name: &str) -> Arc<FilterChain> {
    let tcp = TcpProxy {
        stat_prefix: "t".into(),
        clusters: Vec::new(),
        idle_timeout: None,
        max_connect_attempts: 1,
        hash_source_ip: false,
        backoff: None,
        duration_jitter: 0,
        log_times: Default::default(),
        max_duration: None,
        tunnel: None,
        sni: Default::default(),
        access_log: Vec::new(),
    };
    let terminal = Terminal::Tcp(Arc::new(tcp));
    Arc::new(FilterChain {
        name: name.into(),
        limits: Vec::new(),
        terminal,
        connect_timeout: None,
        metadata: None,
    })
}

fn prefix(text: &str) -> IpPrefix {
    let (address, len) = text.split_once('/').unwrap();
    IpPrefix { address: address.parse().unwrap(), len: len.parse().unwrap() }
}

fn names(of: &[&str]) -> Vec<Arc<str>> {
    of.iter().map(|name| Arc::from(*name)).collect()
}

#[derive(Debug)]
struct Call {
    destination: SocketAddr,
    source: SocketAddr,
    server_name: &'static str,
    tls: bool,
    alpn: Vec<Arc<str>>,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            destination: "10.0.0.1:80".parse().unwrap(),
            source: "10.9.9.9:40000".parse().unwrap(),
            server_name: "",
            tls: false,
            alpn: Vec::new(),
        }
    }
}

impl Call {
    fn view(&self) -> ConnectionView<'_> {
        ConnectionView {
            destination: self.destination,
            source: self.source,
            direct_source: self.source,
            server_name: self.server_name,
            transport_protocol: if self.tls { "tls" } else { "raw_buffer" },
            application_protocols: &self.alpn,
        }
    }
}

fn build(chains: Vec<(&str, ChainMatch)>) -> FilterChains {
    let chains = chains.into_iter().map(|(name, conditions)| (conditions, chain(name))).collect();
    FilterChains::build(chains, Some(chain("default"))).unwrap()
}

fn found(chains: &FilterChains, call: Call) -> String {
    chains.find(&call.view()).unwrap().name.to_string()
}

fn to(destination: &str) -> Call {
    Call { destination: destination.parse().unwrap(), ..Call::default() }
}

#[test]
fn destination_port_and_address_decide_first_and_finally() {
    let port = |port| ChainMatch { destination_port: Some(port), ..ChainMatch::default() };
    let chains = build(vec![
        ("any", ChainMatch::default()),
        ("narrow", ChainMatch { prefix_ranges: vec![prefix("10.1.0.0/16")], ..ChainMatch::default() }),
        (
            "narrow-tls",
            ChainMatch {
                prefix_ranges: vec![prefix("10.1.2.0/24")],
                transport_protocol: "tls".into(),
                ..ChainMatch::default()
            },
        ),
        ("eighty-tls", ChainMatch { transport_protocol: "tls".into(), ..port(80) }),
        ("ninety", port(90)),
    ]);
    assert_eq!(found(&chains, to("10.0.0.1:1")), "any");
    assert_eq!(found(&chains, to("10.1.0.1:1")), "narrow");
    // The longest prefix is the only one looked at: no way back to 10.1.0.0/16.
    assert_eq!(found(&chains, to("10.1.2.1:1")), "default");
    assert_eq!(found(&chains, Call { tls: true, ..to("10.1.2.1:1") }), "narrow-tls");
    // A port that is listed hides the chains without a port.
    assert_eq!(found(&chains, to("10.0.0.1:80")), "default");
    assert_eq!(found(&chains, to("10.0.0.1:90")), "ninety");
    assert_eq!(found(&chains, to("[2001:db8::1]:7")), "any");
}

#[test]
fn server_names_go_exact_then_longest_suffix_then_none() {
    let sni = |of: &[&str]| ChainMatch { server_names: names(of), ..ChainMatch::default() };
    let chains = build(vec![
        ("exact", sni(&["www.Example.com"])),
        ("example", sni(&["*.example.com"])),
        ("com", sni(&["*.com"])),
        ("none", ChainMatch::default()),
    ]);
    let ask = |server_name| found(&chains, Call { server_name, tls: true, ..Call::default() });
    assert_eq!(ask("www.example.com"), "exact");
    assert_eq!(ask("a.b.example.com"), "example");
    assert_eq!(ask("example.com"), "com");
    assert_eq!(ask("com"), "none");
    assert_eq!(ask("www.example.org"), "none");
    assert_eq!(ask("x."), "none");
    assert_eq!(ask(""), "none");
}

#[test]
fn protocols_and_sources() {
    let alpn = |of: &[&str]| ChainMatch { application_protocols: names(of), ..ChainMatch::default() };
    let chains = build(vec![
        ("h2", alpn(&["h2"])),
        ("istio", alpn(&["istio", "istio-http/1.1"])),
        ("local", ChainMatch { source_type: SourceType::SameIpOrLoopback, ..ChainMatch::default() }),
        ("external", ChainMatch { source_type: SourceType::External, ..ChainMatch::default() }),
        (
            "from",
            ChainMatch {
                source_type: SourceType::External,
                source_prefix_ranges: vec![prefix("10.2.0.0/16")],
                source_ports: vec![7, 8],
                ..ChainMatch::default()
            },
        ),
    ]);
    let with = |of: &[&str]| found(&chains, Call { alpn: names(of), ..Call::default() });
    assert_eq!(with(&["http/1.1", "h2"]), "h2");
    assert_eq!(with(&["istio-http/1.1", "h2"]), "istio");
    let from = |source: &str| found(&chains, Call { source: source.parse().unwrap(), ..Call::default() });
    assert_eq!(from("127.0.0.1:5"), "local");
    assert_eq!(from("127.0.0.2:5"), "external");
    assert_eq!(from("10.0.0.1:5"), "local");
    assert_eq!(from("10.2.0.1:8"), "from");
    assert_eq!(from("10.2.0.1:9"), "default");
}

#[test]
fn what_cannot_be_one_listener_is_refused_by_name() {
    let twice = vec![(ChainMatch::default(), chain("a")), (ChainMatch::default(), chain("b"))];
    let error = FilterChains::build(twice, None).unwrap_err();
    assert_eq!(error.to_string(), "filter chain 'b' has the same matching rules defined as 'a'");
    let partial = ChainMatch { server_names: names(&["w*.example.com"]), ..ChainMatch::default() };
    let error = FilterChains::build(vec![(partial, chain("a"))], None).unwrap_err();
    assert!(error.to_string().contains("partial wildcards"), "{error}");
}

/// The rules once more, said without an index: score every chain at each step and keep only the best.
fn oracle(chains: &[(ChainMatch, Arc<FilterChain>)], call: &ConnectionView<'_>) -> Option<usize> {
    let mut left: Vec<usize> = (0..chains.len()).collect();
    type Step<'a> = &'a dyn Fn(&ChainMatch) -> Option<usize>;
    let steps: [Step<'_>; 9] = [
        &|c| exact(c.destination_port.as_ref(), &call.destination.port()),
        &|c| longest(&c.prefix_ranges, call.destination.ip()),
        &|c| server_name(&c.server_names, call.server_name),
        &|c| match &*c.transport_protocol {
            "" => Some(0),
            wanted => (wanted == call.transport_protocol).then_some(1),
        },
        &|c| match c.application_protocols.is_empty() {
            true => Some(0),
            // The peer's first that anyone lists wins.
            false => {
                let offered = call.application_protocols;
                let at = offered.iter().position(|p| c.application_protocols.contains(p))?;
                Some(100 - at)
            }
        },
        &|c| longest(&c.direct_source_prefix_ranges, call.direct_source.ip()),
        &|c| match (c.source_type, call.is_same_ip_or_loopback()) {
            (SourceType::Any, _) => Some(0),
            (SourceType::SameIpOrLoopback, true) | (SourceType::External, false) => Some(1),
            _ => None,
        },
        &|c| longest(&c.source_prefix_ranges, call.source.ip()),
        &|c| match c.source_ports.is_empty() {
            true => Some(0),
            false => c.source_ports.contains(&call.source.port()).then_some(1),
        },
    ];
    for step in steps {
        let scores: Vec<_> = left.iter().map(|&at| (at, step(&chains[at].0))).collect();
        let best = scores.iter().filter_map(|(_, score)| *score).max()?;
        left = scores.into_iter().filter(|(_, score)| *score == Some(best)).map(|(at, _)| at).collect();
    }
    assert_eq!(left.len(), 1, "ambiguous");
    left.first().copied()
}

fn exact<T: PartialEq>(wanted: Option<&T>, is: &T) -> Option<usize> {
    match wanted {
        None => Some(0),
        Some(wanted) => (wanted == is).then_some(1),
    }
}

fn longest(ranges: &[IpPrefix], address: IpAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges.iter().filter(|range| range.contains(address)).map(|range| range.len as usize).max()
}

fn server_name(wanted: &[Arc<str>], is: &str) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    let score = |name: &Arc<str>| match name.strip_prefix('*') {
        Some(suffix) => (is.len() > suffix.len() && is.ends_with(suffix)).then_some(suffix.len()),
        None => (**name == *is).then_some(1000),
    };
    wanted.iter().filter_map(score).max()
}

fn some_of<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> BoxedStrategy<Vec<T>> {
    prop_oneof![2 => Just(Vec::new()), 1 => proptest::sample::subsequence(of, 1..=2)].boxed()
}

fn conditions() -> impl Strategy<Value = ChainMatch> {
    const RANGES: &[&str] = &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "127.0.0.0/8", "fd00::/8"];
    const NAMES: &[&str] = &["a.b.c", "*.b.c", "*.c", "b.c"];
    const ALPN: &[&str] = &["h2", "http/1.1", "istio"];
    let ranges = || some_of(RANGES).prop_map(|of| of.into_iter().map(prefix).collect::<Vec<_>>());
    (
        (prop_oneof![Just(None), Just(Some(80)), Just(Some(443))], ranges(), some_of(NAMES)),
        (prop_oneof![Just(""), Just("tls"), Just("raw_buffer")], some_of(ALPN), ranges()),
        (prop_oneof![Just(0), Just(1), Just(2)], ranges(), some_of(&[1u16, 2, 3])),
    )
        .prop_map(|((port, to, sni), (transport, alpn, direct), (kind, from, ports))| ChainMatch {
            destination_port: port,
            prefix_ranges: to,
            server_names: names(&sni),
            transport_protocol: transport.into(),
            application_protocols: names(&alpn),
            direct_source_prefix_ranges: direct,
            source_type: [SourceType::Any, SourceType::SameIpOrLoopback, SourceType::External][kind],
            source_prefix_ranges: from,
            source_ports: ports,
        })
}

fn calls() -> impl Strategy<Value = Call> {
    const ADDRESSES: &[&str] = &["10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "127.0.0.1", "fd00::1"];
    let address = || proptest::sample::select(ADDRESSES);
    let sni = proptest::sample::select(&["", "a.b.c", "x.b.c", "y.c", "b.c", "c", "z.d"][..]);
    let alpn = proptest::sample::subsequence(&["h2", "http/1.1", "istio"][..], 0..=3).prop_shuffle();
    (address(), prop_oneof![Just(80u16), Just(443), Just(9)], address(), 1u16..5, sni, any::<bool>(), alpn)
        .prop_map(|(to, port, from, from_port, server_name, tls, alpn)| Call {
            destination: SocketAddr::new(to.parse().unwrap(), port),
            source: SocketAddr::new(from.parse().unwrap(), from_port),
            server_name,
            tls,
            alpn: names(&alpn),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_index_agrees_with_the_oracle(
        wanted in proptest::collection::vec(conditions(), 0..8),
        calls in proptest::collection::vec(calls(), 1..20),
    ) {
        // Chains that clash with an earlier one are left out, so that what is left is one listener.
        let mut chains: Vec<(ChainMatch, Arc<FilterChain>)> = Vec::new();
        for (at, conditions) in wanted.into_iter().enumerate() {
            chains.push((conditions, chain(&at.to_string())));
            if FilterChains::build(chains.clone(), None).is_err() {
                chains.pop();
            }
        }
        let index = FilterChains::build(chains.clone(), None).unwrap();
        for call in &calls {
            let expected = oracle(&chains, &call.view()).map(|at| &chains[at].1);
            let found = index.find(&call.view());
            prop_assert_eq!(found.map(|c| &c.name), expected.map(|c| &c.name));
        }
    }
}

/// 100,000 server names, each against chains that the oracle tries one by one: exact, the longest wildcard, any.
#[test]
fn server_names_are_found_as_trying_all_finds_them() {
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("server names: SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let name = |random: &mut fastrand::Rng| {
        let labels: Vec<&str> =
            (0..random.usize(1..5)).map(|_| ["a", "b", "ab"][random.usize(..3)]).collect();
        labels.join(".")
    };
    for _ in 0..2_000 {
        let mut wanted: Vec<String> = (0..random.usize(0..12))
            .map(|_| {
                let star = if random.bool() { "*." } else { "" };
                format!("{star}{}", name(&mut random))
            })
            .collect();
        wanted.sort();
        wanted.dedup();
        let one =
            |name: &String| ChainMatch { server_names: vec![name.as_str().into()], ..ChainMatch::default() };
        let chains = build(wanted.iter().map(|name| (name.as_str(), one(name))).collect());
        for _ in 0..50 {
            let asked = name(&mut random);
            let fits = |wanted: &&String| match wanted.strip_prefix('*') {
                Some(suffix) => asked.ends_with(suffix),
                None => **wanted == asked,
            };
            // No wildcard is longer than the name itself, so an exact one wins by length too.
            let best = wanted.iter().filter(fits).max_by_key(|name| (!name.starts_with('*'), name.len()));
            let destination = "10.0.0.1:443".parse().unwrap();
            let source = "10.9.9.9:40000".parse().unwrap();
            let view = ConnectionView {
                destination,
                source,
                direct_source: source,
                server_name: &asked,
                transport_protocol: "tls",
                application_protocols: &[],
            };
            let got = chains.find(&view).unwrap();
            let best = best.map_or("default", String::as_str);
            assert_eq!(&*got.name, best, "{asked} among {wanted:?}");
        }
    }
}

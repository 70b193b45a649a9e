//! Hosts and routes against naive oracles that share no code with them: 100,000 lookups each, from a printed seed.
//!
//! Invariant: an oracle tries everything in order, with nothing but text comparison.

use std::borrow::Cow;

use super::{
    hosts::HostIndex,
    matcher::{
        Conditions, Entry, HeaderMatch, HeaderName, PathMatch, QueryMatch, RouteIndex, RouteMatch, ValueMatch,
    },
    strings::StringMatch,
    *,
};

/// Tables, and lookups in each.
const TABLES: usize = 2_000;
const LOOKUPS: usize = 50;

/// A generator whose seed a failing test prints; `SEED` in the environment repeats a run.
fn random(test: &str) -> fastrand::Rng {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn text(random: &mut fastrand::Rng, alphabet: &[&str], longest: usize) -> String {
    (0..random.usize(0..=longest)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
}

fn host(random: &mut fastrand::Rng) -> String {
    text(random, &["a", "b", "A", ".", "a.b", ":8"], 5)
}

#[test]
fn hosts_are_found_as_trying_all_finds_them() {
    let mut random = random("hosts");
    for _ in 0..TABLES {
        let mut index = HostIndex::default();
        let mut domains: Vec<String> = Vec::new();
        for _ in 0..random.usize(0..30) {
            let domain = match random.u8(0..8) {
                0 => "*".to_owned(),
                1 | 2 => format!("*{}", host(&mut random)),
                3 | 4 => format!("{}*", host(&mut random)),
                _ => host(&mut random),
            };
            let is_new = !domains.iter().any(|known| known.eq_ignore_ascii_case(&domain));
            let added = index.add(&domain, domains.len() as u32);
            assert_eq!(added.is_ok(), is_new, "{domain:?} into {domains:?}");
            if is_new {
                domains.push(domain);
            }
        }
        for _ in 0..LOOKUPS {
            let host = host(&mut random);
            assert_eq!(index.find(&host), naive_host(&domains, &host), "{host:?} among {domains:?}");
        }
    }
}

/// Exact before the longest suffix before the longest prefix before everything.
fn naive_host(domains: &[String], host: &str) -> Option<u32> {
    let host = host.to_lowercase();
    let mut best: Option<((u8, usize), usize)> = None;
    for (at, domain) in domains.iter().enumerate() {
        let domain = domain.to_lowercase();
        let rank = if domain == "*" {
            Some((0, 0))
        } else if let Some(suffix) = domain.strip_prefix('*') {
            (host.ends_with(suffix) && host.len() > suffix.len()).then_some((2, suffix.len()))
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (host.starts_with(prefix) && host.len() > prefix.len()).then_some((1, prefix.len()))
        } else {
            (host == domain).then_some((3, 0))
        };
        if let Some(rank) = rank.filter(|rank| best.is_none_or(|(known, _)| *rank > known)) {
            best = Some((rank, at));
        }
    }
    best.map(|(_, at)| at as u32)
}

/// A route as its author thinks of it.
#[derive(Debug, Clone)]
struct Rule {
    kind: Kind,
    literal: String,
    any_case: bool,
    method: Option<&'static str>,
    /// Value of the header `h`, and whether it must not be that.
    header: Option<(&'static str, bool)>,
    /// Value of the parameter `q`.
    query: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Exact,
    Prefix,
    Segment,
}

#[derive(Debug)]
struct Request {
    method: &'static str,
    path: String,
    header: Option<&'static str>,
}

impl RequestView for Request {
    fn authority(&self) -> &str {
        ""
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn method(&self) -> &str {
        self.method
    }
    fn scheme(&self) -> &str {
        "http"
    }
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.header.filter(|_| name == "h").map(Into::into)
    }
    fn is_tls(&self) -> bool {
        false
    }
    fn random(&self) -> u64 {
        0
    }
}

const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const VALUES: [&str; 3] = ["x", "y", ""];

fn sometimes<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> Option<T> {
    (random.u8(0..5) == 0).then(|| of[random.usize(..of.len())])
}

fn rule(random: &mut fastrand::Rng) -> Rule {
    let kind = [Kind::Exact, Kind::Prefix, Kind::Segment][random.usize(..3)];
    let mut literal = format!("/{}", text(random, &["a", "b", "B", "/", "ab"], 4));
    // A prefix by segments neither ends in a slash nor is one.
    while kind == Kind::Segment && (literal.ends_with('/') || literal.len() == 1) {
        literal = format!("/a{}", text(random, &["a", "b", "/a"], 3));
    }
    Rule {
        kind,
        literal,
        any_case: random.u8(0..6) == 0,
        method: sometimes(random, &METHODS),
        header: sometimes(random, &VALUES).map(|value| (value, random.bool())),
        query: sometimes(random, &VALUES),
    }
}

fn request(random: &mut fastrand::Rng) -> Request {
    let query = ["", "?q=x", "?q=y&q=x", "?a=b&q", "?q=x#f", "#q=x", "?Q=x"][random.usize(..7)];
    let path = format!("/{}{query}", text(random, &["a", "b", "B", "/", "ab"], 5));
    let header = random.bool().then(|| VALUES[random.usize(..3)]);
    Request { method: METHODS[random.usize(..3)], path, header }
}

#[test]
fn routes_are_found_as_trying_all_finds_them() {
    let mut random = random("routes");
    let mut found = 0;
    for _ in 0..TABLES {
        let rules: Vec<Rule> = (0..random.usize(0..30)).map(|_| rule(&mut random)).collect();
        let index = RouteIndex::new(rules.iter().enumerate().map(|(at, rule)| compiled(at, rule)).collect());
        for _ in 0..LOOKUPS {
            let request = request(&mut random);
            let wanted = rules.iter().position(|rule| naive_match(rule, &request)).map(|at| at.to_string());
            let got = index.find(&request).map(|route| route.name.to_string());
            assert_eq!(got, wanted, "{request:?} among {rules:#?}");
            found += usize::from(got.is_some());
        }
    }
    assert!(found > TABLES * LOOKUPS / 4, "only {found} requests found a route");
}

fn compiled(at: usize, rule: &Rule) -> Entry {
    let literal: Arc<str> = rule.literal.as_str().into();
    let mut path = match rule.kind {
        Kind::Exact => PathMatch::Exact(literal),
        Kind::Prefix => PathMatch::Prefix(literal),
        Kind::Segment => PathMatch::SeparatedPrefix(literal),
    };
    if rule.any_case {
        path = path.ignoring_case();
    }
    let equals = |value: &str| ValueMatch::String(StringMatch::Exact(value.into()));
    let header = |name: &str, value: &str, invert| HeaderMatch {
        name: HeaderName::new(name),
        value: equals(value),
        invert,
        missing_is_empty: false,
    };
    let also = Conditions {
        headers: rule
            .method
            .map(|method| header(":method", method, false))
            .into_iter()
            .chain(rule.header.map(|(value, invert)| header("h", value, invert)))
            .collect(),
        query: rule
            .query
            .map(|value| QueryMatch { name: "q".into(), value: equals(value) })
            .into_iter()
            .collect(),
        ..Conditions::default()
    };
    let also = (!also.is_empty()).then(|| Box::new(also));
    let route = Route {
        metadata: None,
        name: at.to_string().into(),
        action: Action::None,
        headers: HeaderRules::default(),
        stat_prefix: None,
        filters: None,
        origin: None,
        buffer_limit: BufferLimit::default(),
    };
    Entry { condition: RouteMatch { path, also }, route: Arc::new(route) }
}

fn naive_match(rule: &Rule, request: &Request) -> bool {
    let (before_fragment, _) = request.path.split_once('#').unwrap_or((&request.path, ""));
    let (path, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
    let (path, literal) = match rule.any_case {
        true => (path.to_lowercase(), rule.literal.to_lowercase()),
        false => (path.to_owned(), rule.literal.clone()),
    };
    let path_fits = match rule.kind {
        Kind::Exact => path == literal,
        Kind::Prefix => path.starts_with(&literal),
        Kind::Segment => path == literal || path.starts_with(&format!("{literal}/")),
    };
    let parameter = query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name == "q").then_some(value),
        None => (pair == "q").then_some(""),
    });
    path_fits
        && rule.method.is_none_or(|method| method == request.method)
        // A header that is not there is neither a value nor another one.
        && rule.header.is_none_or(|(value, not)| request.header.is_some_and(|is| (is == value) != not))
        && rule.query.is_none_or(|value| parameter == Some(value))
}

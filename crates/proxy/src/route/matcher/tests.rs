//! Conditions one by one, and the index against trying every route.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::route::{Action, HeaderRules, strings::full_match};

#[derive(Debug, Default)]
struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    random: u64,
}

impl RequestView for Request {
    fn authority(&self) -> &str {
        "host.example"
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn method(&self) -> &str {
        if self.method.is_empty() { "GET" } else { self.method }
    }
    fn scheme(&self) -> &str {
        "http"
    }
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let values: Vec<_> = self.headers.iter().filter(|(n, _)| *n == name).map(|(_, v)| *v).collect();
        (!values.is_empty()).then(|| values.join(",").into())
    }
    fn is_tls(&self) -> bool {
        false
    }
    fn random(&self) -> u64 {
        self.random
    }
}

fn get(path: &str) -> Request {
    Request { path: path.into(), ..Request::default() }
}

fn entry(name: usize, path: PathMatch) -> Entry {
    let route = Route {
        metadata: None,
        name: name.to_string().into(),
        action: Action::None,
        headers: HeaderRules::default(),
        stat_prefix: None,
        filters: None,
        buffer_limit: Default::default(),
        origin: None,
    };
    Entry { condition: RouteMatch { path, also: None }, route: Arc::new(route) }
}

fn on(path: PathMatch, also: Conditions) -> RouteMatch {
    RouteMatch { path, also: Some(Box::new(also)) }
}

fn takes(condition: &RouteMatch, request: &Request) -> bool {
    condition.matches(without_query(request.path()), request)
}

#[test]
fn path_conditions_look_at_the_path_without_query() {
    let regex = |pattern: &str| PathMatch::Regex(full_match(pattern).unwrap().into());
    let prefix = |literal: &str| PathMatch::Prefix(literal.into());
    let exact = |literal: &str| PathMatch::Exact(literal.into());
    let separated = |literal: &str| PathMatch::SeparatedPrefix(literal.into());
    for (condition, yes, no) in [
        (prefix("/"), vec!["/", "/a", "/?q"], vec!["*", ""]),
        (prefix("/api"), vec!["/api", "/api/", "/apis", "/api?x"], vec!["/ap", "/API", "/?/api"]),
        (exact("/a"), vec!["/a", "/a?x=1", "/a#f"], vec!["/a/", "/A", "/"]),
        (separated("/a"), vec!["/a", "/a/", "/a/b", "/a?x"], vec!["/ab", "/"]),
        (regex("/b[io]t"), vec!["/bit", "/bot", "/bit?x"], vec!["/bite", "/abit", "/bat"]),
        (exact("/A").ignoring_case(), vec!["/a", "/A"], vec!["/b"]),
        (prefix("/Ab").ignoring_case(), vec!["/aBc"], vec!["/b"]),
        (separated("/Ab").ignoring_case(), vec!["/aB/c"], vec!["/aBc"]),
        (regex("/A").ignoring_case(), vec!["/A"], vec!["/a"]),
    ] {
        let condition = RouteMatch { path: condition, also: None };
        yes.iter().for_each(|path| assert!(takes(&condition, &get(path)), "{condition:?} {path}"));
        no.iter().for_each(|path| assert!(!takes(&condition, &get(path)), "{condition:?} {path}"));
    }
}

#[test]
fn connect_is_for_connect_matchers_only() {
    let connect = Request { method: "CONNECT", ..Request::default() };
    assert!(takes(&RouteMatch { path: PathMatch::Connect, also: None }, &connect));
    assert!(!takes(&RouteMatch { path: PathMatch::Prefix("".into()), also: None }, &connect));
    assert!(!takes(&RouteMatch { path: PathMatch::Connect, also: None }, &get("/")));
}

#[test]
fn header_conditions() {
    let text = |condition| ValueMatch::String(condition);
    let exact = |value: &str| text(StringMatch::Exact(value.into()));
    let jason = || vec![("end-user", "jason")];
    /// (name, condition, inverted, missing counts as empty, headers, taken)
    type Row = (&'static str, ValueMatch, bool, bool, Vec<(&'static str, &'static str)>, bool);
    let table: Vec<Row> = vec![
        ("End-User", exact("jason"), false, false, jason(), true),
        ("end-user", exact("jason"), false, false, vec![("end-user", "Jason")], false),
        ("end-user", exact("jason"), false, false, vec![], false),
        ("end-user", exact("jason"), true, false, vec![("end-user", "bob")], true),
        ("end-user", exact("jason"), true, false, vec![], false),
        ("end-user", exact("jason"), true, true, vec![], true),
        ("end-user", exact(""), false, true, vec![], true),
        ("a", exact("1,2"), false, false, vec![("a", "1"), ("a", "2")], true),
        ("a", text(StringMatch::Prefix("x".into()).ignoring_case()), false, false, vec![("a", "XY")], true),
        ("a", text(StringMatch::Suffix("Y".into())), false, false, vec![("a", "XY")], true),
        ("a", text(StringMatch::Contains("b".into())), false, false, vec![("a", "abc")], true),
        ("a", ValueMatch::Present(true), false, false, vec![("a", "")], true),
        ("a", ValueMatch::Present(true), false, false, vec![], false),
        ("a", ValueMatch::Present(true), true, false, vec![], true),
        ("a", ValueMatch::Present(false), false, false, vec![], true),
        ("a", ValueMatch::Present(false), false, false, vec![("a", "")], false),
        ("n", ValueMatch::Range(-10, 0), false, false, vec![("n", "-1")], true),
        ("n", ValueMatch::Range(-10, 0), false, false, vec![("n", "0")], false),
        ("n", ValueMatch::Range(-10, 0), false, false, vec![("n", "-1somestring")], false),
        (":method", exact("GET"), false, false, vec![], true),
        (":authority", exact("host.example"), false, false, vec![], true),
        ("Host", exact("host.example"), false, false, vec![], true),
        (":scheme", exact("http"), false, false, vec![], true),
        (":path", exact("/?a=1"), false, false, vec![], true),
    ];
    for (name, value, invert, missing_is_empty, headers, taken) in table {
        let header = HeaderMatch { name: HeaderName::new(name), value, invert, missing_is_empty };
        let request = Request { headers, ..get("/?a=1") };
        assert_eq!(header.matches(&request), taken, "{header:?} {request:?}");
    }
}

#[test]
fn query_grpc_and_fraction() {
    let any = || PathMatch::Prefix("/".into());
    let query = |value| {
        on(
            any(),
            Conditions { query: vec![QueryMatch { name: "id".into(), value }], ..Conditions::default() },
        )
    };
    let exact = query(ValueMatch::String(StringMatch::Exact("1".into())));
    for (path, taken) in [
        ("/?id=1", true),
        ("/?a&id=1&id=2", true),
        ("/?id=2&id=1", false),
        ("/?ID=1", false),
        ("/", false),
        ("/#?id=1", true),
    ] {
        assert_eq!(takes(&exact, &get(path)), taken, "{path}");
    }
    let present = query(ValueMatch::Present(true));
    assert!(takes(&present, &get("/?id")) && !takes(&present, &get("/?idx")));

    let grpc = on(any(), Conditions { grpc: true, ..Conditions::default() });
    for (value, taken) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("text/plain", false),
    ] {
        assert_eq!(takes(&grpc, &Request { headers: vec![("content-type", value)], ..get("/") }), taken);
    }

    let fraction = on(any(), Conditions { fraction: Some((25, 100)), ..Conditions::default() });
    let taken = (0..1000).filter(|random| takes(&fraction, &Request { random: *random, ..get("/") })).count();
    assert_eq!(taken, 250);
}

/// How many of the routes are tried for a request, and which is taken.
fn tried(routes: &RouteIndex, request: &Request) -> (usize, Option<u32>) {
    let tried = std::cell::Cell::new(0);
    let path = without_query(request.path());
    let hit = routes.index.as_ref().unwrap().first(path, request, |at| {
        tried.set(tried.get() + 1);
        routes.entries[at as usize].condition.matches(path, request)
    });
    (tried.get(), hit)
}

#[test]
fn regexes_are_found_by_the_literal_that_they_begin_with() {
    let regex = |n: usize| PathMatch::Regex(full_match(&format!("/service-{n}/[^/]+/items")).unwrap().into());
    let routes = RouteIndex::new((0..1_000).map(|n| entry(n, regex(n))).collect());
    assert_eq!(tried(&routes, &get("/service-77/x/items")), (1, Some(77)));
    assert_eq!(tried(&routes, &get("/service-77/items")), (1, None));
}

#[test]
fn prefixes_without_regard_to_case_are_found_through_the_index() {
    let prefix = |n: usize| PathMatch::Prefix(format!("/Service-{n}/").into()).ignoring_case();
    let routes = RouteIndex::new((0..1_000).map(|n| entry(n, prefix(n))).collect());
    assert_eq!(tried(&routes, &get("/sERVICE-77/x")), (1, Some(77)));
}

#[test]
fn routes_of_one_path_are_found_by_the_header_that_tells_them_apart() {
    let wants = |n: usize| {
        let value = ValueMatch::String(StringMatch::Exact(["one", "two", "three"][n % 3].into()));
        let header =
            HeaderMatch { name: HeaderName::new("Tenant"), value, invert: false, missing_is_empty: false };
        let also = Conditions { headers: vec![header], ..Conditions::default() };
        Entry { condition: on(PathMatch::Prefix("/".into()), also), ..entry(n, PathMatch::Connect) }
    };
    let mut entries: Vec<Entry> = (0..300).map(wants).collect();
    entries.push(entry(300, PathMatch::Prefix("/".into())));
    let routes = RouteIndex::new(entries);
    let of = |headers| tried(&routes, &Request { headers, ..get("/") });
    assert_eq!(of(vec![("tenant", "three")]), (1, Some(2)));
    assert_eq!(of(vec![("tenant", "four")]), (1, Some(300)));
    assert_eq!(of(vec![]), (1, Some(300)));
}

#[test]
fn ten_thousand_routes_are_found_through_the_index() {
    let mut entries: Vec<_> =
        (0..10_000).map(|n| entry(n, PathMatch::Prefix(format!("/service/{n}/").into()))).collect();
    entries.push(entry(10_000, PathMatch::Prefix("/".into())));
    let routes = RouteIndex::new(entries);
    let tried = std::cell::Cell::new(0);
    let index = routes.index.as_ref().unwrap();
    let hit = index.first("/service/9999/x", &get("/service/9999/x"), |at| {
        tried.set(tried.get() + 1);
        routes.entries[at as usize].condition.matches("/service/9999/x", &get("/service/9999/x"))
    });
    assert_eq!((hit, tried.get()), (Some(9_999), 1));
    assert_eq!(&*routes.find(&get("/elsewhere")).unwrap().name, "10000");
}

fn path_condition() -> impl Strategy<Value = PathMatch> {
    let literal = "/[ab]{0,3}(/[ab]{0,2}){0,2}";
    prop_oneof![
        4 => literal.prop_map(|l| PathMatch::Prefix(l.into())),
        3 => literal.prop_map(|l| PathMatch::Exact(l.into())),
        2 => "/[ab]{1,3}(/[ab]{1,2}){0,1}".prop_map(|l| PathMatch::SeparatedPrefix(l.into())),
        1 => "/[AB]{0,3}".prop_map(|l| PathMatch::Prefix(l.into()).ignoring_case()),
        1 => "/[AB]{0,3}".prop_map(|l| PathMatch::Exact(l.into()).ignoring_case()),
        1 => "/[ab]{0,2}".prop_map(|l| PathMatch::Regex(full_match(&format!("{l}.*b")).unwrap().into())),
        2 => prop::sample::select(vec!["/(a|ab).*", "/ab?", "(?i)/ab.*", "/(?i)a(b|a)?|/ab.*|/b{1,2}", "/a{2}b*", ".*", "/(a/b|a/a)?.*", "$|/aa"])
            .prop_map(|pattern| PathMatch::Regex(full_match(pattern).unwrap().into())),
        1 => Just(()).prop_map(|()| PathMatch::Connect),
    ]
}

proptest! {
    // 1,000 tables × 100 paths.
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_index_answers_as_trying_all_does(
        conditions in prop::collection::vec((path_condition(), prop::option::weighted(0.6, "[xyz]?")), 12..80),
        missing_is_empty in any::<bool>(),
        invert in any::<bool>(),
        paths in prop::collection::vec(("/[abAB]{0,4}(/[ab]{0,3}){0,3}(\\?[ab]{0,2})?", prop::option::of(prop_oneof![Just("x"), Just("y")])), 100),
    ) {
        let entries = conditions.into_iter().enumerate().map(|(n, (path, header))| {
            let mut entry = entry(n, path);
            entry.condition.also = header.map(|value| Box::new(Conditions {
                headers: vec![HeaderMatch {
                    name: HeaderName::new("h"),
                    invert: invert && value == "z",
                    value: ValueMatch::String(StringMatch::Exact(value.into())),
                    missing_is_empty,
                }],
                ..Conditions::default()
            }));
            entry
        }).collect();
        let routes = RouteIndex::new(entries);
        prop_assert!(routes.index.is_some());
        for (path, header) in paths {
            let request = Request { path, headers: header.map(|value| ("h", value)).into_iter().collect(), ..Request::default() };
            let wanted = routes.find_by_trying_all(&request).map(|route| route.name.clone());
            prop_assert_eq!(routes.find(&request).map(|route| route.name.clone()), wanted, "{}", request.path);
        }
    }
}

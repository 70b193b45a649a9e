//! Paths, hosts and locations after rewriting.

use super::*;
use crate::route::{
    HeaderRules,
    strings::{compile, substitution},
};

struct Request(&'static str, &'static str, &'static str);

impl RequestView for Request {
    fn authority(&self) -> &str {
        self.1
    }
    fn path(&self) -> &str {
        self.2
    }
    fn method(&self) -> &str {
        "GET"
    }
    fn scheme(&self) -> &str {
        self.0
    }
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "x-host").then_some(Cow::Borrowed("from-header"))
    }
    fn is_tls(&self) -> bool {
        self.0 == "https"
    }
    fn random(&self) -> u64 {
        0
    }
}

fn regex_rewrite(pattern: &str, with: &str) -> Rewrite {
    let pattern = compile(pattern).unwrap();
    let with = substitution(with, &pattern).unwrap();
    Rewrite::Regex { pattern, with }
}

fn redirect() -> Redirect {
    Redirect {
        status: 301,
        scheme: None,
        host: None,
        port: None,
        path: None,
        rewrite: Rewrite::None,
        strip_query: false,
    }
}

#[test]
fn rewrites_keep_the_query() {
    let prefix = |matched, with: &str| Rewrite::Prefix { matched, with: with.into() };
    for (rewrite, path, wanted) in [
        (prefix(4, "/new"), "/old/a?b=1", Some("/new/a?b=1")),
        (prefix(5, "/"), "/old/a", Some("/a")),
        (prefix(4, "/"), "/old/a", Some("//a")),
        (prefix(usize::MAX, "/whole"), "/exact?x", Some("/whole?x")),
        (prefix(1, "/p/"), "/", Some("/p/")),
        (Rewrite::None, "/a", None),
        (
            regex_rewrite("^/service/([^/]+)(/.*)$", r"\2/instance/\1"),
            "/service/foo/v1/api?k=v",
            Some("/v1/api/instance/foo?k=v"),
        ),
        (regex_rewrite("one", "two"), "/xxx/one/yyy/one/zzz", Some("/xxx/two/yyy/two/zzz")),
        (regex_rewrite("(?i)/xxx/", "/yyy/"), "/aaa/XxX/bbb", Some("/aaa/yyy/bbb")),
        (regex_rewrite("nothing", "x"), "/a?nothing", Some("/a?nothing")),
    ] {
        assert_eq!(rewrite.apply(path).as_deref(), wanted, "{path}");
    }
}

#[test]
fn redirects_by_envoys_rules() {
    let https = || Redirect { scheme: Some("https".into()), ..redirect() };
    let table: &[(Redirect, Request, &str)] = &[
        (https(), Request("http", "a.com", "/x?y"), "https://a.com/x?y"),
        (https(), Request("http", "a.com:80", "/"), "https://a.com/"),
        (https(), Request("http", "a.com:8080", "/"), "https://a.com:8080/"),
        (https(), Request("https", "a.com:443", "/"), "https://a.com:443/"),
        (https(), Request("http", "[::1]:80", "/"), "https://[::1]/"),
        (https(), Request("http", "[::1]", "/"), "https://[::1]/"),
        (Redirect { port: Some(8443), ..https() }, Request("http", "a.com:8080", "/"), "https://a.com:8443/"),
        (
            Redirect { host: Some("b.com".into()), ..redirect() },
            Request("http", "a.com:80", "/p"),
            "http://b.com/p",
        ),
        (
            Redirect { path: Some("/new".into()), ..redirect() },
            Request("http", "a", "/old?q=1"),
            "http://a/new?q=1",
        ),
        (
            Redirect { path: Some("/new".into()), strip_query: true, ..redirect() },
            Request("http", "a", "/old?q=1"),
            "http://a/new",
        ),
        (
            Redirect { path: Some("/new?own".into()), strip_query: true, ..redirect() },
            Request("http", "a", "/old?q=1"),
            "http://a/new?own",
        ),
        (Redirect { strip_query: true, ..redirect() }, Request("http", "a", "/old?q=1"), "http://a/old"),
        (
            Redirect { rewrite: Rewrite::Prefix { matched: 4, with: "/new".into() }, ..redirect() },
            Request("http", "a", "/old/x?q=1"),
            "http://a/new/x?q=1",
        ),
    ];
    for (redirect, request, wanted) in table {
        assert_eq!(redirect.location(request), *wanted);
    }
}

#[test]
fn hosts_are_rewritten() {
    let request = Request("http", "a", "/v1/host.example/x?y");
    let pattern = compile("^/v1/([^/]+)/.*$").unwrap();
    let with = substitution(r"\1", &pattern).unwrap();
    for (rewrite, wanted) in [
        (HostRewrite::None, None),
        (HostRewrite::Auto, None),
        (HostRewrite::Literal("b".into()), Some("b")),
        (HostRewrite::Header("x-host".into()), Some("from-header")),
        (HostRewrite::Header("x-none".into()), None),
        (HostRewrite::PathRegex { pattern, with }, Some("host.example")),
    ] {
        assert_eq!(rewrite.apply(&request).as_deref(), wanted);
    }
}

#[test]
fn weights_are_shares_of_the_total() {
    let part = |weight: u32| WeightedCluster {
        filters: None,
        cluster: Arc::new(ClusterSlot::new(0, weight.to_string().into())),
        weight,
        headers: HeaderRules::default(),
        asked: None,
        host_rewrite: None,
    };
    let target = Target::Weighted { total: 100, parts: vec![part(90), part(0), part(10)] };
    let mut counts = [0; 101];
    for random in 0..1000 {
        let Picked::Weighted(picked) = target.pick(random) else { panic!() };
        counts[picked.weight as usize] += 1;
    }
    assert_eq!((counts[90], counts[0], counts[10]), (900, 0, 100));
}

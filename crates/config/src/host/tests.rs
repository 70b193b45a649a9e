//! Tables from Istio's documented meaning (SEM-001, SEM-002, SEM-003), and an oracle that spells patterns out.

use proptest::prelude::*;

use super::*;

#[test]
fn short_names_belong_to_the_namespace_of_the_object() {
    for (host, full) in [
        ("reviews", "reviews.prod.svc.cluster.local"),
        ("Reviews", "reviews.prod.svc.cluster.local"),
        ("reviews.other", "reviews.other"),
        ("reviews.", "reviews."),
        ("*", "*"),
        ("*.com", "*.com"),
        ("1.2.3.4", "1.2.3.4"),
        ("::1", "::1"),
        ("", ""),
    ] {
        assert_eq!(Host::new(host).resolve("prod", "cluster.local").as_str(), full, "{host}");
    }
}

/// Two patterns, whether they overlap, whether the first lies within the second.
const TABLE: &[(&str, &str, bool, bool)] = &[
    ("foo.com", "foo.com", true, true),
    ("foo.com", "bar.com", false, false),
    ("foo.com", "a.foo.com", false, false),
    ("a.foo.com", "*.foo.com", true, true),
    ("a.b.foo.com", "*.foo.com", true, true),
    ("foo.com", "*.foo.com", false, false),
    ("foo.com", "*.com", true, true),
    ("foo.com", "*", true, true),
    ("*.foo.com", "foo.com", false, false),
    ("*.foo.com", "a.foo.com", true, false),
    ("*.foo.com", "*.foo.com", true, true),
    ("*.foo.com", "*.com", true, true),
    ("*.com", "*.foo.com", true, false),
    ("*.foo.com", "*", true, true),
    ("*", "*.foo.com", true, false),
    ("*", "*", true, true),
    ("*", "foo.com", true, false),
    ("*.foo.com", "*.bar.com", false, false),
    ("*-a.foo.com", "x-a.foo.com", true, false),
    ("x-a.foo.com", "*-a.foo.com", true, true),
    ("*.foo.com", "*foo.com", true, true),
];

#[test]
fn patterns_overlap_and_contain() {
    for (a, b, overlap, within) in TABLE {
        assert_eq!(matches(a, b), *overlap, "{a} matches {b}");
        assert_eq!(matches(b, a), *overlap, "{b} matches {a}");
        assert_eq!(subset_of(a, b), *within, "{a} within {b}");
    }
}

#[test]
fn the_most_specific_pattern_wins() {
    let hosts = |list: &[&str]| list.iter().map(|host| Host::new(host)).collect::<Vec<_>>();
    for (host, patterns, wanted) in [
        ("a.foo.com", vec!["*", "*.com", "*.foo.com", "a.foo.com"], Some("a.foo.com")),
        ("b.foo.com", vec!["*", "*.com", "*.foo.com", "a.foo.com"], Some("*.foo.com")),
        ("foo.com", vec!["*", "*.com", "*.foo.com"], Some("*.com")),
        ("foo.org", vec!["*.com"], None),
        ("*.foo.com", vec!["*.com", "*.foo.com", "a.foo.com"], Some("*.foo.com")),
        ("*.foo.com", vec!["a.foo.com"], None),
    ] {
        let patterns = hosts(&patterns);
        assert_eq!(most_specific(host, &patterns).map(Host::as_str), wanted, "{host}");
    }
}

/// All names of up to five characters over a small alphabet that a pattern means.
fn meant(pattern: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..5 {
        names = names.iter().flat_map(|name| ['a', 'b', '.'].map(|c| format!("{name}{c}"))).collect();
        all.extend(names.iter().cloned());
    }
    all.retain(|name| match pattern.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix),
        None => name == pattern,
    });
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patterns_agree_with_the_sets_they_mean(a in r"\*?[ab.]{1,2}", b in r"\*?[ab.]{1,2}") {
        let (names_a, names_b) = (meant(&a), meant(&b));
        prop_assert_eq!(matches(&a, &b), names_a.iter().any(|name| names_b.contains(name)));
        prop_assert_eq!(subset_of(&a, &b), names_a.iter().all(|name| names_b.contains(name)));
    }
}

#[test]
fn wider_patterns_cover_and_nothing_else_does() {
    let list = |host| super::wider(host).collect::<Vec<_>>();
    assert_eq!(list("a.b"), ["*a.b", "*.b", "*b", "*"]);
    assert_eq!(list("*.b"), ["*b", "*"]);
    assert_eq!(list("*"), [""; 0]);
    assert_eq!(list(""), ["*"]);
    assert!(list("x.example.com").iter().all(|wide| super::subset_of("x.example.com", wide)));
}

//! Groups that stay, shards that add up, codes and histograms as Envoy shows them.

use std::collections::BTreeMap;

use super::{
    Codes, Histogram, Registry, Sample, Stat,
    groups::{ClusterStats, CorsStats, Http2Stats, HttpStats},
};

fn all(registry: &Registry) -> BTreeMap<String, Sample> {
    let mut samples = BTreeMap::new();
    registry.read(|prefix, group| {
        samples.extend(group.iter().map(|(name, sample)| (format!("{prefix}{name}"), sample.clone())));
    });
    samples
}

#[test]
fn groups_stay_and_shards_add_up() {
    let registry = Registry::new();
    let first = registry.group::<ClusterStats>("cluster.a.", 0);
    first.upstream_rq_total.add(2);
    registry.group::<ClusterStats>("cluster.a.", 1).upstream_rq_total.inc();
    registry.group::<ClusterStats>("cluster.a.", 0).upstream_rq_total.inc();
    assert_eq!(first.upstream_rq_total.get(), 3);
    assert!(matches!(all(&registry)["cluster.a.upstream_rq_total"], Sample::Counter(4)));

    registry.reset_counters();
    assert!(matches!(all(&registry)["cluster.a.upstream_rq_total"], Sample::Counter(0)));
    registry.group::<Http2Stats>("cluster.a.http2.", 0);
    registry.group::<CorsStats>("cluster.a.b.", 0);
    registry.remove("cluster.a.");
    let left: Vec<_> = all(&registry).into_keys().collect();
    assert_eq!(left, ["cluster.a.b.origin_invalid", "cluster.a.b.origin_valid"]);
}

#[test]
fn codes_have_classes_and_a_sum() {
    let registry = Registry::new();
    let http = registry.group::<HttpStats>("http.in.", 0);
    http.downstream_rq.inc(204);
    http.downstream_rq.inc(99);
    let samples = all(&registry);
    assert!(matches!(samples["http.in.downstream_rq_2xx"], Sample::Counter(1)));
    assert!(matches!(samples["http.in.downstream_rq_completed"], Sample::Counter(1)));

    let codes = Codes::default();
    (200..230).for_each(|code| codes.inc(code));
    codes.inc(503);
    codes.inc(99);
    let mut seen = BTreeMap::new();
    codes.visit("upstream_rq", &mut |name, sample| {
        if let Sample::Counter(count) = sample {
            seen.insert(name.to_owned(), count);
        }
    });
    assert_eq!(
        (
            seen["upstream_rq_229"],
            seen["upstream_rq_2xx"],
            seen["upstream_rq_5xx"],
            seen["upstream_rq_completed"]
        ),
        (1, 30, 1, 31)
    );
}

#[test]
fn histograms_count_exactly_at_prometheus_bounds() {
    let histogram = Histogram::default();
    for value in [0, 1, 5, 6, 25, 99, 100, 101, 250, 251, 2500, 3_600_000, u64::MAX / 2] {
        histogram.record(value);
    }
    let snapshot = histogram.snapshot();
    let up_to = |bound| snapshot.count_up_to(bound);
    assert_eq!((up_to(0.5), up_to(1.0), up_to(5.0), up_to(25.0)), (1, 2, 3, 5));
    // 101 shares a bucket with 100, 251 with 250: two digits.
    assert_eq!((up_to(100.0), up_to(250.0), up_to(2500.0), up_to(3_600_000.0)), (8, 10, 11, 12));
    assert_eq!(snapshot.count(), 13);
    assert_eq!(snapshot.quantile(0.0), Some(0.0));
    assert_eq!(Histogram::default().snapshot().quantile(0.5), None);
}

#[test]
fn an_idle_group_is_small() {
    // Two workers and a thousand clusters in use: under 3 MB.
    assert!(size_of::<ClusterStats>() <= 1024, "{}", size_of::<ClusterStats>());
}

//! What requests and connections add to the statistics.

use std::collections::BTreeMap;

use super::harness::{Proxy, Setup, nobody, run, upstream};
use crate::{
    route::RetryOn,
    stats::{Sample, sum},
};

/// Counters and gauges that are not zero, by full name.
fn used(proxy: &Proxy) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    proxy.worker.stats.read(|prefix, group| {
        for (name, sample) in group {
            let value = match sample {
                Sample::Counter(value) => *value as i64,
                Sample::Gauge(value) => *value,
                Sample::Histogram(histogram) => histogram.count() as i64,
            };
            if value != 0 {
                all.insert(format!("{prefix}{name}"), value);
            }
        }
    });
    all
}

#[test]
fn a_retried_request_is_counted_once_downstream_and_twice_upstream() {
    run(async {
        let target = upstream(|n, mut client| async move {
            client.until("\r\n\r\n").await;
            let status = if n == 0 { "503 Service Unavailable" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            client.send(&head).await;
        })
        .await;
        let proxy = Setup::new().retry(RetryOn::SERVER_ERROR, 2).start(&[target]).await;
        proxy.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let prefix =
            proxy.slot.load().as_ref().map(|cluster| format!("cluster.{}.", cluster.stat_name)).unwrap();
        let used = used(&proxy);
        let of = |name: &str| used.get(&format!("{prefix}{name}")).copied().unwrap_or(0);
        assert_eq!(
            (of("upstream_rq_total"), of("upstream_rq_retry"), of("upstream_rq_retry_success")),
            (2, 1, 1)
        );
        assert_eq!((of("upstream_rq_active"), of("upstream_cx_active")), (0, 0));
        assert_eq!((of("upstream_cx_total"), of("upstream_cx_http1_total")), (2, 2));
        let apart = of("internal.upstream_rq_200") + of("external.upstream_rq_200");
        assert_eq!(
            (apart, of("upstream_rq_200"), of("upstream_rq_2xx"), of("upstream_rq_time")),
            (1, 1, 1, 1)
        );
        let http: BTreeMap<_, _> = used.iter().filter(|(name, _)| name.starts_with("http.")).collect();
        let of = |end: &str| {
            http.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, value)| **value).sum::<i64>()
        };
        assert_eq!(
            (of(".downstream_rq_total"), of(".downstream_rq_2xx"), of(".downstream_rq_active")),
            (1, 1, 0)
        );
        assert_eq!((of(".downstream_cx_total"), of(".downstream_rq_time")), (1, 1));
    });
}

#[test]
fn a_failed_connect_is_counted() {
    run(async {
        let proxy = Setup::new().start(&[nobody()]).await;
        proxy.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let cluster = proxy.slot.load().clone().unwrap();
        let state = proxy.worker.cluster(&proxy.slot).unwrap();
        let counted = (state.stats.upstream_cx_connect_fail.get(), state.stats.upstream_rq_total.get());
        assert_eq!(counted, (1, 0), "{}", cluster.name);
        let group: &dyn crate::stats::Group = &*state.stats;
        let samples = sum([group]);
        assert!(samples.iter().any(|(name, _)| name == "upstream_rq_pending_total"));
        assert!(used(&proxy).keys().any(|name| name.ends_with("upstream_rq_503")));
    });
}

//! Answers of the proxy's own say why, where the filter for it is there, and nobody else's do.

use super::harness::{Setup, echo, nobody, run};
use crate::{
    cluster::outlier,
    http::filters::{HttpFilter, Kind},
    route::RetryOn,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn setup() -> Setup {
    let mut setup = Setup::new();
    let kind = Kind::Reason("x-reason".into());
    setup.manager.filters = vec![HttpFilter { name: "reason".into(), disabled: false, kind }];
    setup
}

#[test]
fn answers_of_our_own_say_why() {
    run(async {
        let said = setup().start(&[]).await.ask(GET).await;
        assert!(said.contains("x-reason: c has no endpoints\r\n"), "{said}");

        let dead = nobody().await;
        let said = setup().retry(RetryOn::CONNECT_FAILURE, 1).start(&[dead]).await.ask(GET).await;
        let wanted = format!(
            "x-reason: cannot connect to endpoint {dead} of c: Connection refused, in the last of 2 tries\r\n"
        );
        assert!(said.contains(&wanted), "{said}");

        let mut full = setup();
        full.cluster.limits.requests = 0;
        let said = full.start(&[echo().await]).await.ask(GET).await;
        assert!(said.contains("x-reason: a circuit breaker of c is open\r\n"), "{said}");

        let said = setup().start(&[echo().await]).await.ask(GET).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && !said.contains("x-reason"), "{said}");
    });
}

/// A host that fails is left alone; with it out, the other one gets everything.
#[test]
fn a_host_that_fails_is_ejected() {
    run(async {
        let mut setup = setup();
        setup.cluster.outlier = Some(Box::new(outlier::Settings {
            consecutive_5xx: (2, 100),
            max_ejection_percent: 50,
            ..outlier::Settings::default()
        }));
        let proxy = setup.start(&[nobody().await, echo().await]).await;
        let cluster = proxy.slot.load().clone().unwrap();
        let mut failures = 0;
        while !cluster.endpoints.load().iter().any(|host| host.is_ejected()) {
            failures += usize::from(proxy.ask(GET).await.starts_with("HTTP/1.1 503 "));
            assert!(failures < 50);
        }
        assert!(failures >= 2);
        for _ in 0..4 {
            let said = proxy.ask(GET).await;
            assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        }
        assert_eq!(cluster.outlier.as_ref().unwrap().stats.ejections_enforced_consecutive_5xx.get(), 1);
    });
}

//! Answers of the proxy's own say why, where the filter for it is there, and nobody else's do.

use std::{net::SocketAddr, time::Duration};

use super::harness::{Setup, echo, nobody, run, upstream};
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

        let dead = nobody();
        let said = setup().retry(RetryOn::CONNECT_FAILURE, 1).start(&[dead]).await.ask(GET).await;
        let wanted = format!(
            "x-reason: cannot connect to endpoint {dead} of c: Connection refused, in the last of 2 tries\r\n"
        );
        assert!(said.contains(&wanted), "{said}");

        let mut full = setup();
        full.cluster.limits.requests = 0;
        let said = full.start(&[echo().await]).await.ask(GET).await;
        assert!(
            said.contains("x-reason: a circuit breaker of c is open (http2MaxRequests: 0)\r\n"),
            "{said}"
        );

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
        let proxy = setup.start(&[nobody(), echo().await]).await;
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

/// A reason for each flag that only traffic can raise.
#[test]
fn each_way_to_fail_has_a_reason() {
    run(async {
        let closes = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
        })
        .await;
        let babbles = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send("what?\r\n\r\n").await;
        })
        .await;
        let silent = upstream(|_, mut client| async move {
            client.rest().await;
        })
        .await;
        let dead = nobody();
        let short = Some(Duration::from_millis(30));
        type Change = Box<dyn Fn(Setup) -> Setup>;
        let with = |change: fn(&mut Setup, Option<Duration>), time| -> Change {
            Box::new(move |mut setup| {
                change(&mut setup, time);
                setup
            })
        };
        let table: Vec<(SocketAddr, Change, &str)> = vec![
            // UC
            (closes, with(|_, _| {}, None), "closed the connection before its answer was complete"),
            // UPE
            (babbles, with(|_, _| {}, None), "answered something that is not HTTP"),
            // UT
            (
                silent,
                with(|setup, time| setup.forward.timeout = time, short),
                "did not answer in the time that the route gives a request (30ms)",
            ),
            (
                silent,
                Box::new(|setup| {
                    let mut setup = setup.retry(RetryOn::SERVER_ERROR, 1);
                    setup.forward.retry.as_mut().unwrap().per_try_timeout = Some(Duration::from_millis(20));
                    setup
                }),
                "gives a try (20ms), in the last of 2 tries",
            ),
            // SI
            (
                silent,
                with(|setup, time| setup.forward.idle_timeout = Some(time), short),
                "x-reason: nothing moved for as long as the idle timeout of the stream",
            ),
            // DT
            (
                silent,
                with(|setup, time| setup.forward.max_stream_duration = time, short),
                "x-reason: the request took longer than the route allows a stream",
            ),
            // UF, and UO for the retry that did not follow
            (
                dead,
                Box::new(|setup| {
                    let mut setup = setup.retry(RetryOn::CONNECT_FAILURE, 2);
                    setup.cluster.limits.retries = 0;
                    setup
                }),
                "Connection refused; as many retries as allowed were under way",
            ),
            (
                dead,
                Box::new(|setup| {
                    let mut setup = setup.retry(RetryOn::CONNECT_FAILURE, 2);
                    setup.cluster.limits.retry_budget = Some((2000, 0));
                    setup
                }),
                "Connection refused; the retry budget of 20 % was spent",
            ),
        ];
        for (target, change, reason) in table {
            let said = change(setup()).start(&[target]).await.ask(GET).await;
            let line = said.lines().find(|line| line.starts_with("x-reason: ")).unwrap_or_default();
            assert!(line.contains(reason), "wanted {reason:?}:\n{said}");
            let names_it =
                reason.starts_with("x-reason") || line.contains(&format!("endpoint {target} of c"));
            assert!(names_it, "{line}");
        }
    });
}

/// Answers that no upstream has a part in.
#[test]
fn what_is_wrong_with_a_request_is_said() {
    run(async {
        let proxy = setup().start(&[echo().await]).await;
        for (request, reason) in [
            ("GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", "the request has no host"),
            (
                "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
                "the route does not allow the upgrade",
            ),
        ] {
            let said = proxy.ask(request).await;
            assert!(said.contains(&format!("x-reason: {reason}\r\n")), "{said}");
        }
        let mut timed = setup();
        timed.manager.request_headers_timeout = Some(Duration::from_millis(30));
        let mut client = timed.start(&[echo().await]).await.client().await;
        client.send("GET / HTTP/1.1\r\n").await;
        let said = client.rest().await;
        assert!(said.contains("x-reason: the client took too long to send its request\r\n"), "{said}");
    });
}

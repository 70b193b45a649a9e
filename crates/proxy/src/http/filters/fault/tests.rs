//! Delays and aborts, by settings and by headers, end to end.

use std::{sync::Arc, time::Instant};

use super::*;
use crate::{
    http::{
        filters::{HttpFilter, Kind},
        tests::harness::{Setup, echo, run},
    },
    route::strings::StringMatch,
};

fn settings() -> Settings {
    Settings {
        delay: None,
        abort: None,
        rate: None,
        body: "".into(),
        cluster: None,
        headers: Vec::new(),
        nodes: Vec::new(),
        max_active: None,
        ignore_downstream_cluster: false,
    }
}

fn with(settings: Settings) -> Setup {
    let kind = Kind::Fault(Fault { settings: Some(Arc::new(settings)), active: Arc::default() });
    let mut setup = Setup::new();
    setup.manager.filters = vec![HttpFilter { name: "fault".into(), disabled: false, kind }];
    setup
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
}

const ALL: Share = (100, 100);

#[test]
fn aborts() {
    run(async {
        let abort = Settings { abort: Some((Abort::Http(418), ALL)), ..settings() };
        let proxy = with(abort).start(&[echo().await]).await;
        let said = proxy.ask(&get("")).await;
        assert!(said.starts_with("HTTP/1.1 418 "), "{said}");
        assert!(said.ends_with("\r\n\r\nfault filter abort"), "{said}");
        let said = proxy.ask(&get("content-type: application/grpc\r\n")).await;
        assert!(said.contains("grpc-status: 2\r\n"), "{said}");

        let never = Settings { abort: Some((Abort::Http(418), (0, 100))), ..settings() };
        let proxy = with(never).start(&[echo().await]).await;
        assert!(proxy.ask(&get("")).await.starts_with("HTTP/1.1 200 "));

        let grpc = Settings { abort: Some((Abort::Grpc(5), ALL)), ..settings() };
        let proxy = with(grpc).start(&[echo().await]).await;
        let said = proxy.ask(&get("content-type: application/grpc\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("grpc-status: 5\r\n"), "{said}");
    });
}

#[test]
fn headers_steer_and_conditions_hold() {
    run(async {
        let steered = Settings {
            abort: Some((Abort::Header, ALL)),
            headers: vec![HeaderMatch {
                name: crate::route::matcher::HeaderName::new("x-who"),
                value: crate::route::matcher::ValueMatch::String(StringMatch::Exact("me".into())),
                invert: false,
                missing_is_empty: false,
            }],
            ..settings()
        };
        let proxy = with(steered).start(&[echo().await]).await;
        for (headers, status) in [
            ("x-who: me\r\nx-envoy-fault-abort-request: 503\r\n", "503"),
            ("x-who: you\r\nx-envoy-fault-abort-request: 503\r\n", "200"),
            ("x-who: me\r\nx-envoy-fault-abort-request: 99\r\n", "200"),
            ("x-who: me\r\n", "200"),
            (
                "x-who: me\r\nx-envoy-fault-abort-request: 503\r\nx-envoy-fault-abort-request-percentage: 0\r\n",
                "200",
            ),
        ] {
            let said = proxy.ask(&get(headers)).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {said}");
        }
    });
}

#[test]
fn delays_come_before_aborts_and_are_limited() {
    run(async {
        let delay = Duration::from_millis(50);
        let both = Settings {
            delay: Some((Delay::Fixed(delay), ALL)),
            abort: Some((Abort::Http(500), ALL)),
            ..settings()
        };
        let proxy = with(both).start(&[echo().await]).await;
        let start = Instant::now();
        assert!(proxy.ask(&get("")).await.starts_with("HTTP/1.1 500 "));
        assert!(start.elapsed() >= delay);
        let stats = proxy.worker.fault_stats(&"t".into());
        assert_eq!((stats.delays_injected.get(), stats.aborts_injected.get()), (1, 1));
        while stats.active_faults.get() > 0 {
            tokio::task::yield_now().await;
        }

        let none = Settings { abort: Some((Abort::Http(500), ALL)), max_active: Some(0), ..settings() };
        let proxy = with(none).start(&[echo().await]).await;
        assert!(proxy.ask(&get("")).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(proxy.worker.fault_stats(&"t".into()).faults_overflow.get(), 1);
    });
}

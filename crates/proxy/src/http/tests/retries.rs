//! Tries, timeouts and what the pool does with connections that died.

use std::time::Duration;

use super::harness::{Setup, answer, echo, nobody, run, upstream};
use crate::{route::RetryOn, upstream::limits::Resource};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn a_failed_connect_is_tried_elsewhere() {
    run(async {
        let (dead, alive) = (nobody(), echo().await);
        let proxy = Setup::new().retry(RetryOn::CONNECT_FAILURE, 3).start(&[dead, alive]).await;
        for _ in 0..4 {
            let said = proxy.ask(GET).await;
            assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
        }
    });
}

#[test]
fn a_status_is_retried_with_the_body_until_the_limit() {
    run(async {
        let target = upstream(|n, mut client| async move {
            let request = client.message().await;
            let (status, body) =
                if n < 2 { ("503 Service Unavailable", "no") } else { ("200 OK", &*request) };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            client.send(&(head + body)).await;
        })
        .await;
        let proxy = Setup::new().retry(RetryOn::SERVER_ERROR, 2).start(&[target]).await;
        let said = proxy
            .ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody")
            .await;
        assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
        assert!(said.contains("x-envoy-attempt-count: 3\r\n") && said.ends_with("\r\n\r\nbody"), "{said}");
    });
}

#[test]
fn without_a_policy_nothing_is_retried() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let said = proxy.ask(GET).await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        assert!(said.ends_with("reset reason: connection termination"), "{said}");
    });
}

#[test]
fn a_pooled_connection_that_was_closed_is_not_used() {
    run(async {
        let target = upstream(|n, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send(&answer(&n.to_string())).await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        for n in 0..5 {
            let said = proxy.ask(GET).await;
            assert!(said.ends_with(&format!("\r\n\r\n{n}")), "{said}");
        }
        while proxy.slot.in_use.get(Resource::Connections) > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn the_routes_timeout_is_a_504() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.rest().await;
        })
        .await;
        let mut setup = Setup::new();
        setup.forward.timeout = Some(Duration::from_millis(50));
        let proxy = setup.start(&[target]).await;
        let said = proxy.ask(GET).await;
        assert!(said.starts_with("HTTP/1.1 504 Gateway Timeout"), "{said}");
        assert!(said.ends_with("upstream request timeout"), "{said}");
    });
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    run(async {
        let target = upstream(|n, mut client| async move {
            client.until("\r\n\r\n").await;
            if n == 1 {
                client.send(&answer("second")).await;
            }
            client.rest().await;
        })
        .await;
        let mut setup = Setup::new().retry(RetryOn::SERVER_ERROR, 1);
        setup.forward.retry.as_mut().unwrap().per_try_timeout = Some(Duration::from_secs(1));
        let proxy = setup.start(&[target]).await;
        let said = proxy.ask(GET).await;
        assert!(said.ends_with("\r\n\r\nsecond"), "{said}");
    });
}

#[test]
fn slow_clients_are_timed_out() {
    run(async {
        let target = echo().await;
        let mut setup = Setup::new();
        setup.manager.request_headers_timeout = Some(Duration::from_millis(50));
        let proxy = setup.start(&[target]).await;
        let said = proxy.ask("GET / HTTP/1.1\r\nhos").await;
        assert!(said.starts_with("HTTP/1.1 408 Request Timeout"), "{said}");

        let mut setup = Setup::new();
        setup.manager.stream_idle_timeout = Some(Duration::from_millis(50));
        let proxy = setup.start(&[target]).await;
        let said = proxy.ask("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab").await;
        assert!(said.starts_with("HTTP/1.1 408 ") && said.ends_with("stream timeout"), "{said}");

        let mut setup = Setup::new();
        setup.manager.idle_timeout = Some(Duration::from_millis(50));
        let proxy = setup.start(&[target]).await;
        assert_eq!(proxy.client().await.rest().await, "");
    });
}

#[test]
fn circuit_breakers_overflow() {
    run(async {
        let target = echo().await;
        let mut setup = Setup::new();
        setup.cluster.limits.requests = 0;
        let proxy = setup.start(&[target]).await;
        let said = proxy.ask(GET).await;
        assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("x-envoy-overloaded: true\r\n"), "{said}");
        assert!(said.ends_with("reset reason: overflow"), "{said}");
    });
}

#[test]
fn a_client_that_leaves_ends_the_upstream_request() {
    run(async {
        let (left, noticed) = tokio::sync::oneshot::channel();
        let left = std::cell::RefCell::new(Some(left));
        let target = upstream(move |_, mut client| {
            let left = left.borrow_mut().take().unwrap();
            async move {
                client.until("\r\n\r\n").await;
                client.rest().await;
                left.send(()).unwrap();
            }
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        while proxy.slot.in_use.get(Resource::Connections) == 0 {
            tokio::task::yield_now().await;
        }
        drop(client);
        noticed.await.unwrap();
        while proxy.slot.in_use.get(Resource::Requests) > 0 {
            tokio::task::yield_now().await;
        }
    });
}

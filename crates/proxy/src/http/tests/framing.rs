//! What is refused (RFC 9112; request smuggling), and what stays on one connection.

use super::harness::{Setup, answer, echo, run, upstream};

#[test]
fn ambiguous_requests_are_refused_and_never_forwarded() {
    run(async {
        let target = upstream(|_, _| async { panic!("forwarded") }).await;
        let proxy = Setup::new().start(&[target]).await;
        let h = "POST / HTTP/1.1\r\nhost: a\r\n";
        for (request, status) in [
            (format!("{h}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "400"),
            (format!("{h}content-length: 3\r\ncontent-length: 4\r\n\r\nabc"), "400"),
            (format!("{h}content-length: 3\r\ncontent-length: 3\r\n\r\nabc"), "400"),
            (format!("{h}content-length: 3, 3\r\n\r\nabc"), "400"),
            (format!("{h}content-length: +3\r\n\r\nabc"), "400"),
            (format!("{h}content-length: 99999999999999999999\r\n\r\nabc"), "400"),
            (format!("{h}content-length:\r\n\r\n"), "400"),
            (format!("{h}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "501"),
            (format!("{h}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "501"),
            (format!("{h}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"), "501"),
            (format!("{h}transfer-encoding : chunked\r\n\r\n0\r\n\r\n"), "400"),
            (format!("{h}x: a\r\n b\r\n\r\n"), "400"),
            (format!("{h}x y: a\r\n\r\n"), "400"),
            (format!("{h}: a\r\n\r\n"), "400"),
            (format!("{h}x: a\0b\r\n\r\n"), "400"),
            (format!("{h}x: a\rb\r\n\r\n"), "400"),
            (format!("{h}x: a\n\r\n"), "400"),
            (format!("{h}nocolon\r\n\r\n"), "400"),
            ("GET / HTTP/1.1\nhost: a\n\n".into(), "400"),
            ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400"),
            ("GET /\r\n\r\n".into(), "400"),
            ("GET / HTTP/2.0\r\nhost: a\r\n\r\n".into(), "400"),
            ("GET / HTTP/1.0\r\nhost: a\r\n\r\n".into(), "426"),
            ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".into(), "400"),
            ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".into(), "400"),
            ("GET / HTTP/1.1\r\nhost: u@b\r\n\r\n".into(), "400"),
            ("GET / HTTP/1.1\r\n\r\n".into(), "400"),
            ("GET foo HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400"),
            ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400"),
            ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400"),
            ("GET / HTTP/1.1\r\nhost: a\r\nconnection: x-forwarded-for\r\n\r\n".into(), "400"),
            (format!("{h}x: {}\r\n\r\n", "y".repeat(70_000)), "431"),
            (format!("{h}{}\r\n", "x: y\r\n".repeat(101)), "431"),
            ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n".into(), "403"),
        ] {
            let said = proxy.ask(&request).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80?}: {said:?}");
            assert!(said.contains("connection: close\r\n"), "{request:?}: {said:?}");
        }
    });
}

#[test]
fn a_broken_chunk_ends_the_request() {
    run(async {
        let target = echo().await;
        let proxy = Setup::new().start(&[target]).await;
        for chunk in
            ["x\r\n", "-1\r\n", "1\r\nab", "fffffffffffffffff\r\n", "1 2\r\n", "1\na\n", "1;\x01\r\n"]
        {
            let request = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
            let said = proxy.ask(&request).await;
            assert!(said.starts_with("HTTP/1.1 400 "), "{chunk:?}: {said:?}");
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let target = echo().await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        let requests: Vec<String> = (0..20)
            .map(|n| format!("POST /{n} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{n:02}"))
            .collect();
        client.send(&requests.concat()).await;
        for n in 0..20 {
            let answer = client.message().await;
            assert!(answer.contains(&format!("POST /{n} HTTP/1.1\r\n")), "{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{n:02}")), "{answer}");
        }
    });
}

#[test]
fn one_byte_at_a_time() {
    run(async {
        let target = echo().await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        let request =
            "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n";
        for byte in request.chars() {
            client.send(&byte.to_string()).await;
            tokio::task::yield_now().await;
        }
        // The scripted upstream reads no chunks: it answers the head.
        assert!(client.message().await.contains("POST /x HTTP/1.1"));
    });
}

#[test]
fn heads_without_bodies() {
    run(async {
        let target = upstream(|_, mut client| async move {
            loop {
                let request = client.until("\r\n\r\n").await;
                let answer = match request.split(' ').nth(1).unwrap() {
                    "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                    "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                    "/304" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                    _ => "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                };
                client.send(answer).await;
            }
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        for (request, wanted) in [
            ("HEAD /head", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"),
            ("GET /204", "HTTP/1.1 204 No Content\r\n"),
            ("GET /304", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n"),
            ("GET /103", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"),
        ] {
            client.send(&format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let said = client.until("\r\n\r\n").await;
            assert!(said.starts_with(wanted), "{said}");
            assert!(!said.contains("transfer-encoding"), "{said}");
        }
        assert_eq!(client.until("ok").await, "ok");
    });
}

#[test]
fn answers_that_are_not_http_are_502() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let target = upstream(move |_, mut client| async move {
                client.until("\r\n\r\n").await;
                client.send(answer).await;
            })
            .await;
            let proxy = Setup::new().start(&[target]).await;
            let said = proxy.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            assert!(said.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer:?}: {said}");
            assert!(said.ends_with("reset reason: protocol error"), "{said}");
        }
    });
}

#[test]
fn connections_are_used_again_on_both_sides() {
    run(async {
        let target = upstream(|n, mut client| async move {
            loop {
                client.until("\r\n\r\n").await;
                client.send(&answer(&n.to_string())).await;
            }
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert!(client.message().await.ends_with("\r\n\r\n0"));
        }
        assert!(
            proxy.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ends_with("\r\n\r\n0")
        );
    });
}

#[test]
fn draining_says_close() {
    run(async {
        let target = echo().await;
        let proxy = Setup::new().start(&[target]).await;
        let mut idle = proxy.client().await;
        let mut busy = proxy.client().await;
        busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        busy.message().await;
        proxy.group.advance(crate::drain::Phase::Draining);
        busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(busy.rest().await.contains("\r\nconnection: close\r\n"));
        proxy.group.advance(crate::drain::Phase::CloseIdle);
        assert_eq!(idle.rest().await, "");
    });
}

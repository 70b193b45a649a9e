//! Bodies: chunks and trailers both ways, until-close, backpressure, 100-continue, early answers.

use std::{cell::Cell, rc::Rc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{Setup, answer, run, upstream};

#[test]
fn chunks_and_trailers_both_ways() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            assert!(
                head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length"),
                "{head}"
            );
            let body = client.until("0\r\nt: up\r\n\r\n").await;
            assert_eq!(body, "5\r\nhello\r\n6\r\n world\r\n0\r\nt: up\r\n\r\n");
            client.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n").await;
            client.send("2\r\nde\r\n0\r\nT: down\r\ncontent-length: 7\r\n\r\n").await;
            client.rest().await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        client.send("6\r\n world\r\n0\r\nt: up\r\n\r\n").await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let body = client.until("0\r\nt: down\r\n\r\n").await;
        let plain: String = body.split("\r\n").filter(|part| part.starts_with(['a', 'd'])).collect();
        assert_eq!(plain, "abcde", "{body}");
    });
}

#[test]
fn until_close_becomes_chunks_and_a_cut_one_is_an_end() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send("HTTP/1.1 200 OK\r\n\r\nall of it").await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let said = proxy.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(said.ends_with("9\r\nall of it\r\n0\r\n\r\n"), "{said}");
    });
}

#[test]
fn a_body_that_breaks_off_breaks_off_downstream() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let said = proxy.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(said.ends_with("\r\n\r\nhalf"), "{said}");
    });
}

#[test]
fn the_proxy_answers_100_itself() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.message().await;
            assert!(!head.contains("expect:"), "{head}");
            client.send(&answer("done")).await;
            client.rest().await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
        assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("ok").await;
        assert!(client.message().await.ends_with("done"));
    });
}

#[test]
fn or_leaves_100_to_the_upstream() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            client.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            client.until("ok").await;
            client.send(&answer("done")).await;
            client.rest().await;
        })
        .await;
        let mut setup = Setup::new();
        setup.manager.proxy_100_continue = true;
        let proxy = setup.start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
        client.until("100 Continue\r\n\r\n").await;
        client.send("ok").await;
        assert!(client.message().await.ends_with("done"));
    });
}

#[test]
fn an_early_answer_arrives_and_the_connection_ends() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
            client.rest().await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nsome").await;
        assert!(client.message().await.ends_with("\r\n\r\nbig"));
        assert_eq!(client.rest().await, "");
    });
}

/// 64 MiB up and down through a client that reads late: no side gets far ahead of the other.
#[test]
fn big_bodies_wait_for_who_is_slow() {
    const SIZE: usize = 64 << 20;
    run(async {
        let sent = Rc::new(Cell::new(0));
        let count = sent.clone();
        let target = upstream(move |_, mut client| {
            let count = count.clone();
            async move {
                client.until("\r\n\r\n").await;
                client.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n")).await;
                let block = vec![b'x'; 1 << 20];
                while count.get() < SIZE {
                    client.stream.write_all(&block).await.unwrap();
                    count.set(count.get() + block.len());
                }
                client.rest().await;
            }
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        // Everything on this thread gets to run until it has to wait for us.
        for _ in 0..2000 {
            tokio::task::yield_now().await;
        }
        let ahead = sent.get();
        assert!(ahead < SIZE / 2, "{ahead} bytes left the upstream while nobody read");
        let mut buf = vec![0; 1 << 20];
        let mut received = client.rest_bytes().len();
        while received < SIZE {
            let n = client.stream.read(&mut buf).await.unwrap();
            assert!(n > 0 && buf[..n].iter().all(|byte| *byte == b'x'));
            received += n;
        }
        assert_eq!(received, SIZE);
    });
}

#[test]
fn big_request_bodies_arrive_whole() {
    const SIZE: usize = 16 << 20;
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            let mut buf = vec![0; 1 << 20];
            let mut received = client.rest_bytes().len();
            while received < SIZE {
                received += client.stream.read(&mut buf).await.unwrap();
            }
            client.send(&answer(&received.to_string())).await;
            client.rest().await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send(&format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n")).await;
        client.stream.write_all(&vec![b'y'; SIZE]).await.unwrap();
        assert!(client.message().await.ends_with(&SIZE.to_string()));
    });
}

/// A body whose every part is another.
fn large(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 1000) as u8).collect()
}

#[test]
fn large_bodies_go_both_ways_and_connections_go_on() {
    const LENGTH: usize = 3_000_000;
    run(async {
        let target = upstream(|number, mut client| async move {
            assert_eq!(number, 0, "the connection is used again");
            for _ in 0..2 {
                let head = client.until("\r\n\r\n").await;
                assert!(head.contains("content-length: 3000000\r\n"), "{head}");
                let mut body = vec![0; LENGTH];
                let early = client.rest_bytes();
                body[..early.len()].copy_from_slice(&early);
                client.stream.read_exact(&mut body[early.len()..]).await.unwrap();
                assert!(body == large(LENGTH), "what went up arrived");
                client.send("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n").await;
                client.stream.write_all(&body).await.unwrap();
            }
            client.rest().await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        for _ in 0..2 {
            client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n").await;
            client.stream.write_all(&large(LENGTH)).await.unwrap();
            client.until("\r\n\r\n").await;
            let mut body = client.rest_bytes();
            let early = body.len();
            body.resize(LENGTH, 0);
            client.stream.read_exact(&mut body[early..]).await.unwrap();
            assert!(body == large(LENGTH), "what came down arrived");
        }
        let stats = proxy.worker.http_stats(&"t".into());
        assert!(stats.downstream_cx_rx_bytes_total.get() > 2 * LENGTH as u64);
        assert!(stats.downstream_cx_tx_bytes_total.get() > 2 * LENGTH as u64);
    });
}

#[test]
fn a_large_body_that_breaks_off_breaks_off_downstream() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n").await;
            client.stream.write_all(&large(2_000_000)).await.unwrap();
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        let mut body = client.rest_bytes();
        // Closed, in whatever way.
        while client.stream.read_buf(&mut body).await.unwrap_or(0) > 0 {}
        assert!(body == large(2_000_000), "{} bytes", body.len());
    });
}

//! Upgrades and CONNECT.

use super::harness::{Setup, run, upstream};

#[test]
fn a_websocket_is_a_tunnel() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            assert!(
                head.contains("upgrade: websocket\r\n") && head.contains("connection: Upgrade\r\n"),
                "{head}"
            );
            client
                .send(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi",
                )
                .await;
            assert_eq!(client.until("ping").await, "earlyping");
            client.send("pong").await;
            assert_eq!(client.rest().await, "");
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client
            .send("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nearly")
            .await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: Upgrade\r\n"),
            "{head}"
        );
        assert!(!head.contains("content-length"), "{head}");
        client.until("hi").await;
        client.send("ping").await;
        client.until("pong").await;
    });
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    run(async {
        let target = upstream(|_, mut client| async move {
            client.until("\r\n\r\n").await;
            client.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno").await;
            client.rest().await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n").await;
        assert!(client.message().await.ends_with("\r\n\r\nno"));
    });
}

#[test]
fn connect_is_a_tunnel_too() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            assert!(head.starts_with("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n"), "{head}");
            client.send("HTTP/1.1 200 OK\r\n\r\n").await;
            client.until("ping").await;
            client.send("pong").await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = proxy.client().await;
        client.send("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n").await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("transfer-encoding"), "{head}");
        client.send("ping").await;
        assert_eq!(client.rest().await, "pong");
    });
}

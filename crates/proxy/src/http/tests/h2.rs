//! HTTP/2 through the connection manager and router: to HTTP/2, to HTTP/1 and from it, gRPC-like streams, WebSocket
//! over extended CONNECT.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest, ext::Protocol, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::spawn_local,
};

use super::harness::{Proxy, Setup, run, upstream};
use crate::{cluster::UpstreamProtocol, drain::Phase};

/// An HTTP/2 upstream.
async fn upstream_h2<F: Future<Output = ()> + 'static>(
    answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + 'static,
) -> std::net::SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let answer = answer.clone();
            spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                let mut connection = builder.enable_connect_protocol().handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    spawn_local(answer(request, respond));
                }
            });
        }
    });
    address
}

async fn client_h2(proxy: &Proxy) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(async move { connection.await.unwrap() });
    client.ready().await.unwrap()
}

fn to_h2() -> Setup {
    let mut setup = Setup::new();
    setup.cluster.protocol = UpstreamProtocol::Http2;
    setup
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.example{path}")).header("te", "trailers").body(()).unwrap()
}

async fn chunk(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

async fn text(mut body: RecvStream) -> String {
    let mut all = Vec::new();
    while let Some(data) = chunk(&mut body).await {
        all.extend_from_slice(&data);
    }
    String::from_utf8(all).unwrap()
}

/// Echoes chunk by chunk, then says what trailers it got.
async fn echo_h2(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.headers()["te"], "trailers");
    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = request.into_body();
    let mut out = respond.send_response(response, false).unwrap();
    while let Some(data) = chunk(&mut body).await {
        out.send_data(data, false).unwrap();
    }
    let mut trailers = body.trailers().await.unwrap().unwrap_or_default();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    out.send_trailers(trailers).unwrap();
}

#[test]
fn a_stream_goes_both_ways_message_by_message_with_trailers() {
    run(async {
        let target = upstream_h2(echo_h2).await;
        let proxy = to_h2().start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        let (response, mut out) = client.send_request(post("/svc/Chat"), false).unwrap();
        out.send_data("one".into(), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(chunk(&mut body).await.unwrap(), "one");
        for message in ["two", "three"] {
            out.send_data(message.into(), false).unwrap();
            assert_eq!(chunk(&mut body).await.unwrap(), message);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-last", HeaderValue::from_static("7"));
        out.send_trailers(trailers).unwrap();
        assert!(chunk(&mut body).await.is_none());
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-last"]),
            (&"0".parse().unwrap(), &"7".parse().unwrap())
        );
    });
}

#[test]
fn a_request_that_is_refused_ends_no_other() {
    run(async {
        let target = upstream_h2(echo_h2).await;
        let proxy = to_h2().start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        let (open, mut out) = client.send_request(post("/open"), false).unwrap();

        let mut broken = post("/broken");
        broken.headers_mut().insert("content-length", HeaderValue::from_static("10"));
        let (response, mut body) = client.send_request(broken, false).unwrap();
        body.send_data("short".into(), true).unwrap();
        let error = response.await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{error}");

        client = client.ready().await.unwrap();
        let (response, mut next) = client.send_request(post("/next"), false).unwrap();
        next.send_data("next".into(), true).unwrap();
        assert_eq!(text(response.await.unwrap().into_body()).await, "next");
        out.send_data("open".into(), true).unwrap();
        assert_eq!(text(open.await.unwrap().into_body()).await, "open");
    });
}

#[test]
fn many_requests_share_one_upstream_connection() {
    run(async {
        let target = upstream_h2(|_, mut respond| async move {
            respond.send_response(Response::new(()), true).unwrap();
        })
        .await;
        let proxy = to_h2().start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        let mut answers = Vec::new();
        for _ in 0..50 {
            client = client.ready().await.unwrap();
            answers.push(client.send_request(post("/"), true).unwrap().0);
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        assert_eq!(proxy.slot.in_use.get(crate::upstream::limits::Resource::Connections), 1);
    });
}

#[test]
fn the_clusters_own_limit_of_streams_opens_more_connections() {
    run(async {
        let target = upstream_h2(|request, mut respond| async move {
            // All requests are there before the first is answered.
            assert_eq!(text(request.into_body()).await, "go");
            respond.send_response(Response::new(()), true).unwrap();
        })
        .await;
        let mut setup = to_h2();
        setup.cluster.http2.max_concurrent_streams = 2;
        let proxy = setup.start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        let mut open = Vec::new();
        for _ in 0..6 {
            client = client.ready().await.unwrap();
            open.push(client.send_request(post("/"), false).unwrap());
        }
        let connections = || proxy.slot.in_use.get(crate::upstream::limits::Resource::Connections);
        while connections() < 3 {
            tokio::task::yield_now().await;
        }
        for (response, mut out) in open {
            out.send_data("go".into(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
        assert_eq!(connections(), 3);
    });
}

#[test]
fn http_2_in_http_1_out() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            assert!(head.starts_with("POST /p?q=1 HTTP/1.1\r\nhost: a.example\r\n"), "{head}");
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            assert_eq!(client.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
            client
                .send("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
                .await;
            client.send("3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n").await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        let (response, mut out) = client.send_request(post("/p?q=1"), false).unwrap();
        out.send_data("hello".into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 201);
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(response.headers()["server"], "envoy");
        let mut body = response.into_body();
        assert_eq!(chunk(&mut body).await.unwrap(), "abc");
        assert!(chunk(&mut body).await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["x-t"], "1");
    });
}

#[test]
fn http_1_in_http_2_out() {
    run(async {
        let target = upstream_h2(|request, mut respond| async move {
            assert_eq!(request.uri().path(), "/p");
            assert_eq!(request.uri().authority().unwrap(), "a");
            assert!(!request.headers().contains_key("connection"));
            let sent = text(request.into_body()).await;
            let response = Response::builder().header("content-length", "5").body(()).unwrap();
            let mut out = respond.send_response(response, false).unwrap();
            out.send_data(sent.into(), true).unwrap();
        })
        .await;
        let proxy = to_h2().start(&[target]).await;
        let mut client = proxy.client().await;
        for _ in 0..2 {
            client
                .send(
                    "POST /p HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
                )
                .await;
            let answer = client.message().await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"),
                "{answer}"
            );
        }
    });
}

#[test]
fn a_refused_stream_is_retried_and_a_dead_endpoint_is_a_503() {
    run(async {
        let count = std::rc::Rc::new(std::cell::Cell::new(0));
        let target = upstream_h2(move |_, mut respond| {
            let first = count.replace(count.get() + 1) == 0;
            async move {
                match first {
                    true => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    false => drop(respond.send_response(Response::new(()), true).unwrap()),
                }
            }
        })
        .await;
        let proxy = to_h2().retry(crate::route::RetryOn::REFUSED_STREAM, 1).start(&[target]).await;
        let (response, _) = client_h2(&proxy).await.send_request(post("/"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);

        let proxy = to_h2().start(&[super::harness::nobody()]).await;
        let (response, _) = client_h2(&proxy).await.send_request(post("/"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(text(response.into_body()).await.contains("upstream connect error"));
    });
}

#[test]
fn a_websocket_over_http_2_reaches_an_http_1_endpoint() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
            assert!(
                head.contains("upgrade: websocket\r\n") && head.contains("connection: Upgrade\r\n"),
                "{head}"
            );
            client
                .send(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi",
                )
                .await;
            client.until("ping").await;
            client.send("pong").await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        // The server's settings must have come before extended CONNECT may be used.
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut request = post("/chat");
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let (response, mut out) = client.send_request(request, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        assert_eq!(chunk(&mut body).await.unwrap(), "hi");
        out.send_data("ping".into(), false).unwrap();
        assert_eq!(chunk(&mut body).await.unwrap(), "pong");
    });
}

#[test]
fn a_websocket_from_http_1_reaches_an_http_2_endpoint() {
    run(async {
        let target = upstream_h2(|request, mut respond| async move {
            assert_eq!(request.method(), Method::CONNECT);
            assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
            let mut body = request.into_body();
            let mut out = respond.send_response(Response::new(()), false).unwrap();
            out.send_data("hi".into(), false).unwrap();
            assert_eq!(chunk(&mut body).await.unwrap(), "ping");
            out.send_data("pong".into(), true).unwrap();
        })
        .await;
        let proxy = to_h2().start(&[target]).await;
        let mut client = proxy.client().await;
        client
            .send("GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
            .await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        client.until("hi").await;
        client.send("ping").await;
        client.until("pong").await;
    });
}

#[test]
fn draining_ends_http_2_and_http_1_connections_politely() {
    run(async {
        let target = upstream(|_, mut client| async move {
            let head = client.until("\r\n\r\n").await;
            if head.starts_with("POST") {
                client.until("0\r\n\r\n").await;
            }
            let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ndone";
            client.send(close).await;
        })
        .await;
        let proxy = Setup::new().start(&[target]).await;
        let mut client = client_h2(&proxy).await;
        let (response, mut out) = client.send_request(post("/"), false).unwrap();
        let mut idle = proxy.client().await;
        idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        idle.message().await;
        proxy.group.advance(Phase::Draining);
        out.send_data("end".into(), true).unwrap();
        assert_eq!(text(response.await.unwrap().into_body()).await, "done");
        // GOAWAY, then the end of the connection.
        while poll_fn(|cx| client.poll_ready(cx)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(idle.message().await.contains("connection: close\r\n"));
        assert_eq!(idle.rest().await, "");
    });
}

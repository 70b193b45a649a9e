//! What an idle connection costs, and HTTP/2 through the same front door.

use std::{mem::size_of_val, rc::Rc};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::harness::{Setup, echo, run};
use crate::{
    cluster::UpstreamProtocol,
    drain::Group,
    http::{self, Worker},
    stream::Stream,
};

/// The task of a connection is the larger part of what it costs while idle; 4 KB is the goal for all of it.
#[test]
fn the_task_of_a_connection_is_small() {
    run(async {
        let (manager, chain, listener, _slot) = Setup::new().parts(&[]);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let connection = crate::listener::connection::Connection {
            listener,
            chain,
            local: stream.local_addr().unwrap(),
            local_restored: false,
            remote: stream.peer_addr().unwrap(),
            direct_remote: stream.peer_addr().unwrap(),
            server_name: None,
            tls_detected: false,
            detected: Default::default(),
            id: 1,
            drain: Group::new().ticket(),
        };
        let task = http::serve(Stream::Tcp(stream), connection, manager, Rc::clone(&Worker::new(0)), ());
        let size = size_of_val(&task);
        assert!(size <= 2048, "{size} bytes");
    });
}

#[test]
fn http2_comes_in_by_its_preface_and_goes_up_as_http1() {
    run(async {
        let target = echo().await;
        let proxy = Setup::new().start(&[target]).await;
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = ::http::Request::post("http://a.com/x").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["server"], "envoy");
        let mut text = Vec::new();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            text.extend_from_slice(&data.unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("POST /x HTTP/1.1\r\nhost: a.com\r\n"), "{text}");
        assert!(text.contains("transfer-encoding: chunked\r\n"), "{text}");
    });
}

#[test]
fn http1_goes_up_as_http2_over_one_connection() {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let mut count = 0;
            while let Ok((stream, _)) = socket.accept().await {
                count += 1;
                let mut connection = h2::server::handshake(stream).await.unwrap();
                tokio::task::spawn_local(async move {
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let answer =
                            ::http::Response::builder().header("x-connection", count).body(()).unwrap();
                        let mut body = respond.send_response(answer, false).unwrap();
                        body.send_data(Bytes::from(request.uri().path().to_owned()), false).unwrap();
                        let mut trailers = ::http::HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        body.send_trailers(trailers).unwrap();
                    }
                });
            }
        });
        let mut setup = Setup::new();
        setup.cluster.protocol = UpstreamProtocol::Http2;
        let proxy = setup.start(&[target]).await;
        for path in ["/a", "/b"] {
            let said =
                proxy.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
            assert!(said.contains("\r\nx-connection: 1\r\n"), "{said}");
            assert!(said.ends_with(&format!("2\r\n{path}\r\n0\r\ngrpc-status: 0\r\n\r\n")), "{said}");
        }
    });
}

//! Both HTTP/2 sides against `h2` itself over real sockets: a proxy of a few lines between a client and a server.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::SendRequest, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::server;
use crate::{
    cluster::ClusterSlot,
    drain::{Group, Phase},
    error::StreamError,
    http::{
        Worker,
        config::{Http1Options, Http2Options, HttpConnectionManager},
        exchange::{Downstream, Next, Sink, Source, Upstream},
        message::{RequestHead, ResponseHead},
    },
    stream::Stream as Socket,
    upstream::{
        h2::{Pool, Settings},
        limits::{Permit, Resource},
    },
};

fn settings() -> Settings {
    let (options, stats) = (Http2Options::default(), Default::default());
    Settings { idle_timeout: None, max_requests: 0, max_duration: None, options, stats }
}

/// A proxy on this thread, and its parts.
struct Proxy {
    client: SendRequest<Bytes>,
    group: Rc<Group>,
    ended: tokio::task::JoinHandle<()>,
}

/// A client connected through a proxy to a server that gives every request to `answer`.
async fn proxy<F: Future<Output = ()> + 'static>(
    answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
) -> Proxy {
    let (upstream, socket) = pair().await;
    tokio::task::spawn_local(async move {
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::task::spawn_local(answer(request, respond));
        }
    });
    let worker = Worker::new(0);
    let slot = Arc::new(ClusterSlot::new(0, "c".into()));
    let pool = Rc::new(Pool::default());
    let permit = Permit::take(&slot, false, Resource::Connections, 1).unwrap();
    pool.add(Socket::Tcp(upstream), permit, settings(), &worker);

    let (client, socket) = pair().await;
    let group = Group::new();
    let ticket = group.ticket();
    let manager = manager();
    let ended = tokio::task::spawn_local(async move {
        let make = |requests: Rc<server::Requests>| {
            let pool = pool.clone();
            async move {
                loop {
                    forward(requests.next().await, pool.clone()).await;
                }
            }
        };
        let serving = server::Serving { manager: &manager, drain: &ticket, worker: &worker };
        server::serve(Socket::Tcp(socket), Bytes::new(), serving, make).await;
    });
    let (client, connection) = h2::client::handshake(client).await.unwrap();
    tokio::task::spawn_local(async move { connection.await.unwrap() });
    Proxy { client, group, ended }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

async fn forward(mut down: server::Stream, pool: Rc<Pool>) {
    let mut head = RequestHead::default();
    assert!(down.take_head(&mut head));
    let Some(mut up) = pool.stream() else { return down.abort() };
    up.send_request(&head, down.request_complete());
    let mut response = ResponseHead::default();
    let (mut answered, mut up_done, mut down_done) = (false, down.request_complete(), false);
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(error) = down.poll_gone(cx) {
            return Poll::Ready(Err(error));
        }
        while !up_done && step(&mut down, &mut up, cx, &mut up_done)?.is_ready() {}
        if !answered && up.poll_response(cx, &mut response)?.is_ready() {
            answered = true;
            down.send_head(&response, false);
        }
        while answered && !down_done && step(&mut up, &mut down, cx, &mut down_done)?.is_ready() {}
        if down_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    if outcome.await.is_err() {
        down.abort();
    }
}

fn step(
    source: &mut impl Source,
    sink: &mut impl Sink,
    cx: &mut std::task::Context<'_>,
    done: &mut bool,
) -> Result<Poll<()>, StreamError> {
    match source.poll_body(cx)? {
        Poll::Pending => return Ok(Poll::Pending),
        Poll::Ready(Next::Data { last }) => return Ok(sink.poll_send(cx, source, last)?),
        Poll::Ready(Next::Trailers) => sink.send_trailers(source.trailers()),
        Poll::Ready(Next::End) => sink.send_end(),
    }
    *done = true;
    Ok(Poll::Ready(()))
}

fn manager() -> HttpConnectionManager {
    let plain = HttpConnectionManager::for_tests();
    HttpConnectionManager {
        upgrades: Vec::new(),
        normalize_path: false,
        http1: Http1Options { enable_trailers: false, ..plain.http1 },
        ..plain
    }
}

async fn local<F: Future<Output = ()>>(test: F) {
    let limited = tokio::time::timeout(Duration::from_secs(20), test);
    tokio::task::LocalSet::new().run_until(limited).await.expect("stuck");
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://a.example{path}")).body(()).unwrap()
}

fn trailers(value: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", http::HeaderValue::from_static(value));
    map
}

async fn chunk(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

/// Sends within the window.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let n = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(data.split_to(n.min(data.len())), false).unwrap();
    }
}

/// Echoes each chunk as it comes, then the trailers.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    let mut out = respond.send_response(Response::new(()), false).unwrap();
    while let Some(data) = chunk(&mut body).await {
        send(&mut out, data).await;
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    out.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn streams_both_ways_message_by_message_with_trailers() {
    local(async {
        let mut proxy = proxy(echo).await;
        let (response, mut out) = proxy.client.send_request(request("/svc/Chat"), false).unwrap();
        out.send_data("one".into(), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(chunk(&mut body).await.unwrap(), "one");
        for text in ["two", "three"] {
            out.send_data(text.into(), false).unwrap();
            assert_eq!(chunk(&mut body).await.unwrap(), text);
        }
        out.send_trailers(trailers("7")).unwrap();
        assert!(chunk(&mut body).await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "7");
    })
    .await;
}

#[tokio::test]
async fn a_slow_endpoint_stops_the_client_and_bulk_arrives_whole() {
    local(async {
        let (gate, wait) = tokio::sync::watch::channel(false);
        let mut proxy = proxy(move |request, respond| {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|open| *open).await.unwrap();
                echo(request, respond).await;
            }
        })
        .await;
        let (response, mut out) = proxy.client.send_request(request("/bulk"), false).unwrap();
        let total = 16 * 1024 * 1024;
        let sent = Rc::new(std::cell::Cell::new(0));
        let counter = sent.clone();
        let sending = tokio::task::spawn_local(async move {
            let part = Bytes::from(vec![7; 64 * 1024]);
            while counter.get() < total {
                send(&mut out, part.clone()).await;
                counter.set(counter.get() + part.len());
            }
            out.send_data(Bytes::new(), true).unwrap();
        });
        // The client runs into the windows and stays there: bounded memory in the proxy.
        let mut last = usize::MAX;
        while sent.get() != last {
            last = sent.get();
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
        }
        assert!(last > 0 && last < 4 * 1024 * 1024, "{last}");
        gate.send(true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut received = 0;
        while let Some(data) = chunk(&mut body).await {
            received += data.len();
        }
        sending.await.unwrap();
        assert_eq!(received, total);
    })
    .await;
}

#[tokio::test]
async fn a_reset_travels_to_the_other_side() {
    local(async {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut proxy = proxy(move |request: Request<RecvStream>, mut respond| {
            let tell = tell.clone();
            async move {
                if request.uri().path() == "/refused" {
                    return respond.send_reset(Reason::REFUSED_STREAM);
                }
                let mut out = respond.send_response(Response::new(()), false).unwrap();
                tell.send(poll_fn(|cx| out.poll_reset(cx)).await).unwrap();
            }
        })
        .await;
        let (response, out) = proxy.client.send_request(request("/cancelled"), false).unwrap();
        let body = response.await.unwrap().into_body();
        drop((body, out));
        assert_eq!(told.recv().await.unwrap().unwrap(), Reason::CANCEL);

        let (response, _out) = proxy.client.send_request(request("/refused"), false).unwrap();
        let error = response.await.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
    })
    .await;
}

#[tokio::test]
async fn draining_says_goaway_and_lets_streams_finish() {
    local(async {
        let mut proxy = proxy(echo).await;
        let (response, mut out) = proxy.client.send_request(request("/long"), false).unwrap();
        out.send_data("one".into(), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(chunk(&mut body).await.unwrap(), "one");
        proxy.group.advance(Phase::Draining);
        // After the GOAWAY no new stream is opened.
        loop {
            let ready = poll_fn(|cx| proxy.client.poll_ready(cx)).await;
            match ready.and_then(|()| proxy.client.send_request(request("/late"), true)) {
                Ok((response, _)) => drop(response.await),
                Err(error) => break assert!(error.is_go_away(), "{error}"),
            }
        }
        assert!(!proxy.ended.is_finished());
        out.send_data("two".into(), true).unwrap();
        assert_eq!(chunk(&mut body).await.unwrap(), "two");
        assert!(chunk(&mut body).await.is_none());
        proxy.ended.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_says_goaway_gets_no_new_stream() {
    local(async {
        let (upstream, socket) = pair().await;
        let worker = Worker::new(0);
        let slot = Arc::new(ClusterSlot::new(0, "c".into()));
        let pool = Pool::default();
        let permit = Permit::take(&slot, false, Resource::Connections, 1).unwrap();
        pool.add(Socket::Tcp(upstream), permit, settings(), &worker);
        let mut stream = pool.stream().unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let mut head = RequestHead::default();
        head.set_method("GET");
        head.set_path("/");
        head.set_authority("a.example");
        stream.send_request(&head, true);
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        connection.graceful_shutdown();
        tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
        while pool.stream().is_some() {
            tokio::task::yield_now().await;
        }
        assert!(pool.is_empty());
        respond.send_response(Response::new(()), true).unwrap();
        let mut response = ResponseHead::default();
        poll_fn(|cx| stream.poll_response(cx, &mut response)).await.unwrap();
        assert_eq!(response.status, 200);
        drop(stream);
        while slot.in_use.get(Resource::Connections) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

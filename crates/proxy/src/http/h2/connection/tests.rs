//! Connections without sockets: what a peer may not do and what that costs it, windows, floods, endings.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use proptest::prelude::*;

use super::{Config, Connection, Role, send::Sent, streams::Key};
use crate::{
    error::ResetReason,
    http::{
        config::FloodLimits,
        exchange::Next,
        h2::{
            frame::{self, Code, Head, Kind, Setting},
            head::Limits,
            hpack::{Encoder, table},
            stream::Stream,
        },
        headers::{HeaderList, Known},
        message::{RequestHead, ResponseHead},
    },
    stats::groups::Http2Stats,
};

const CONFIG: Config = Config {
    max_streams: 3,
    stream_window: 65_535,
    connection_window: 100_000,
    head: Limits { bytes: 4096, fields: 10 },
    extended_connect: false,
    flood: FloodLimits::DEFAULT,
};

const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const OK: &[(&str, &str)] = &[(":status", "200")];

/// A connection and its peer, who writes frames by hand.
struct Peer {
    connection: Rc<RefCell<Connection>>,
    stats: Arc<Http2Stats>,
    encoder: Encoder,
    input: Vec<u8>,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Peer {
    /// After both prefaces.
    fn new(role: Role, config: Config) -> Self {
        let stats = Arc::<Http2Stats>::default();
        let connection = Rc::new(RefCell::new(Connection::new(role, config, stats.clone())));
        let mut peer = Self { connection, stats, encoder: Encoder::default(), input: Vec::new() };
        if role == Role::Server {
            peer.input.extend_from_slice(frame::PREFACE);
        }
        frame::write_settings(&mut peer.input, &[]);
        peer.flush();
        peer.frames();
        peer
    }

    fn server() -> Self {
        Self::new(Role::Server, CONFIG)
    }

    fn client() -> Self {
        Self::new(Role::Client, CONFIG)
    }

    fn frame(&mut self, kind: Kind, flags: u8, id: u32, payload: &[u8]) -> &mut Self {
        frame::head(&mut self.input, payload.len(), kind, flags, id);
        self.input.extend_from_slice(payload);
        self
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let kind = table::kind(name.as_bytes());
            self.encoder.encode(kind, name.as_bytes(), value.as_bytes(), &mut block);
        }
        block
    }

    fn headers(&mut self, id: u32, end: bool, fields: &[(&str, &str)]) -> &mut Self {
        let block = self.block(fields);
        let end = if end { frame::END_STREAM } else { 0 };
        self.frame(Kind::Headers, frame::END_HEADERS | end, id, &block)
    }

    fn data(&mut self, id: u32, end: bool, data: &[u8]) -> &mut Self {
        self.frame(Kind::Data, if end { frame::END_STREAM } else { 0 }, id, data)
    }

    fn window(&mut self, id: u32, more: u32) -> &mut Self {
        self.frame(Kind::WindowUpdate, 0, id, &more.to_be_bytes())
    }

    fn setting(&mut self, setting: Setting) -> &mut Self {
        frame::write_settings(&mut self.input, &[setting]);
        self
    }

    /// Hands what was written to the connection, in two pieces.
    fn flush(&mut self) {
        let middle = self.input.len() / 2;
        let done = self.connection.borrow_mut().receive(&self.input[..middle]);
        let end = self.connection.borrow_mut().receive(&self.input[done..]);
        assert_eq!(done + end, self.input.len(), "whole frames are worked off");
        self.input.clear();
    }

    /// What the connection has written since: frame heads with payloads.
    fn frames(&mut self) -> Vec<(Head, Vec<u8>)> {
        self.flush();
        let mut connection = self.connection.borrow_mut();
        let mut rest = connection.output();
        rest = rest.strip_prefix(frame::PREFACE).unwrap_or(rest);
        let mut frames = Vec::new();
        while let Some(head) = Head::read(rest) {
            frames.push((head, rest[frame::HEAD..frame::HEAD + head.len].to_vec()));
            rest = &rest[frame::HEAD + head.len..];
        }
        let n = connection.output().len();
        connection.wrote(n);
        frames
    }

    /// (kind, stream, code) of every RST_STREAM and GOAWAY.
    fn faults(&mut self) -> Vec<(Kind, u32, Code)> {
        let code = |payload: &[u8]| Code(frame::number(payload).unwrap());
        let frames = self.frames().into_iter();
        frames
            .filter_map(|(head, payload)| match head.kind {
                Kind::Reset => Some((Kind::Reset, head.id, code(&payload))),
                Kind::GoAway => Some((Kind::GoAway, frame::number(&payload).unwrap(), code(&payload[4..]))),
                _ => None,
            })
            .collect()
    }

    fn goaway(&mut self) -> Option<Code> {
        self.faults().iter().find(|fault| fault.0 == Kind::GoAway).map(|fault| fault.2)
    }

    fn accept(&mut self) -> Option<Stream> {
        self.flush();
        let key = self.connection.borrow_mut().accept()?;
        Some(Stream::new(self.connection.clone(), key))
    }

    /// A stream of a server with its request.
    fn request(&mut self, id: u32, end: bool, fields: &[(&str, &str)]) -> (Stream, RequestHead) {
        self.headers(id, end, fields);
        let stream = self.accept().expect("a request");
        let mut head = RequestHead::default();
        assert!(self.connection.borrow_mut().take_request(stream.key(), &mut head));
        (stream, head)
    }

    /// A stream of a client.
    fn ask(&mut self, method: &str, end: bool) -> Stream {
        let mut head = RequestHead::default();
        head.set_method(method);
        head.set_path("/");
        head.set_authority("a");
        let key = self.connection.borrow_mut().reserve();
        self.connection.borrow_mut().send_request(key, &head, end);
        Stream::new(self.connection.clone(), key)
    }

    fn response(&mut self, stream: &Stream) -> Result<ResponseHead, ResetReason> {
        self.flush();
        let mut head = ResponseHead::default();
        match self.connection.borrow_mut().poll_response(&mut cx(), stream.key(), &mut head) {
            Poll::Ready(Ok(())) => Ok(head),
            Poll::Ready(Err(error)) => Err(error.reason),
            Poll::Pending => panic!("no response"),
        }
    }

    fn respond(&self, stream: &Stream, end: bool) {
        let head = ResponseHead { status: 200, ..ResponseHead::default() };
        self.connection.borrow_mut().send_response(stream.key(), &head, end);
    }

    fn send(&self, key: Key, body: &[u8], last: bool) -> Poll<Sent> {
        self.connection.borrow_mut().poll_send(&mut cx(), key, body, last).map(Result::unwrap)
    }
}

/// All that lies in the stream, and how it goes on.
fn body(stream: &mut Stream) -> (Vec<u8>, Option<Next>) {
    let mut all = Vec::new();
    loop {
        match stream.poll_body(&mut cx()) {
            Poll::Ready(Ok(Next::Data { .. })) => {
                all.extend_from_slice(stream.data());
                stream.consume(stream.data().len());
            }
            Poll::Ready(Ok(end)) => return (all, Some(end)),
            Poll::Ready(Err(_)) | Poll::Pending => return (all, None),
        }
    }
}

#[test]
fn a_request_and_its_response_with_padding_priority_continuation_and_trailers() {
    let mut peer = Peer::server();
    let block = peer.block(&[POST, &[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]].concat());
    // Padding of two, a priority, and the block in three parts.
    let mut first = vec![2, 0, 0, 0, 0, 7];
    first.extend_from_slice(&block[..3]);
    first.extend_from_slice(&[0, 0]);
    peer.frame(Kind::Headers, frame::PADDED | frame::PRIORITY, 1, &first);
    peer.frame(Kind::Continuation, 0, 1, &block[3..4]);
    peer.frame(Kind::Continuation, frame::END_HEADERS, 1, &block[4..]);
    let mut stream = peer.accept().unwrap();
    let mut head = RequestHead::default();
    assert!(peer.connection.borrow_mut().take_request(stream.key(), &mut head));
    assert_eq!((head.method(), head.path(), head.authority()), ("POST", "/", "a"));
    assert_eq!(head.headers.joined("cookie").as_deref(), Some("a=1; b=2"));
    peer.frame(Kind::Data, frame::PADDED, 1, &[1, b'x', 0]).headers(1, true, &[("grpc-status", "0")]).flush();
    assert_eq!(body(&mut stream), (b"x".to_vec(), Some(Next::Trailers)));
    assert_eq!(stream.trailers().get(Known::GrpcStatus), Some(&b"0"[..]));
    peer.respond(&stream, false);
    stream.send_last(b"answer");
    drop(stream);
    let kinds: Vec<_> = peer.frames().iter().map(|(head, _)| (head.kind, head.flags)).collect();
    assert_eq!(kinds, [(Kind::Headers, frame::END_HEADERS), (Kind::Data, frame::END_STREAM)]);
    assert_eq!(peer.connection.borrow().streams(), 0);
}

#[test]
fn large_heads_leave_in_parts() {
    let mut peer = Peer::client();
    let mut head = RequestHead::default();
    head.set_method("GET");
    head.set_path("/");
    head.headers.append_named(b"x-large", &[b'v'; 40_000]);
    let key = peer.connection.borrow_mut().reserve();
    peer.connection.borrow_mut().send_request(key, &head, true);
    let frames = peer.frames();
    let shape: Vec<_> = frames.iter().map(|(head, _)| (head.kind, head.flags, head.id)).collect();
    assert_eq!(
        shape,
        [
            (Kind::Headers, frame::END_STREAM, 1),
            (Kind::Continuation, 0, 1),
            (Kind::Continuation, frame::END_HEADERS, 1)
        ]
    );
    let block: Vec<u8> = frames.into_iter().flat_map(|(_, payload)| payload).collect();
    let mut largest = 0;
    let mut decoder = crate::http::h2::hpack::Decoder::new(4096);
    decoder.decode(&block, |field| largest = largest.max(field.value.len())).unwrap();
    assert_eq!(largest, 40_000);
}

#[test]
fn malformed_requests_are_reset_and_the_connection_goes_on() {
    let cases: &[&[(&str, &str)]] = &[
        &[(":method", "GET"), (":scheme", "http")],
        &[(":method", "GET"), (":path", "/")],
        &[(":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "x")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a b")],
        &[(":method", "G T"), (":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":method", "GET"), (":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":status", "200")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":other", "1")],
        &[(":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a b")],
        &[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
        &[(":method", "CONNECT")],
        // Extended CONNECT was not offered.
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ],
        &[
            (":method", "GET"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("connection", "close")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("transfer-encoding", "chunked")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("te", "gzip")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("Upper", "1")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x", "a\nb")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("content-length", "1")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("content-length", "-0")],
    ];
    let mut peer = Peer::server();
    for (n, fields) in cases.iter().enumerate() {
        let id = 2 * n as u32 + 1;
        let faults = peer.headers(id, true, fields).faults();
        assert_eq!(faults, [(Kind::Reset, id, Code::PROTOCOL_ERROR)], "{fields:?}");
        assert!(peer.accept().is_none(), "{fields:?}");
    }
    assert_eq!(peer.stats.rx_messaging_error.get(), cases.len() as u64);
    let (_, head) = peer.request(1001, true, GET);
    assert_eq!(head.method(), "GET");
}

#[test]
fn malformed_responses_fail_their_stream_alone() {
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[(":status", "20")],
        &[(":status", "abc")],
        &[(":status", "101")],
        &[("x", "1"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("content-length", "5")],
    ];
    let mut peer = Peer::client();
    for fields in cases {
        let stream = peer.ask("GET", true);
        let id = peer.frames()[0].0.id;
        peer.headers(id, true, fields);
        assert_eq!(peer.response(&stream).unwrap_err(), ResetReason::ProtocolError, "{fields:?}");
        assert_eq!(peer.faults(), [(Kind::Reset, id, Code::PROTOCOL_ERROR)], "{fields:?}");
    }
    // HEAD and 304 name a length that does not follow.
    let stream = peer.ask("HEAD", true);
    let id = peer.frames()[0].0.id;
    peer.headers(id, true, &[(":status", "200"), ("content-length", "5")]);
    assert_eq!(peer.response(&stream).unwrap().status, 200);
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let mut peer = Peer::client();
    let mut stream = peer.ask("POST", false);
    peer.headers(1, false, &[(":status", "100")]).headers(1, false, &[(":status", "103"), ("link", "</a>")]);
    peer.headers(1, false, OK).data(1, true, b"x");
    let statuses: Vec<_> = (0..3).map(|_| peer.response(&stream).unwrap().status).collect();
    assert_eq!(statuses, [100, 103, 200]);
    assert_eq!(body(&mut stream), (b"x".to_vec(), Some(Next::End)));
}

#[test]
fn bodies_are_as_long_as_they_say() {
    for (length, parts, good) in [
        ("3", &[("ab", false), ("c", true)][..], true),
        ("3", &[("ab", true)], false),
        ("3", &[("ab", false), ("cd", false)], false),
        ("0", &[("", true)], true),
    ] {
        let mut peer = Peer::server();
        let (_stream, _) = peer.request(1, false, &[POST, &[("content-length", length)]].concat());
        for (data, end) in parts {
            peer.data(1, *end, data.as_bytes());
        }
        let fault = (Kind::Reset, 1, Code::PROTOCOL_ERROR);
        assert_eq!(peer.faults(), if good { vec![] } else { vec![fault] }, "{length} {parts:?}");
    }
    // Trailers end a body too.
    let mut peer = Peer::server();
    let (_stream, _) = peer.request(1, false, &[POST, &[("content-length", "3")]].concat());
    assert_eq!(peer.headers(1, true, &[("x", "1")]).faults(), [(Kind::Reset, 1, Code::PROTOCOL_ERROR)]);
}

#[test]
fn violations_end_the_connection() {
    type Case = (&'static str, fn(&mut Peer), Code);
    let cases: &[Case] = &[
        ("data on an idle stream", |p| p.data(1, true, b"x").done(), Code::PROTOCOL_ERROR),
        ("a window of an idle stream", |p| p.window(5, 1).done(), Code::PROTOCOL_ERROR),
        ("reset of an idle stream", |p| p.frame(Kind::Reset, 0, 1, &[0; 4]).done(), Code::PROTOCOL_ERROR),
        ("an even stream", |p| p.headers(2, true, GET).done(), Code::PROTOCOL_ERROR),
        ("headers on stream 0", |p| p.headers(0, true, GET).done(), Code::PROTOCOL_ERROR),
        ("an old stream", |p| p.headers(3, true, GET).headers(1, true, GET).done(), Code::STREAM_CLOSED),
        ("a push", |p| p.frame(Kind::PushPromise, 4, 1, &[0; 4]).done(), Code::PROTOCOL_ERROR),
        ("a frame too large", |p| p.frame(Kind::Data, 0, 1, &[0; 16_385]).done(), Code::FRAME_SIZE_ERROR),
        ("a short ping", |p| p.frame(Kind::Ping, 0, 0, &[0; 7]).done(), Code::FRAME_SIZE_ERROR),
        ("a ping on a stream", |p| p.frame(Kind::Ping, 0, 1, &[0; 8]).done(), Code::PROTOCOL_ERROR),
        ("uneven settings", |p| p.frame(Kind::Settings, 0, 0, &[0; 5]).done(), Code::FRAME_SIZE_ERROR),
        ("settings on a stream", |p| p.frame(Kind::Settings, 0, 1, &[]).done(), Code::PROTOCOL_ERROR),
        ("an ACK with settings", |p| p.frame(Kind::Settings, 1, 0, &[0; 6]).done(), Code::FRAME_SIZE_ERROR),
        (
            "a huge window",
            |p| p.setting(Setting::InitialWindowSize(1 << 31)).done(),
            Code::FLOW_CONTROL_ERROR,
        ),
        ("small frames", |p| p.setting(Setting::MaxFrameSize(16_383)).done(), Code::PROTOCOL_ERROR),
        ("push that is 2", |p| p.setting(Setting::EnablePush(2)).done(), Code::PROTOCOL_ERROR),
        ("a window of 0", |p| p.window(0, 0).done(), Code::PROTOCOL_ERROR),
        ("a window too wide", |p| p.window(0, 0x7fff_ffff).done(), Code::FLOW_CONTROL_ERROR),
        ("a short window", |p| p.frame(Kind::WindowUpdate, 0, 0, &[0; 3]).done(), Code::FRAME_SIZE_ERROR),
        ("a short goaway", |p| p.frame(Kind::GoAway, 0, 0, &[0; 7]).done(), Code::FRAME_SIZE_ERROR),
        ("priority of stream 0", |p| p.frame(Kind::Priority, 0, 0, &[0; 5]).done(), Code::PROTOCOL_ERROR),
        (
            "continuation of nothing",
            |p| p.frame(Kind::Continuation, 4, 1, &[0x82]).done(),
            Code::PROTOCOL_ERROR,
        ),
        ("no HPACK", |p| p.frame(Kind::Headers, 5, 1, &[0x80]).done(), Code::COMPRESSION_ERROR),
        ("padding too long", |p| p.frame(Kind::Headers, 13, 1, &[9, 0x82]).done(), Code::PROTOCOL_ERROR),
        (
            "a self dependency",
            |p| p.frame(Kind::Headers, 0x25, 1, &[0, 0, 0, 1, 0]).done(),
            Code::PROTOCOL_ERROR,
        ),
        (
            "something between HEADERS and CONTINUATION",
            |p| p.frame(Kind::Headers, 0, 1, &[0x82]).frame(Kind::Ping, 0, 0, &[0; 8]).done(),
            Code::PROTOCOL_ERROR,
        ),
        (
            "a continuation of another stream",
            |p| p.frame(Kind::Headers, 0, 1, &[0x82]).frame(Kind::Continuation, 4, 3, &[0x84]).done(),
            Code::PROTOCOL_ERROR,
        ),
    ];
    for (name, act, code) in cases {
        let mut peer = Peer::server();
        act(&mut peer);
        assert_eq!(peer.goaway(), Some(*code), "{name}");
        assert!(peer.connection.borrow().ended().is_some(), "{name}");
    }
}

impl Peer {
    /// Ends a chain of calls.
    fn done(&self) {}
}

#[test]
fn the_preface_and_settings_come_first() {
    for input in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0........"]
    {
        let mut connection = Connection::new(Role::Server, CONFIG, Arc::default());
        connection.receive(input);
        assert!(connection.ended().is_some());
    }
}

#[test]
fn faults_of_one_stream_reset_it() {
    type Case = (&'static str, fn(&mut Peer), Code);
    let cases: &[Case] = &[
        ("data after the end", |p| p.data(1, false, b"x").done(), Code::STREAM_CLOSED),
        ("headers after the end", |p| p.headers(1, true, &[("x", "1")]).done(), Code::STREAM_CLOSED),
        ("a window of 0", |p| p.window(1, 0).done(), Code::PROTOCOL_ERROR),
        ("a window too wide", |p| p.window(1, 0x7fff_ffff).done(), Code::FLOW_CONTROL_ERROR),
        ("a short priority", |p| p.frame(Kind::Priority, 0, 1, &[0; 4]).done(), Code::FRAME_SIZE_ERROR),
    ];
    for (name, act, code) in cases {
        let mut peer = Peer::server();
        let (stream, _) = peer.request(1, true, GET);
        act(&mut peer);
        assert_eq!(peer.faults(), [(Kind::Reset, 1, *code)], "{name}");
        let error = peer.connection.borrow_mut().poll_error(&mut cx(), stream.key());
        let error = error.map(|error| error.reason);
        // The request was complete: only the answer fails.
        assert_eq!(error, Poll::Ready(ResetReason::ProtocolError), "{name}");
        drop(stream);
        // What was on its way for it is no fault.
        assert_eq!(peer.data(1, true, b"x").window(1, 5).headers(1, true, &[("x", "1")]).faults(), []);
    }
    // Trailers that end nothing, trailers with pseudo fields.
    for (end, field) in [(false, ("x", "1")), (true, (":path", "/"))] {
        let mut peer = Peer::server();
        let (_stream, _) = peer.request(1, false, POST);
        assert_eq!(peer.headers(1, end, &[field]).faults(), [(Kind::Reset, 1, Code::PROTOCOL_ERROR)]);
    }
}

#[test]
fn a_peer_that_ignores_windows_is_stopped() {
    let mut peer = Peer::server();
    let (_stream, _) = peer.request(1, false, POST);
    for _ in 0..4 {
        peer.data(1, false, &[0; 16_000]);
    }
    assert_eq!(peer.faults(), []);
    assert_eq!(peer.data(1, false, &[0; 2000]).faults(), [(Kind::Reset, 1, Code::FLOW_CONTROL_ERROR)]);
    // The stream's data still fills the connection until somebody takes or drops it.
    let (_second, _) = peer.request(3, false, POST);
    peer.data(3, false, &[0; 16_000]).data(3, false, &[0; 16_000]);
    assert_eq!(peer.data(3, false, &[0; 3000]).goaway(), Some(Code::FLOW_CONTROL_ERROR));
}

#[test]
fn windows_open_as_data_is_taken_or_dropped() {
    let mut peer = Peer::server();
    let (mut stream, _) = peer.request(1, false, POST);
    for round in 0..10 {
        for _ in 0..3 {
            peer.data(1, false, &[0; 16_000]);
        }
        assert_eq!(peer.faults(), [], "round {round}");
        assert_eq!(body(&mut stream).0.len(), 48_000);
        let updates: u32 = peer.frames().iter().filter_map(|(_, payload)| frame::number(payload)).sum();
        assert!(updates > 0, "round {round}");
    }
    for _ in 0..3 {
        peer.data(1, false, &[0; 16_000]);
    }
    peer.flush();
    // Handed out and not consumed, and not handed out: both come back to the connection.
    assert!(stream.poll_body(&mut cx()).is_ready());
    peer.data(1, false, &[0; 10_000]).flush();
    peer.frames();
    drop(stream);
    let frames = peer.frames();
    assert!(frames.iter().any(|(head, _)| head.kind == Kind::WindowUpdate && head.id == 0), "{frames:?}");
    assert!(frames.iter().any(|(head, _)| head.kind == Kind::Reset && head.id == 1));
}

#[test]
fn sending_keeps_to_both_windows_and_waits() {
    let mut peer = Peer::server();
    peer.setting(Setting::InitialWindowSize(10)).flush();
    let (stream, _) = peer.request(1, true, GET);
    peer.respond(&stream, false);
    assert_eq!(peer.send(stream.key(), &[7; 25], true), Poll::Ready(Sent::Bytes(10)));
    assert_eq!(peer.send(stream.key(), &[7; 15], true), Poll::Pending);
    peer.window(1, 5).flush();
    assert_eq!(peer.send(stream.key(), &[7; 15], true), Poll::Ready(Sent::Bytes(5)));
    // The window may become negative, and opens only beyond that (RFC 9113, 6.9.2).
    peer.setting(Setting::InitialWindowSize(0)).window(1, 10).flush();
    assert_eq!(peer.send(stream.key(), &[7; 10], true), Poll::Pending);
    peer.setting(Setting::InitialWindowSize(1000)).flush();
    assert_eq!(peer.send(stream.key(), &[7; 10], true), Poll::Ready(Sent::Bytes(10)));
    let data: Vec<_> =
        peer.frames().iter().filter(|(head, _)| head.kind == Kind::Data).map(|(h, _)| *h).collect();
    assert_eq!(data.iter().map(|head| head.len).collect::<Vec<_>>(), [10, 5, 10]);
    assert!(data[2].has(frame::END_STREAM));
}

#[test]
fn the_connections_window_and_the_queue_are_shared() {
    let mut peer = Peer::server();
    peer.setting(Setting::InitialWindowSize(1 << 20)).flush();
    let (first, _) = peer.request(1, true, GET);
    let (second, _) = peer.request(3, true, GET);
    peer.respond(&first, false);
    peer.respond(&second, false);
    peer.frames();
    // 65,535 is the connection's.
    assert_eq!(peer.send(first.key(), &[0; 100_000], false), Poll::Ready(Sent::Bytes(65_535)));
    assert_eq!(peer.send(second.key(), &[0; 10], false), Poll::Pending);
    peer.frames();
    assert_eq!(peer.send(second.key(), &[0; 10], false), Poll::Pending);
    peer.window(0, 1 << 20).flush();
    // Now the queue is the limit.
    let Poll::Ready(Sent::Bytes(n)) = peer.send(second.key(), &[0; 500_000], false) else { panic!("stuck") };
    assert!((60_000..70_000).contains(&n), "{n}");
    assert_eq!(peer.send(first.key(), &[0; 10], false), Poll::Pending);
    peer.frames();
    assert_eq!(peer.send(first.key(), &[0; 10], false), Poll::Ready(Sent::Bytes(10)));
}

#[test]
fn small_bodies_of_our_own_wait_for_the_window_with_what_follows() {
    let mut peer = Peer::server();
    peer.setting(Setting::InitialWindowSize(4)).flush();
    let (mut stream, _) = peer.request(1, true, GET);
    peer.respond(&stream, false);
    stream.send_last(b"no healthy upstream");
    let mut cx = cx();
    assert!(stream.poll_flush(&mut cx).is_pending());
    peer.window(1, 8).flush();
    assert!(stream.poll_flush(&mut cx).is_pending());
    peer.window(1, 100).flush();
    assert!(matches!(stream.poll_flush(&mut cx), Poll::Ready(Ok(()))));
    let frames = peer.frames();
    let text: Vec<u8> =
        frames.iter().filter(|(head, _)| head.kind == Kind::Data).flat_map(|(_, p)| p.clone()).collect();
    assert_eq!(text, b"no healthy upstream");
    assert!(frames.last().unwrap().0.has(frame::END_STREAM));
}

#[test]
fn streams_beyond_the_limit_are_refused_and_leave_the_table_whole() {
    let mut peer = Peer::server();
    let streams: Vec<_> = [1, 3, 5].map(|id| peer.request(id, false, POST).0).into();
    let more = [POST, &[("x-late", "1")]].concat();
    assert_eq!(peer.headers(7, true, &more).faults(), [(Kind::Reset, 7, Code::REFUSED_STREAM)]);
    assert_eq!(peer.headers(9, true, &more).faults(), [(Kind::Reset, 9, Code::REFUSED_STREAM)]);
    drop(streams);
    let (_, head) = peer.request(11, true, &more);
    assert_eq!(head.headers.joined("x-late").as_deref(), Some("1"));
    assert_eq!(peer.stats.stream_refused_errors.get(), 2);
}

#[test]
fn large_heads_are_answered_and_longer_ones_end_the_connection() {
    let mut peer = Peer::server();
    for fields in [vec![("x", "v".repeat(4000))], vec![("x", String::new()); 11]] {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let id = peer.connection.borrow().last_id + 1;
        peer.headers(id | 1, true, &[GET, &fields].concat());
        let stream = peer.accept().expect("an answer is due");
        assert!(!peer.connection.borrow_mut().take_request(stream.key(), &mut RequestHead::default()));
    }
    assert_eq!(peer.stats.header_overflow.get(), 2);
    // Without end: bytes, or frames.
    for part in [8000, 1] {
        let mut peer = Peer::server();
        peer.frame(Kind::Headers, 0, 1, &[0x82]);
        for _ in 0..30 {
            peer.frame(Kind::Continuation, 0, 1, &vec![0x82; part]);
        }
        assert_eq!(peer.goaway(), Some(Code::ENHANCE_YOUR_CALM), "{part}");
    }
}

#[test]
fn floods_are_stopped_and_counted_under_envoys_names() {
    type Case = (&'static str, fn(&mut Peer), fn(&Http2Stats) -> u64);
    let cases: &[Case] = &[
        (
            "ping",
            |p| (0..1001).for_each(|_| p.frame(Kind::Ping, 0, 0, &[0; 8]).done()),
            |s| s.outbound_control_flood.get(),
        ),
        (
            "settings",
            |p| (0..1001).for_each(|_| p.frame(Kind::Settings, 0, 0, &[]).done()),
            |s| s.outbound_control_flood.get(),
        ),
        (
            "empty data",
            |p| {
                p.headers(1, false, POST);
                (0..2).for_each(|_| p.data(1, false, b"").done());
            },
            |s| s.inbound_empty_frames_flood.get(),
        ),
        (
            "padding only",
            |p| {
                p.headers(1, false, POST);
                (0..2).for_each(|_| p.frame(Kind::Data, frame::PADDED, 1, &[3, 0, 0, 0]).done());
            },
            |s| s.inbound_empty_frames_flood.get(),
        ),
        (
            "empty continuations",
            |p| {
                p.frame(Kind::Headers, 0, 1, &[]);
                p.frame(Kind::Continuation, 0, 1, &[]);
            },
            |s| s.inbound_empty_frames_flood.get(),
        ),
        (
            "priority",
            |p| (0..101).for_each(|_| p.frame(Kind::Priority, 0, 1, &[0; 5]).done()),
            |s| s.inbound_priority_frames_flood.get(),
        ),
        (
            "windows",
            |p| (0..6).for_each(|_| p.window(0, 1).done()),
            |s| s.inbound_window_update_frames_flood.get(),
        ),
        (
            "rapid reset",
            |p| {
                (0..600).for_each(|n| {
                    p.headers(2 * n + 1, true, GET).frame(Kind::Reset, 0, 2 * n + 1, &[0, 0, 0, 8]).done();
                })
            },
            |_| 1,
        ),
        (
            "made to reset",
            |p| {
                (0..600).for_each(|n| {
                    p.headers(2 * n + 1, true, GET).window(2 * n + 1, 0).done();
                })
            },
            |_| 1,
        ),
        ("malformed", |p| (0..600).for_each(|n| p.headers(2 * n + 1, true, OK).done()), |_| 1),
    ];
    for (name, act, count) in cases {
        let mut peer = Peer::server();
        act(&mut peer);
        assert_eq!(peer.goaway(), Some(Code::ENHANCE_YOUR_CALM), "{name}");
        assert_eq!(count(&peer.stats), 1, "{name}");
        assert!(peer.connection.borrow().output().len() < 100_000, "{name}");
    }
}

#[test]
fn an_honest_peer_is_no_flood() {
    let mut peer = Peer::server();
    for n in 0..2000 {
        let (mut stream, _) = peer.request(2 * n + 1, n % 2 == 0, GET);
        if n % 2 == 1 {
            peer.data(2 * n + 1, false, b"x").data(2 * n + 1, true, b"").flush();
            assert_eq!(body(&mut stream).1, Some(Next::End));
        }
        peer.respond(&stream, false);
        stream.send_last(b"answer");
        peer.frame(Kind::Ping, 0, 0, &[0; 8]).window(0, 6);
        drop(stream);
        assert_eq!(peer.faults(), [], "{n}");
    }
    assert_eq!(peer.connection.borrow().streams(), 0);
}

#[test]
fn a_server_lets_requests_on_their_way_finish() {
    let mut peer = Peer::server();
    let (first, _) = peer.request(1, true, GET);
    peer.connection.borrow_mut().go_away();
    let frames = peer.frames();
    assert_eq!(frame::number(&frames[0].1), Some(0x7fff_ffff));
    let ping = &frames[1];
    assert_eq!(ping.0.kind, Kind::Ping);
    // This one crossed the GOAWAY.
    let (second, _) = peer.request(3, true, GET);
    assert_eq!(peer.frame(Kind::Ping, frame::ACK, 0, &ping.1).faults(), [(Kind::GoAway, 3, Code::NO_ERROR)]);
    peer.headers(5, true, GET).flush();
    assert!(peer.accept().is_none());
    peer.respond(&first, true);
    peer.respond(&second, true);
    drop((first, second));
    assert!(peer.connection.borrow().is_finished());
    assert_eq!(peer.faults(), []);
}

#[test]
fn a_goaway_refuses_what_the_peer_has_not_seen() {
    let mut peer = Peer::client();
    let (seen, unseen) = (peer.ask("GET", true), peer.ask("GET", true));
    peer.frame(Kind::GoAway, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(peer.response(&unseen).unwrap_err(), ResetReason::RemoteRefusedStreamReset);
    assert!(!peer.connection.borrow().is_open());
    let late = peer.ask("GET", true);
    assert_eq!(peer.response(&late).unwrap_err(), ResetReason::RemoteRefusedStreamReset);
    peer.headers(1, true, OK);
    assert_eq!(peer.response(&seen).unwrap().status, 200);
}

#[test]
fn a_server_may_stop_a_request_after_its_answer() {
    let mut peer = Peer::client();
    let mut stream = peer.ask("POST", false);
    peer.headers(1, false, OK).data(1, true, b"enough").frame(Kind::Reset, 0, 1, &[0; 4]);
    assert_eq!(peer.response(&stream).unwrap().status, 200);
    assert_eq!(peer.send(stream.key(), b"more", false), Poll::Ready(Sent::Unwanted));
    assert_eq!(body(&mut stream), (b"enough".to_vec(), Some(Next::End)));
    drop(stream);
    // Any other code is a failure.
    let stream = peer.ask("POST", false);
    peer.frame(Kind::Reset, 0, 3, &[0, 0, 0, 7]);
    assert_eq!(peer.response(&stream).unwrap_err(), ResetReason::RemoteRefusedStreamReset);
}

#[test]
fn dropping_a_stream_says_why() {
    let mut peer = Peer::server();
    let (stream, _) = peer.request(1, false, POST);
    drop(stream);
    let (stream, _) = peer.request(3, false, POST);
    peer.respond(&stream, true);
    drop(stream);
    let expected = [(Kind::Reset, 1, Code::INTERNAL_ERROR), (Kind::Reset, 3, Code::NO_ERROR)];
    assert_eq!(peer.faults(), expected);
    let mut peer = Peer::client();
    drop(peer.ask("GET", true));
    assert_eq!(peer.faults(), [(Kind::Reset, 1, Code::CANCEL)]);
}

#[test]
fn trailers_without_fields_are_an_end() {
    let mut peer = Peer::server();
    let (mut stream, _) = peer.request(1, true, GET);
    peer.respond(&stream, false);
    stream.send_trailers(&HeaderList::new());
    let frames = peer.frames();
    assert_eq!(frames.last().map(|(head, _)| (head.kind, head.flags)), Some((Kind::Data, frame::END_STREAM)));
}

/// A frame of any kind with a payload that may even fit.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        Just(vec![0x82, 0x86, 0x84]),
        Just(vec![0x88]),
        prop::collection::vec(any::<u8>(), 0..20),
        Just(vec![0; 4]),
        Just(vec![0; 8]),
    ];
    (0u8..11, any::<u8>(), 0u32..8, payload).prop_map(|(kind, flags, id, payload)| {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&payload);
        frame
    })
}

proptest! {
    /// Whatever a peer sends, in either role: no panic, and every stream that was handed out can be worked on.
    #[test]
    fn no_frames_break_a_connection(server: bool, frames in prop::collection::vec(any_frame(), 0..60)) {
        let mut peer = if server { Peer::server() } else { Peer::client() };
        let mut streams = if server { vec![] } else { vec![peer.ask("GET", true), peer.ask("POST", false)] };
        for frame in frames {
            peer.input = frame;
            let input = std::mem::take(&mut peer.input);
            peer.connection.borrow_mut().receive(&input);
            streams.extend(peer.accept());
            for stream in &mut streams {
                let _ = body(stream);
                peer.respond(stream, false);
                let _ = peer.connection.borrow_mut().poll_send(&mut cx(), stream.key(), b"body", false);
            }
            if streams.len() > 4 {
                streams.remove(0);
            }
            let n = peer.connection.borrow().output().len();
            prop_assert!(n < 10_000);
            peer.connection.borrow_mut().wrote(n);
        }
        drop(streams);
        prop_assert_eq!(peer.connection.borrow().streams(), 0);
    }
}

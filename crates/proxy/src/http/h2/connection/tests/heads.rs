//! Heads, bodies and trailers: what is well formed and what it costs when it is not.

use super::*;

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
fn trailers_without_fields_are_an_end() {
    let mut peer = Peer::server();
    let (mut stream, _) = peer.request(1, true, GET);
    peer.respond(&stream, false);
    stream.send_trailers(&HeaderList::new());
    let frames = peer.frames();
    assert_eq!(frames.last().map(|(head, _)| (head.kind, head.flags)), Some((Kind::Data, frame::END_STREAM)));
}

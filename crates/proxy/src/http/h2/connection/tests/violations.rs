//! What a peer may not do, and that it ends a stream, the connection, or nothing.

use super::*;

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

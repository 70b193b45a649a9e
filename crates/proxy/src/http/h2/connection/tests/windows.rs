//! Flow control in both directions.

use super::*;

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
fn a_peer_that_goes_on_after_a_reset_is_stopped() {
    let mut peer = Peer::server();
    let (stream, _) = peer.request(1, false, POST);
    drop(stream);
    peer.frames();
    // What was on its way is none of its fault, and no more than the window can have been.
    for _ in 0..4 {
        assert_eq!(peer.data(1, false, &[0; 16_000]).goaway(), None);
    }
    assert_eq!(peer.data(1, false, &[0; 2000]).goaway(), Some(Code::FLOW_CONTROL_ERROR));
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

//! GOAWAY, and streams that end before their time.

use super::*;

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

/// One that waits for the connection's window, is woken by its peer for another reason and goes: nobody may look for it
/// when the window opens, least of all once its slot is gone.
#[test]
fn a_stream_that_goes_does_not_wait_any_more() {
    let mut peer = Peer::new(Role::Server, Config { max_streams: 20, ..CONFIG });
    peer.setting(Setting::InitialWindowSize(1 << 20)).flush();
    let streams: Vec<_> = (0..20).map(|n| peer.request(1 + 2 * n, true, GET).0).collect();
    for stream in &streams {
        peer.respond(stream, false);
    }
    peer.frames();
    assert_eq!(peer.send(streams[0].key(), &[0; 65_535], false), Poll::Ready(Sent::Bytes(65_535)));
    for (n, stream) in streams.iter().enumerate() {
        assert_eq!(peer.send(stream.key(), b"more", false), Poll::Pending);
        peer.frame(Kind::Reset, 0, 1 + 2 * n as u32, &[0, 0, 0, 8]);
    }
    peer.flush();
    drop(streams);
    assert_eq!(peer.connection.borrow().waiting.len(), 0);
    peer.window(0, 1 << 20).flush();
    peer.frames();
    let (stream, _) = peer.request(41, true, GET);
    peer.respond(&stream, false);
    assert_eq!(peer.send(stream.key(), b"all is well", true), Poll::Ready(Sent::Bytes(11)));
}

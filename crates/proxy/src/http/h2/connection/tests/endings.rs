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

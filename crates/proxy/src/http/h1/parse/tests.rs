//! Heads byte by byte: what is read, and what is refused with which status.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    bytes: 1000,
    fields: 10,
    names: crate::http::config::NameFormat { case: crate::http::config::NameCase::Lower, preserve: false },
};

fn parsed(text: &str) -> (RequestHead, Result<Option<Parsed>, Rejection>) {
    let mut head = RequestHead::default();
    let result = request(text.as_bytes(), LIMITS, true, &mut head);
    (head, result)
}

#[test]
fn targets() {
    for (line, path, authority) in [
        ("GET /a?b HTTP/1.1", "/a?b", "h"),
        ("OPTIONS * HTTP/1.1", "*", "h"),
        ("GET http://x.y:1/a HTTP/1.1", "/a", "x.y:1"),
        ("GET HTTP://x?q HTTP/1.1", "/?q", "x"),
        ("GET https://x HTTP/1.1", "/", "x"),
        ("CONNECT x:1 HTTP/1.1", "", "x:1"),
    ] {
        let (head, result) = parsed(&format!("{line}\r\nHost: h\r\n\r\n"));
        assert!(result.unwrap().is_some(), "{line}");
        assert_eq!((head.path(), head.authority()), (path, authority), "{line}");
        assert!(!head.headers.contains(Known::Host));
    }
}

#[test]
fn keep_alive_rules() {
    for (text, keep) in [
        ("GET / HTTP/1.1\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nconnection: Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nconnection: close, keep-alive\r\n\r\n", false),
    ] {
        assert_eq!(parsed(text).1.unwrap().unwrap().keep_alive, keep, "{text:?}");
    }
}

#[test]
fn upgrades_are_asked_for_in_two_places() {
    let (head, _) = parsed("GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(head.upgrade);
    for text in [
        "GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\r\n",
    ] {
        let (head, _) = parsed(text);
        assert!(!head.upgrade && head.headers.is_empty(), "{text:?}");
    }
}

#[test]
fn chunk_sizes() {
    for (line, size) in [("0\r\n", 0), ("1a\r\n", 26), ("A;x=\"y\"\r\n", 10), ("a ;x\r\n", 10)] {
        assert_eq!(chunk_size(line.as_bytes()), Ok(Some((line.len(), size))), "{line:?}");
    }
    assert_eq!(chunk_size(b"1"), Ok(None));
    for line in ["\r\n", "g\r\n", "1x\r\n", "1\n", "1\r\r\n", "1234567890abcdef\r\n", "0x1\r\n", " 1\r\n"] {
        assert!(chunk_size(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(chunk_size(&[b'1'; 5000]).is_err());
    assert!(chunk_size(&[&b"1;"[..], &[b'x'; 5000]].concat()).is_err());
}

#[test]
fn a_head_that_comes_in_pieces_is_the_same_head() {
    let text = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
    for end in 0..text.len() {
        let mut head = RequestHead::default();
        assert_eq!(request(&text.as_bytes()[..end], LIMITS, false, &mut head), Ok(None), "{end}");
    }
    let (head, result) = parsed(text);
    assert_eq!(result.unwrap().unwrap().len, text.len());
    assert_eq!(head.body, BodyLength::Exact(3));
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = request(&bytes, LIMITS, true, &mut RequestHead::default());
        let _ = response(&bytes, LIMITS, false, &mut ResponseHead::default());
        let _ = chunk_size(&bytes);
        let _ = trailers(&bytes, LIMITS, &mut HeaderList::new());
    }

    /// What is accepted and written out again means the same to the next parser.
    #[test]
    fn what_leaves_is_what_came(
        path in "/[a-z0-9/%?=&.-]{0,20}",
        fields in prop::collection::vec(("[A-Za-z-]{1,12}", "[ -~]{0,20}"), 0..8),
    ) {
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let (head, result) = parsed(&text);
        if let Ok(Some(_)) = result {
            let mut out = Vec::new();
            crate::http::h1::encode::request(&head, head.body == BodyLength::None, Default::default(), &mut out);
            let mut again = RequestHead::default();
            let result = request(&out, LIMITS, true, &mut again);
            prop_assert!(matches!(result, Ok(Some(parsed)) if parsed.len == out.len()), "{:?}", result);
            prop_assert_eq!(again.path(), head.path());
            prop_assert_eq!(again.body, head.body);
        }
    }
}

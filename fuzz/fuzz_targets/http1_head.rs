//! Request and response heads: no panic, and what is accepted reads the same once written out again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::http::{
    config::{NameCase, NameFormat},
    h1::{encode, parse},
    message::{BodyLength, RequestHead, ResponseHead},
};

const LIMITS: parse::Limits = parse::Limits {
    bytes: 60 * 1024,
    fields: 100,
    names: NameFormat { case: NameCase::Lower, preserve: false },
};

fuzz_target!(|data: &[u8]| {
    let _ = parse::response(data, LIMITS, false, &mut ResponseHead::default());
    let mut head = RequestHead::default();
    if let Ok(Some(parsed)) = parse::request(data, LIMITS, true, &mut head) {
        assert!(parsed.len <= data.len());
        let mut out = Vec::new();
        encode::request(&head, head.body == BodyLength::None, NameCase::Lower, &mut out);
        let mut again = RequestHead::default();
        match parse::request(&out, LIMITS, true, &mut again) {
            Ok(Some(parsed)) => assert_eq!(parsed.len, out.len()),
            // A CONNECT or an added header may pass a limit, never become something else.
            Ok(None) => panic!("a complete head became incomplete"),
            Err(_) => return,
        }
        assert_eq!((again.method(), again.path(), again.body), (head.method(), head.path(), head.body));
    }
});

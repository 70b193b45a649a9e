//! Chunk sizes and trailers: no panic, and never more bytes taken than there are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::http::{
    config::{NameCase, NameFormat},
    h1::parse,
    headers::HeaderList,
};

const LIMITS: parse::Limits = parse::Limits {
    bytes: 60 * 1024,
    fields: 100,
    names: NameFormat { case: NameCase::Lower, preserve: false },
};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((len, _))) = parse::chunk_size(data) {
        assert!(len <= data.len());
    }
    if let Ok(Some(len)) = parse::trailers(data, LIMITS, &mut HeaderList::new()) {
        assert!(len <= data.len());
    }
});

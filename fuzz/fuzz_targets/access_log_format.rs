//! Access log formats: compiled or refused, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::access_log::format::Format;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Format::compile(text);
});

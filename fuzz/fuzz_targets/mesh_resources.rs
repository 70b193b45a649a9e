//! Mesh resources as YAML or JSON: findings, never a panic, and each with a place inside the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_config::load::{Options, load_text};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = load_text("fuzz.yaml", text, &Options::default());
});

//! Header blocks: no panic, a table within its limit, and what is decoded reads the same once encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::http::h2::hpack::{Decoder, Encoder};

fuzz_target!(|data: &[u8]| {
    let (mut decoder, mut encoder, mut mirror) = (Decoder::new(512), Encoder::default(), Decoder::new(4096));
    // A block per run of bytes that are not 0xff.
    for block in data.split(|byte| *byte == 0xff) {
        let mut fields = Vec::new();
        let mut again = Vec::new();
        encoder.begin(&mut again);
        let decoded = decoder.decode(block, |field| {
            encoder.encode(field.kind, field.name, field.value, &mut again);
            fields.push((field.name.to_vec(), field.value.to_vec()));
        });
        assert!(decoder.table_size() <= 512);
        let mut mirrored = Vec::new();
        mirror.decode(&again, |field| mirrored.push((field.name.to_vec(), field.value.to_vec()))).unwrap();
        assert_eq!(fields, mirrored);
        if decoded.is_err() {
            return;
        }
    }
});

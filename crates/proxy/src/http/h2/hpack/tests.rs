//! Header compression: the RFC's examples, faults, and that what our encoder writes reads the same.

use proptest::prelude::*;

use super::{Decoder, Encoder, table::kind};

type Fields = Vec<(String, String)>;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, &'static str> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder
        .decode(block, |field| {
            assert_eq!(field.kind, kind(field.name));
            fields.push((text(field.name), text(field.value)));
        })
        .map_err(|error| error.0)?;
    Ok(fields)
}

fn expect(decoder: &mut Decoder, hex: &str, fields: &[(&str, &str)], size: usize) {
    let decoded = decode(decoder, &bytes(hex)).unwrap();
    let expected: Fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!(decoded, expected);
    assert_eq!(decoder.table_size(), size);
}

#[test]
fn literals_of_appendix_c_2() {
    let fresh = || Decoder::new(4096);
    let hex = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    expect(&mut fresh(), hex, &[("custom-key", "custom-header")], 55);
    expect(&mut fresh(), "040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0);
    expect(&mut fresh(), "1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0);
    expect(&mut fresh(), "82", &[(":method", "GET")], 0);
}

const FIRST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];

fn requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(4096);
    expect(&mut decoder, blocks[0], FIRST, 57);
    let second = [FIRST, &[("cache-control", "no-cache")]].concat();
    expect(&mut decoder, blocks[1], &second, 110);
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    expect(&mut decoder, blocks[2], &third, 164);
}

#[test]
fn requests_of_appendix_c_3_and_c_4() {
    requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
    requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

fn responses(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(256);
    let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let location = ("location", "https://www.example.com");
    let private = ("cache-control", "private");
    expect(&mut decoder, blocks[0], &[(":status", "302"), private, date, location], 222);
    expect(&mut decoder, blocks[1], &[(":status", "307"), private, date, location], 222);
    let third = [
        (":status", "200"),
        private,
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        location,
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    expect(&mut decoder, blocks[2], &third, 215);
}

#[test]
fn responses_with_eviction_of_appendix_c_5_and_c_6() {
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
         3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn faults_are_errors() {
    for (hex, words) in [
        ("80", "index of no entry"),
        ("be", "index of no entry"),
        ("7f 80", "block ends within a field"),
        ("ff ff ff ff ff ff 00", "integer too large"),
        ("40 05 6162", "block ends within a field"),
        ("00 01 61 81 00", "not a Huffman code"),
        ("82 20", "table size update within a block"),
        ("3f e2 1f", "table size beyond SETTINGS_HEADER_TABLE_SIZE"),
    ] {
        assert_eq!(decode(&mut Decoder::new(4096), &bytes(hex)), Err(words), "{hex}");
    }
}

#[test]
fn what_http_forbids_in_a_field_is_marked() {
    let mut decoder = Decoder::new(4096);
    for (name, value, valid) in [
        (&b"x-a"[..], &b"caf\xc3\xa9 \t b"[..], true),
        (b"x-A", b"1", false),
        (b"", b"1", false),
        (b"x a", b"1", false),
        (b":new", b"1", false),
        (b"x", b"1\r\n2", false),
        (b"x", b"\0", false),
        (b"x", b" 1", false),
        (b"x", b"1\t", false),
    ] {
        let mut block = vec![0x40, name.len() as u8];
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value);
        // Written out, and by index.
        block.push(0xbe);
        let mut seen = 0;
        decoder
            .decode(&block, |field| {
                assert_eq!(field.valid, valid, "{name:?}: {value:?}");
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, 2);
    }
}

fn block(encoder: &mut Encoder, fields: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.encode(kind(name.as_bytes()), name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

#[test]
fn what_repeats_becomes_one_byte_and_what_does_not_pushes_nothing_out() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(4096));
    let mut sizes = Vec::new();
    for n in 0..500 {
        let fields =
            [("server", "envoy".to_owned()), ("x-request-id", format!("{n:036}")), ("x-a", "b".into())];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        let block = block(&mut encoder, &fields);
        sizes.push(block.len());
        assert_eq!(decode(&mut decoder, &block).unwrap(), fields);
    }
    assert!(sizes[1] > 60, "{sizes:?}");
    assert!(sizes[2..].iter().all(|size| *size == 2 + 1 + 1 + 12 + 1 + 36), "{sizes:?}");
    assert_eq!(decoder.table_size(), ("serverenvoy".len() + 32) + ("x-ab".len() + 32));
}

#[test]
fn secrets_are_never_indexed() {
    let mut encoder = Encoder::default();
    let fields = [("authorization", "Basic eA=="), ("cookie", "a=1")];
    for _ in 0..3 {
        for (name, value) in fields {
            let block = block(&mut encoder, &[(name.to_owned(), value.to_owned())]);
            assert_eq!(block[0] & 0xf0, 0x10);
        }
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    let name =
        prop_oneof!["[a-z]{1,3}", Just("x-request-id".into()), Just("server".into()), Just("cookie".into())];
    let value = prop_oneof!["[a-c]{0,2}", "[ -~]{0,400}", "\\PC{0,20}"];
    prop::collection::vec((name, value), 0..20)
}

proptest! {
    /// Whatever table sizes the peer asks for on the way.
    #[test]
    fn what_is_encoded_is_decoded(blocks in prop::collection::vec((fields(), prop::option::of(0usize..6000)), 1..40)) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(6000));
        for (fields, limit) in blocks {
            if let Some(limit) = limit {
                encoder.set_limit(limit / 2);
                encoder.set_limit(limit);
            }
            let block = block(&mut encoder, &fields);
            prop_assert_eq!(decode(&mut decoder, &block).unwrap(), fields);
        }
    }

    #[test]
    fn no_block_breaks_the_decoder(blocks: Vec<Vec<u8>>) {
        let mut decoder = Decoder::new(300);
        for block in blocks {
            // Errors are fine, panics and growth are not.
            let _ = decoder.decode(&block, |_| {});
            prop_assert!(decoder.table_size() <= 300);
        }
    }
}

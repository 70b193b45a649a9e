//! The Huffman code of HPACK (RFC 7541, appendix B), made from its lengths alone because it is canonical.
//!
//! [`super::decoder`] and [`super::encoder`] call it. Invariant: [`decode`] takes exactly what [`encode`] makes, and
//! padding only as the RFC has it: fewer than eight bits, all ones.

/// Bits of each symbol's code; the last is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

const EOS: u16 = 256;
const LONGEST: usize = 30;

/// The code, from both ends.
struct Code {
    /// By symbol, right-aligned.
    codes: [u32; 257],
    /// By the next eight bits: symbol and length, where the length is at most eight; else length 0.
    short: [(u8, u8); 256],
    /// By length: the first code that is too large for it, left-aligned in 32 bits.
    beyond: [u64; LONGEST + 1],
    /// By length: what to add to a right-aligned code to have the place in `symbols`.
    offset: [i64; LONGEST + 1],
    /// In the order of their codes.
    symbols: [u16; 257],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        codes: [0; 257],
        short: [(0, 0); 256],
        beyond: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut next, mut placed, mut length) = (0u64, 0usize, 1usize);
    while length <= LONGEST {
        next <<= 1;
        code.offset[length] = placed as i64 - next as i64;
        let mut symbol = 0;
        while symbol <= EOS as usize {
            if LENGTHS[symbol] as usize == length {
                code.codes[symbol] = next as u32;
                code.symbols[placed] = symbol as u16;
                if length <= 8 {
                    let mut rest = 0;
                    while rest < 1 << (8 - length) {
                        code.short[((next as usize) << (8 - length)) + rest] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                next += 1;
                placed += 1;
            }
            symbol += 1;
        }
        code.beyond[length] = next << (32 - length);
        length += 1;
    }
    code
}

/// Bytes that [`encode`] would make of `text`.
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| LENGTHS[*byte as usize] as usize).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0u32);
    for byte in text {
        let length = u32::from(LENGTHS[*byte as usize]);
        bits = bits << length | u64::from(CODE.codes[*byte as usize]);
        held += length;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        out.push((bits << (8 - held) | 0xff >> held) as u8);
    }
}

/// Appends the text of `code`; false when it is none.
pub fn decode(code: &[u8], out: &mut Vec<u8>) -> bool {
    // The next bits, left-aligned.
    let (mut bits, mut held) = (0u64, 0u32);
    let mut input = code.iter();
    loop {
        while held <= 56 {
            let Some(byte) = input.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let (symbol, length) = CODE.short[(bits >> 56) as usize];
        let (symbol, length) = match length {
            0 => long(bits >> 32),
            _ => (u16::from(symbol), u32::from(length)),
        };
        if length > held || symbol == EOS {
            // What is left can only be padding.
            return held < 8 && bits >> (64 - 8) == (0xff00 >> held) & 0xff;
        }
        out.push(symbol as u8);
        bits <<= length;
        held -= length;
        if held == 0 && input.len() == 0 {
            return true;
        }
    }
}

/// The symbol of more than eight bits at the left end of 32 bits.
fn long(bits: u64) -> (u16, u32) {
    let mut length = 9;
    while length < LONGEST && bits >= CODE.beyond[length] {
        length += 1;
    }
    let at = (bits >> (32 - length)) as i64 + CODE.offset[length];
    // Beyond the last code lies nothing: it is all ones.
    let symbol = CODE.symbols.get(at as usize).copied().unwrap_or(EOS);
    (symbol, length as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, code) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        ] {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, code);
            assert_eq!(out.len(), encoded_len(text.as_bytes()));
        }
    }

    #[test]
    fn padding_is_short_and_all_ones_and_eos_is_refused() {
        let mut out = Vec::new();
        assert!(decode(&[], &mut out));
        // `0` is 00000; the padding that follows must be ones.
        assert!(decode(&[0b0000_0111], &mut out) && out == b"0");
        for bad in [
            &[0b0000_0110][..],
            &[0b0000_0111, 0xff],
            &[0xff],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert!(!decode(bad, &mut Vec::new()), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text: Vec<u8>) {
            let (mut code, mut back) = (Vec::new(), Vec::new());
            encode(&text, &mut code);
            prop_assert!(decode(&code, &mut back));
            prop_assert_eq!(back, text);
        }

        #[test]
        fn anything_else_is_refused_or_is_the_shortest_code_of_its_text(code: Vec<u8>) {
            let mut text = Vec::new();
            if decode(&code, &mut text) {
                let mut again = Vec::new();
                encode(&text, &mut again);
                prop_assert_eq!(again, code);
            }
        }
    }
}

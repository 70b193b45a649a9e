//! The hash functions that Envoy's consistent hashing uses: XXH64 and MurmurHash2.
//!
//! Called for the tables of [`super::consistent`] and for hash policies of routes.
//! Invariant: equal to Envoy's for the same bytes, so that two proxies agree on the endpoint.

const PRIME: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// XXH64. <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>
pub fn xxh64(input: &[u8], seed: u64) -> u64 {
    let (stripes, mut rest) = input.split_at(input.len() & !31);
    let mut hash = if stripes.is_empty() { seed.wrapping_add(PRIME[4]) } else { converge(stripes, seed) };
    hash = hash.wrapping_add(input.len() as u64);
    while let Some((lane, more)) = rest.split_at_checked(8) {
        hash = (hash ^ round(0, le(lane))).rotate_left(27).wrapping_mul(PRIME[0]).wrapping_add(PRIME[3]);
        rest = more;
    }
    if let Some((lane, more)) = rest.split_at_checked(4) {
        hash ^= le(lane).wrapping_mul(PRIME[0]);
        hash = hash.rotate_left(23).wrapping_mul(PRIME[1]).wrapping_add(PRIME[2]);
        rest = more;
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(PRIME[4]);
        hash = hash.rotate_left(11).wrapping_mul(PRIME[0]);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(PRIME[1]);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIME[2]);
    hash ^ hash >> 32
}

/// Stripes of 32 bytes, over four accumulators.
fn converge(stripes: &[u8], seed: u64) -> u64 {
    let mut lanes = [
        seed.wrapping_add(PRIME[0]).wrapping_add(PRIME[1]),
        seed.wrapping_add(PRIME[1]),
        seed,
        seed.wrapping_sub(PRIME[0]),
    ];
    for stripe in stripes.chunks_exact(32) {
        for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
            *lane = round(*lane, le(bytes));
        }
    }
    let rotated = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
    let hash = rotated.fold(0u64, u64::wrapping_add);
    lanes
        .into_iter()
        .fold(hash, |hash, lane| (hash ^ round(0, lane)).wrapping_mul(PRIME[0]).wrapping_add(PRIME[3]))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIME[1])).rotate_left(31).wrapping_mul(PRIME[0])
}

/// Up to eight bytes, the lowest first.
fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The seed of [`murmur2`] that Envoy takes from libstdc++.
pub const MURMUR_SEED: u64 = 0xc70f_6907;

/// MurmurHash2 of 64 bits, as in libstdc++.
pub fn murmur2(input: &[u8], seed: u64) -> u64 {
    const MUL: u64 = 0xc6a4_a793_5bd1_e995;
    let mix = |value: u64| value ^ value >> 47;
    let mut hash = seed ^ (input.len() as u64).wrapping_mul(MUL);
    let (lanes, rest) = input.split_at(input.len() & !7);
    for lane in lanes.chunks_exact(8) {
        let data = mix(le(lane).wrapping_mul(MUL)).wrapping_mul(MUL);
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    if !rest.is_empty() {
        hash = (hash ^ le(rest)).wrapping_mul(MUL);
    }
    mix(mix(hash).wrapping_mul(MUL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // From Envoy's own tests (hash_test.cc).
        for (text, wanted) in [
            ("foo", 3_728_699_739_546_630_719),
            ("bar", 5_234_164_152_756_840_025),
            ("foo\nbar", 8_917_841_378_505_826_757),
            ("lyft", 4_400_747_396_090_729_504),
            ("", 17_241_709_254_077_376_921),
        ] {
            assert_eq!(xxh64(text.as_bytes(), 0), wanted, "{text}");
        }
        for (text, wanted) in [("foo", 9_631_199_822_919_835_226), ("bar", 11_474_628_671_133_349_555)] {
            assert_eq!(murmur2(text.as_bytes(), MURMUR_SEED), wanted, "{text}");
        }
    }

    #[test]
    fn long_inputs_with_a_seed() {
        // From the reference library.
        let bytes: Vec<u8> = (0..100).collect();
        for (length, wanted) in [
            (31, 17_307_618_267_754_888_700),
            (32, 15_514_451_457_588_705_940),
            (45, 9_207_164_259_939_424_366),
            (100, 4_402_730_027_071_467_555),
        ] {
            assert_eq!(xxh64(&bytes[..length], 1), wanted, "{length}");
        }
    }
}

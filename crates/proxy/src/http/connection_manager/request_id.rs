//! `x-request-id`: a version 4 UUID from the worker's random numbers.
//!
//! Called once per request by [`super`]. Invariant: no system call and no allocation.

use crate::http::{Worker, config::HttpConnectionManager, headers::Known, message::RequestHead};

/// Sets the id as Envoy's UUID extension does: always at the edge (unless told to keep it), else where it is missing.
pub fn apply(head: &mut RequestHead, manager: &HttpConnectionManager, edge: bool, worker: &Worker) {
    if !manager.generate_request_id {
        return;
    }
    let present = head.headers.contains(Known::XRequestId);
    if !present || (edge && !manager.preserve_external_request_id) {
        let id = uuid(worker.random(), worker.random());
        head.headers.set(Known::XRequestId, &id);
    }
}

/// A version 4, variant 1 UUID as text.
pub fn uuid(high: u64, low: u64) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bits = (u128::from(high) << 64) | u128::from(low);
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in bits.to_be_bytes() {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_are_in_their_places() {
        assert_eq!(&uuid(0, 0), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&uuid(u64::MAX, u64::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            &uuid(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef),
            b"01234567-89ab-4def-8123-456789abcdef"
        );
    }
}

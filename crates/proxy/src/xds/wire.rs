//! Takes a repeated message field out of encoded bytes without decoding it, so that thousands of clusters or virtual
//! hosts are decoded one after the other: decoded messages are ten to fifty times the size of their bytes.
//!
//! Used by `bootstrap`, [`super::route`] and [`super::hcm`]. Invariant: parts are slices of the bytes given, not copies.

use bytes::{Buf, Bytes};
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::{Rejection, refuse};

/// The last element of field `tag`; `None` without one or when the message is malformed.
pub fn last(message: &Bytes, tag: u32) -> Option<Bytes> {
    let mut found = None;
    each(message, tag, |part| found = Some(part)).ok()?;
    found
}

/// Calls `each` with every element of field `tag`.
pub fn each(message: &Bytes, tag: u32, mut each: impl FnMut(Bytes)) -> Result<(), Rejection> {
    let refused = |error: DecodeError| Rejection::new(error.to_string());
    let mut left = message.clone();
    while left.has_remaining() {
        let (found, wire_type) = decode_key(&mut left).map_err(refused)?;
        if found == tag && wire_type == WireType::LengthDelimited {
            match usize::try_from(decode_varint(&mut left).map_err(refused)?) {
                Ok(len) if len <= left.remaining() => each(left.split_to(len)),
                _ => return refuse("malformed message: a field is longer than the message"),
            }
        } else {
            skip_field(wire_type, found, &mut left, DecodeContext::default()).map_err(refused)?;
        }
    }
    Ok(())
}

/// The encoded elements of field `tag`, and the message without them.
pub fn split(message: &Bytes, tag: u32) -> Result<(Vec<Bytes>, Vec<u8>), Rejection> {
    let refused = |error: DecodeError| Rejection::new(error.to_string());
    let (mut parts, mut rest) = (Vec::new(), Vec::new());
    let mut left = message.clone();
    while left.has_remaining() {
        let field = left.clone();
        let (found, wire_type) = decode_key(&mut left).map_err(refused)?;
        if found == tag && wire_type == WireType::LengthDelimited {
            match usize::try_from(decode_varint(&mut left).map_err(refused)?) {
                Ok(len) if len <= left.remaining() => parts.push(left.split_to(len)),
                _ => return refuse("malformed message: a field is longer than the message"),
            }
        } else {
            skip_field(wire_type, found, &mut left, DecodeContext::default()).map_err(refused)?;
            rest.extend_from_slice(&field[..field.len() - left.len()]);
        }
    }
    Ok((parts, rest))
}

#[cfg(test)]
mod tests {
    use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[test]
    fn parts_and_rest_are_the_whole() {
        let host = |name: &str| VirtualHost { name: name.into(), ..VirtualHost::default() };
        let message = RouteConfiguration {
            name: "r".into(),
            virtual_hosts: vec![host("a"), host("b")],
            ignore_port_in_host_matching: true,
            ..RouteConfiguration::default()
        };
        let (parts, rest) = split(&message.encode_to_vec().into(), 2).unwrap();
        let mut whole = RouteConfiguration::decode(rest.as_slice()).unwrap();
        assert!(whole.virtual_hosts.is_empty());
        whole.virtual_hosts = parts.into_iter().map(|part| VirtualHost::decode(part).unwrap()).collect();
        assert_eq!(whole, message);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes: Vec<u8>, tag in 1u32..20) {
            let _ = split(&bytes.into(), tag);
        }
    }
}

//! A resource as it travels: encoded once, its bytes shared by every response that carries it, in either form of the protocol.
//!
//! Invariant: `entry` is a whole `resources` field of a `DeltaDiscoveryResponse`, and its end is one of a `DiscoveryResponse`.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

/// Key of a length-delimited field.
const fn key(field: u8) -> u8 {
    field << 3 | 2
}

/// Field of responses (both forms) and of delta's `Resource` that holds the message.
const RESOURCE: u8 = key(2);
const RESOURCE_VERSION: u8 = key(1);
const RESOURCE_NAME: u8 = key(3);
const ANY_TYPE_URL: u8 = key(1);
const ANY_VALUE: u8 = key(2);

/// A resource, ready to send. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resource(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    name: Arc<str>,
    version: u64,
    entry: Bytes,
    /// Where in `entry` the part for state of the world begins.
    any: usize,
}

impl Resource {
    /// Encodes a message. Equal versions must mean equal messages, also across restarts of the server: a hash of what the
    /// message was made of does.
    pub fn new(name: impl Into<Arc<str>>, version: u64, type_url: &str, message: &impl Message) -> Resource {
        Resource::with(name, version, type_url, message.encoded_len(), |buffer| put_message(buffer, message))
    }

    /// Puts a message together from one and fields that are encoded already.
    pub fn joined(
        name: impl Into<Arc<str>>,
        version: u64,
        type_url: &str,
        message: &impl Message,
        fields: &[&[u8]],
    ) -> Resource {
        let length = message.encoded_len() + fields.iter().map(|field| field.len()).sum::<usize>();
        Resource::with(name, version, type_url, length, |buffer| {
            put_message(buffer, message);
            fields.iter().for_each(|field| buffer.extend_from_slice(field));
        })
    }

    fn with(
        name: impl Into<Arc<str>>,
        version: u64,
        type_url: &str,
        length: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Resource {
        let name = name.into();
        let text = format!("{version:016x}");
        let any = field_length(type_url.len()) + field_length(length);
        let resource = field_length(text.len()) + field_length(name.len()) + field_length(any);
        let mut entry = BytesMut::with_capacity(field_length(resource));
        put_key(&mut entry, RESOURCE, resource);
        put_text(&mut entry, RESOURCE_VERSION, &text);
        put_text(&mut entry, RESOURCE_NAME, &name);
        let at = entry.len();
        put_key(&mut entry, RESOURCE, any);
        put_text(&mut entry, ANY_TYPE_URL, type_url);
        put_key(&mut entry, ANY_VALUE, length);
        write(&mut entry);
        Resource(Arc::new(Encoded { name, version, entry: entry.freeze(), any: at }))
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Its field of a response.
    pub(super) fn entry(&self, delta: bool) -> &[u8] {
        &self.0.entry[if delta { 0 } else { self.0.any }..]
    }

    /// The message alone, encoded.
    pub fn message(&self) -> &[u8] {
        // The value is the last thing in the entry; its length is what the other fields leave.
        let any = &self.0.entry[self.0.any + 1..];
        let any = &any[varint_length(any)..];
        let url = &any[1..];
        let (skip, length) = (varint_length(url), varint(url));
        let value = &url[skip + length + 1..];
        &value[varint_length(value)..]
    }

    /// Where it lies: tells it apart from all others that are held.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Whether nobody else holds it.
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

fn put_message(buffer: &mut BytesMut, message: &impl Message) {
    message.encode(buffer).expect("invariant: the buffer grows");
}

fn field_length(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn put_key(buffer: &mut BytesMut, key: u8, length: usize) {
    buffer.put_u8(key);
    encode_varint(length as u64, buffer);
}

pub(super) fn put_text(buffer: &mut BytesMut, key: u8, text: &str) {
    put_key(buffer, key, text.len());
    buffer.extend_from_slice(text.as_bytes());
}

/// A length-delimited field of a message, whole: what [`Resource::joined`] takes.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut buffer = BytesMut::with_capacity(field_length(content.len()));
    put_key(&mut buffer, key(number), content.len());
    buffer.extend_from_slice(content);
    buffer.into()
}

fn varint_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| byte & 0x80 == 0).map_or(bytes.len(), |at| at + 1)
}

fn varint(bytes: &[u8]) -> usize {
    let digits = &bytes[..varint_length(bytes)];
    digits.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f))
}

/// The fields of a response around its resources, and the frame of gRPC around all: `version_info` and `nonce` are the same
/// fields in both forms.
pub(super) fn frame(version: &str, type_url: &str, nonce: &str, resources: &[Bytes]) -> Bytes {
    let mut head = BytesMut::with_capacity(5 + 48 + type_url.len());
    head.put_slice(&[0; 5]);
    put_text(&mut head, key(1), version);
    put_text(&mut head, key(4), type_url);
    put_text(&mut head, key(5), nonce);
    let length = head.len() - 5 + resources.iter().map(Bytes::len).sum::<usize>();
    // A message beyond 4 GiB cannot be framed; it would take tens of millions of resources.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    head[1..5].copy_from_slice(&length.to_be_bytes());
    head.freeze()
}

/// `removed_resources` of a delta response.
pub(super) fn put_removed(buffer: &mut BytesMut, name: &str) {
    put_text(buffer, key(6), name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::config::route::v3::RouteConfiguration;
    use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

    #[test]
    fn one_buffer_is_a_field_of_both_responses() {
        let message = RouteConfiguration { name: "a".repeat(300), ..Default::default() };
        let url = crate::type_url::ROUTE;
        let resource = Resource::new("a", 0xab, url, &message);
        let delta = DeltaDiscoveryResponse::decode(resource.entry(true)).unwrap();
        assert_eq!((&*delta.resources[0].name, &*delta.resources[0].version), ("a", "00000000000000ab"));
        let whole = DiscoveryResponse::decode(resource.entry(false)).unwrap();
        assert_eq!(Some(&whole.resources[0]), delta.resources[0].resource.as_ref());
        assert_eq!(crate::unpack::<RouteConfiguration>(&whole.resources[0]).unwrap(), message);
        assert_eq!(RouteConfiguration::decode(resource.message()).unwrap(), message);
    }

    #[test]
    fn a_message_is_joined_of_fields() {
        let host =
            crate::pb::envoy::config::route::v3::VirtualHost { name: "h".to_owned(), ..Default::default() };
        let table = RouteConfiguration { name: "t".to_owned(), ..Default::default() };
        let host_field = field(2, &host.encode_to_vec());
        let joined = Resource::joined("t", 1, crate::type_url::ROUTE, &table, &[&host_field, &host_field]);
        let table = RouteConfiguration::decode(joined.message()).unwrap();
        assert_eq!(table.virtual_hosts, [host.clone(), host]);
    }
}

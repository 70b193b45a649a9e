//! `DeltaDiscoveryResponse` with bodies that are slices of the message received, and the call that yields it.
//!
//! Used by [`super::delta`] only: the generated type copies every body, and the first answer of a large mesh is tens of
//! megabytes of them. Invariant: field numbers are those of `envoy.service.discovery.v3`.

use bytes::Bytes;
use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

use super::MAX_RESPONSE;
use crate::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

/// `DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(string, tag = "1")]
    pub(super) system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(super) removed_resources: Vec<String>,
}

/// `Resource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(message, optional, tag = "2")]
    pub(super) resource: Option<Any>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// Opens the stream.
pub(super) async fn open(
    channel: Channel,
    requests: ReceiverStream<DeltaDiscoveryRequest>,
) -> Result<Streaming<Response>, Status> {
    const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let mut call = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
    call.ready().await.map_err(|error| Status::unavailable(super::describe(&error)))?;
    let path = PathAndQuery::from_static(PATH);
    Ok(call.streaming(Request::new(requests), path, Slices).await?.into_inner())
}

#[derive(Debug, Default, Clone, Copy)]
struct Slices;

impl Codec for Slices {
    type Encode = DeltaDiscoveryRequest;
    type Decode = Response;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Slices {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Slices {
    type Item = Response;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Response>, Status> {
        Response::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::pb::envoy::service::discovery::v3 as discovery;

    #[test]
    fn reads_what_the_generated_type_writes_without_copying() {
        let resource = |name: &str| discovery::Resource {
            name: name.into(),
            version: "7".into(),
            resource: Some(crate::pb::google::protobuf::Any { type_url: "t".into(), value: vec![1; 100] }),
            ..discovery::Resource::default()
        };
        let message = discovery::DeltaDiscoveryResponse {
            system_version_info: "v".into(),
            resources: vec![resource("a"), resource("b")],
            type_url: "t".into(),
            removed_resources: vec!["c".into()],
            nonce: "n".into(),
            ..discovery::DeltaDiscoveryResponse::default()
        };
        let mut buffer = BytesMut::new();
        buffer.put_slice(&message.encode_to_vec());
        let whole = buffer.as_ptr_range();
        let read = Response::decode(&mut buffer).unwrap();
        assert_eq!((read.nonce.as_str(), read.system_version_info.as_str()), ("n", "v"));
        assert_eq!((read.type_url.as_str(), read.removed_resources), ("t", vec!["c".to_owned()]));
        assert_eq!(read.resources.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["a", "b"]);
        for resource in read.resources {
            let value = resource.resource.unwrap().value;
            assert_eq!(value, vec![1; 100]);
            assert!(whole.contains(&value.as_ptr()));
        }
    }
}

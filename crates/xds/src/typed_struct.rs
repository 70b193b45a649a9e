//! Messages of the xDS and UDPA packages that `envoy-types` lacks, written by hand.
//!
//! Whoever meets a filter configured by a `TypedStruct` uses them. Their lines in `json/companion.txt` make them read
//! and print as every other message.

use crate::pb::google::protobuf::Struct;

/// `xds.type.v3.TypedStruct`: a message given as JSON under the type url of what it stands for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypedStruct {
    /// Type url of the message that `value` describes.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message's fields as JSON.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

impl prost::Name for TypedStruct {
    const NAME: &'static str = "TypedStruct";
    const PACKAGE: &'static str = "xds.type.v3";

    fn type_url() -> String {
        format!("type.googleapis.com/{}", Self::full_name())
    }
}

/// `udpa.type.v1.TypedStruct`: the older name of [`TypedStruct`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct UdpaTypedStruct {
    /// Type url of the message that `value` describes.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message's fields as JSON.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

impl prost::Name for UdpaTypedStruct {
    const NAME: &'static str = "TypedStruct";
    const PACKAGE: &'static str = "udpa.type.v1";

    fn type_url() -> String {
        format!("type.googleapis.com/{}", Self::full_name())
    }
}

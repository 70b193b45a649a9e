//! Messages in and out of `google.protobuf.Any`.

use prost::{Message, Name};

use crate::pb::google::protobuf::Any;

/// Packs a message under its type url.
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// Unpacks a message; an error if it is of another type or malformed.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, UnpackError> {
    if any.type_url != M::type_url() {
        return Err(UnpackError::Type { wanted: M::type_url(), found: any.type_url.clone() });
    }
    Ok(M::decode(any.value.as_slice())?)
}

/// Why an `Any` is not the message that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Another type.
    #[error("expected {wanted}, found {found}")]
    Type {
        /// Type url of the message.
        wanted: String,
        /// Type url that came.
        found: String,
    },
    /// Malformed bytes.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
}

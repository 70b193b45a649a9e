//! Header compression (RFC 7541): a decoder for what the peer sends, an encoder with a small table for what we send.
//!
//! Each HTTP/2 connection has one of both. Nothing here knows of frames or streams.
//! Invariant: a decoder's memory is bounded by its table's limit and by the block at hand; an encoder's by a constant.

pub mod decoder;
pub mod encoder;
pub mod huffman;
pub mod table;
#[cfg(test)]
mod tests;

use crate::http::headers::Known;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// A pseudo-header field (RFC 9113, 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pseudo {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// `:protocol` (RFC 8441)
    Protocol,
    /// Any other name with a colon in front.
    Unknown,
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pseudo-header field.
    Pseudo(Pseudo),
    /// A name that the data path knows.
    Known(Known),
    /// Any other.
    Other,
}

/// A decoded field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// What its name is.
    pub kind: Kind,
    /// Name.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// The name is a lower-case token (or pseudo), the value holds nothing that HTTP forbids (RFC 9113, 8.2.1).
    pub valid: bool,
}

impl Field<'_> {
    /// What it counts against a limit of a header list (RFC 9113, 6.5.2).
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len() + table::OVERHEAD
    }
}

/// A block that is not HPACK; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionError(
    /// What is wrong.
    pub &'static str,
);

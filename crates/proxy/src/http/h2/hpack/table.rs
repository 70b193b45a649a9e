//! The static table of HPACK (RFC 7541, appendix A) and the dynamic one that a decoder keeps.
//!
//! Invariant: the sizes of the entries in a [`Dynamic`] table never sum to more than its limit.

use std::collections::VecDeque;

use super::{Kind, Pseudo};
use crate::http::headers::Known;

/// What an entry takes beside its bytes (RFC 7541, 4.1).
pub const OVERHEAD: usize = 32;

/// Index 1 and on.
pub static STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field that was received with an index to be.
#[derive(Debug)]
pub struct Entry {
    data: Box<[u8]>,
    name_len: usize,
    /// What the name is.
    pub kind: Kind,
    /// Name and value are what HTTP allows.
    pub valid: bool,
}

impl Entry {
    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.data[..self.name_len]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.data[self.name_len..]
    }

    fn size(&self) -> usize {
        self.data.len() + OVERHEAD
    }
}

/// A decoder's dynamic table; the newest entry has index 0.
#[derive(Debug)]
pub struct Dynamic {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Dynamic {
    /// An empty table that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit }
    }

    /// An entry.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// Changes the limit; the oldest entries go.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
    }

    /// Adds an entry; one that is larger than the table empties it (RFC 7541, 4.4).
    pub fn insert(&mut self, name: &[u8], value: &[u8], kind: Kind, valid: bool) {
        let size = name.len() + value.len() + OVERHEAD;
        self.shrink(self.limit.saturating_sub(size));
        if size > self.limit {
            return;
        }
        let mut data = Vec::with_capacity(name.len() + value.len());
        data.extend_from_slice(name);
        data.extend_from_slice(value);
        self.size += size;
        self.entries.push_front(Entry { data: data.into(), name_len: name.len(), kind, valid });
    }

    fn shrink(&mut self, to: usize) {
        while self.size > to {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.size();
        }
    }

    /// Bytes in use, as HPACK counts them.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// What a name is to us.
pub fn kind(name: &[u8]) -> Kind {
    match name {
        [b':', rest @ ..] => Kind::Pseudo(match rest {
            b"method" => Pseudo::Method,
            b"scheme" => Pseudo::Scheme,
            b"authority" => Pseudo::Authority,
            b"path" => Pseudo::Path,
            b"status" => Pseudo::Status,
            b"protocol" => Pseudo::Protocol,
            _ => Pseudo::Unknown,
        }),
        _ => Known::lookup(name).map_or(Kind::Other, Kind::Known),
    }
}

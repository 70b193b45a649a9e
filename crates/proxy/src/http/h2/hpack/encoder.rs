//! Fields to header blocks.
//!
//! A field that was seen twice of late is put into the peer's table and named by its index from then on; one that was
//! not is written out. So values that never repeat (request ids) push nothing out, without a list of their names.
//! Invariant: our copy of the table is the peer's, entry by entry.

use std::collections::VecDeque;

use super::{
    Kind, huffman,
    table::{OVERHEAD, STATIC},
};
use crate::http::headers::Known;

/// Bytes of the peer's table that we use at most.
const TABLE: usize = 4096;
/// Slots of both hash tables.
const SLOTS: usize = 256;
/// Longer fields stay out of the table.
const LARGEST: usize = 512;

#[derive(Debug)]
struct Entry {
    hash: u64,
    data: Box<[u8]>,
    name_len: usize,
}

/// The encoding half of a connection's compression.
#[derive(Debug)]
pub struct Encoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// The smallest and the last limit that the peer has not been told of.
    resized: Option<(usize, usize)>,
    /// Entries ever inserted.
    inserted: u32,
    /// By hash: the number of the entry when it was inserted; 0 is none.
    index: Box<[u32; SLOTS]>,
    /// By hash: the field that was written out last.
    seen: Box<[u32; SLOTS]>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE,
            resized: None,
            inserted: 0,
            index: Box::new([0; SLOTS]),
            seen: Box::new([0; SLOTS]),
        }
    }
}

/// First index of the static table with each known name; 0 is none.
static NAME_INDEX: std::sync::LazyLock<[u8; 128]> = std::sync::LazyLock::new(|| {
    let mut table = [0; 128];
    for (at, (name, _)) in STATIC.iter().enumerate().rev() {
        if let Some(known) = Known::lookup(name.as_bytes()) {
            table[known as usize] = at as u8 + 1;
        }
    }
    table
});

impl Encoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, limit: usize) {
        let limit = limit.min(TABLE);
        if limit == self.limit && self.resized.is_none() {
            return;
        }
        let smallest = self.resized.map_or(limit, |(smallest, _)| smallest.min(limit));
        self.resized = Some((smallest, limit));
        self.limit = limit;
        self.shrink(limit);
    }

    /// Begins a block: tells of a new table size, if there is one.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((smallest, limit)) = self.resized.take() {
            if smallest < limit {
                integer(smallest, 0x20, 5, out);
            }
            integer(limit, 0x20, 5, out);
        }
    }

    /// A field by its index in the static table.
    #[inline]
    pub fn indexed(&self, index: u8, out: &mut Vec<u8>) {
        out.push(0x80 | index);
    }

    /// A field whose name has an index in the static table.
    #[inline]
    pub fn with_name(&mut self, name_index: u8, value: &[u8], out: &mut Vec<u8>) {
        let name = STATIC[name_index as usize - 1].0.as_bytes();
        self.field(name, u64::from(name_index) << 8, name_index, value, out);
    }

    /// A field as a message carries it.
    #[inline]
    pub fn encode(&mut self, kind: Kind, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        match kind {
            // Not for tables: theirs or those on the way (RFC 7541, 7.1.3).
            Kind::Known(Known::Authorization) => literal(0x10, 4, 23, name, value, out),
            Kind::Known(Known::Cookie) if value.len() < 20 => literal(0x10, 4, 32, name, value, out),
            Kind::Known(known) => {
                let seed = (known as u64) << 8 | 0x80;
                self.field(name, seed, NAME_INDEX[known as usize], value, out);
            }
            _ => self.field(name, mix(0, name), 0, value, out),
        }
    }

    #[inline]
    fn field(&mut self, name: &[u8], seed: u64, name_index: u8, value: &[u8], out: &mut Vec<u8>) {
        let hash = mix(seed, value);
        let slot = (hash >> 32) as usize % SLOTS;
        let number = self.index[slot];
        let age = self.inserted.wrapping_sub(number) as usize;
        if number != 0
            && let Some(entry) = self.entries.get(age)
            && entry.hash == hash
            && &entry.data[..entry.name_len] == name
            && &entry.data[entry.name_len..] == value
        {
            return integer(STATIC.len() + 1 + age, 0x80, 7, out);
        }
        let size = name.len() + value.len() + OVERHEAD;
        if self.seen[slot] != hash as u32 || size > LARGEST.min(self.limit) {
            self.seen[slot] = hash as u32;
            return literal(0, 4, name_index, name, value, out);
        }
        literal(0x40, 6, name_index, name, value, out);
        self.shrink(self.limit - size);
        let mut data = Vec::with_capacity(name.len() + value.len());
        data.extend_from_slice(name);
        data.extend_from_slice(value);
        self.size += size;
        self.entries.push_front(Entry { hash, data: data.into(), name_len: name.len() });
        self.inserted = self.inserted.wrapping_add(1).max(1);
        self.index[slot] = self.inserted;
    }

    fn shrink(&mut self, to: usize) {
        while self.size > to {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.data.len() + OVERHEAD;
        }
    }
}

/// A fast hash, eight bytes at a time; a collision costs a comparison, no more.
#[inline]
fn mix(seed: u64, text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (seed ^ text.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    }
    for byte in rest {
        hash = (hash.rotate_left(9) ^ u64::from(*byte)).wrapping_mul(FACTOR);
    }
    hash ^ hash >> 29
}

/// A literal: `kind` are the bits above the prefix.
fn literal(kind: u8, prefix: u32, name_index: u8, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    integer(name_index as usize, kind, prefix, out);
    if name_index == 0 {
        string(name, kind == 0x40, out);
    }
    string(value, kind == 0x40, out);
}

/// A string; compressed where it pays again and again: on its way into the table.
fn string(text: &[u8], compress: bool, out: &mut Vec<u8>) {
    if compress {
        let len = huffman::encoded_len(text);
        if len < text.len() {
            integer(len, 0x80, 7, out);
            return huffman::encode(text, out);
        }
    }
    integer(text.len(), 0, 7, out);
    out.extend_from_slice(text);
}

/// An integer behind the bits of `first` (RFC 7541, 5.1).
#[inline]
fn integer(value: usize, first: u8, prefix: u32, out: &mut Vec<u8>) {
    let most = (1usize << prefix) - 1;
    if value < most {
        return out.push(first | value as u8);
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

//! Header blocks to fields.
//!
//! Fields are handed out as they are decoded, borrowed from the block, the tables or a scratch buffer; nothing is kept
//! but the dynamic table. Invariant: after an error the decoder is not used again.

use super::{
    CompressionError, Field, Kind, huffman,
    table::{Dynamic, STATIC, kind},
};

/// The decoding half of a connection's compression.
#[derive(Debug)]
pub struct Decoder {
    table: Dynamic,
    /// What our SETTINGS allow; the peer may choose less.
    limit: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Kinds of the static table's names.
fn static_kind(index: usize) -> Kind {
    static KINDS: std::sync::OnceLock<[Kind; 61]> = std::sync::OnceLock::new();
    KINDS.get_or_init(|| std::array::from_fn(|at| kind(STATIC[at].0.as_bytes())))[index]
}

/// Scratch beyond this is not kept.
const KEEP: usize = 4096;

impl Decoder {
    /// A decoder whose table may grow to `limit` bytes (SETTINGS_HEADER_TABLE_SIZE).
    pub fn new(limit: usize) -> Self {
        Self { table: Dynamic::new(limit), limit, name: Vec::new(), value: Vec::new() }
    }

    /// Bytes in the dynamic table.
    pub fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Decodes a whole block.
    pub fn decode(&mut self, block: &[u8], mut field: impl FnMut(Field<'_>)) -> Result<(), CompressionError> {
        let mut rest = block;
        let mut first = true;
        while let Some(&byte) = rest.first() {
            if byte & 0xe0 == 0x20 {
                if !first {
                    return Err(CompressionError("table size update within a block"));
                }
                let limit = integer(&mut rest, 5)?;
                if limit > self.limit {
                    return Err(CompressionError("table size beyond SETTINGS_HEADER_TABLE_SIZE"));
                }
                self.table.set_limit(limit);
                continue;
            }
            first = false;
            if byte & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                field(self.indexed(index)?);
            } else {
                self.literal(&mut rest, byte, &mut field)?;
            }
        }
        for scratch in [&mut self.name, &mut self.value] {
            if scratch.capacity() > KEEP {
                *scratch = Vec::new();
            }
        }
        Ok(())
    }

    #[inline]
    fn indexed(&self, index: usize) -> Result<Field<'_>, CompressionError> {
        if index > STATIC.len() {
            let entry = self.table.get(index - STATIC.len() - 1).ok_or(NO_ENTRY)?;
            let (name, value) = (entry.name(), entry.value());
            return Ok(Field { kind: entry.kind, name, value, valid: entry.valid });
        }
        let (name, value) = index.checked_sub(1).and_then(|at| STATIC.get(at)).ok_or(NO_ENTRY)?;
        let kind = static_kind(index - 1);
        Ok(Field { kind, name: name.as_bytes(), value: value.as_bytes(), valid: true })
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        byte: u8,
        field: &mut impl FnMut(Field<'_>),
    ) -> Result<(), CompressionError> {
        let insert = byte & 0x40 != 0;
        let index = integer(rest, if insert { 6 } else { 4 })?;
        let mut name_valid = true;
        self.name.clear();
        self.value.clear();
        let (of, name) = if index == 0 {
            let name = string(rest, &mut self.name)?;
            let of = kind(name);
            name_valid = is_name(name, of);
            (of, name)
        } else {
            if index > STATIC.len() {
                // The entry may go when this one comes.
                let entry = self.table.get(index - STATIC.len() - 1).ok_or(NO_ENTRY)?;
                name_valid = is_name(entry.name(), entry.kind);
                self.name.extend_from_slice(entry.name());
                (entry.kind, &self.name[..])
            } else {
                (static_kind(index - 1), STATIC[index - 1].0.as_bytes())
            }
        };
        let value = string(rest, &mut self.value)?;
        let valid = name_valid && is_value(value);
        field(Field { kind: of, name, value, valid });
        if insert {
            self.table.insert(name, value, of, valid);
        }
        Ok(())
    }
}

const NO_ENTRY: CompressionError = CompressionError("index of no entry");
const CUT: CompressionError = CompressionError("block ends within a field");

/// An integer with a prefix of so many bits (RFC 7541, 5.1), up to 2^28.
#[inline]
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, CompressionError> {
    let (&first, mut tail) = rest.split_first().ok_or(CUT)?;
    let most = (1usize << prefix) - 1;
    let mut value = first as usize & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&byte, after) = tail.split_first().ok_or(CUT)?;
            tail = after;
            if shift > 21 {
                return Err(CompressionError("integer too large"));
            }
            value += (byte as usize & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

/// A string, from the block itself or decoded into `scratch`.
#[inline]
fn string<'a: 's, 's>(rest: &mut &'a [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], CompressionError> {
    let coded = rest.first().ok_or(CUT)? & 0x80 != 0;
    let len = integer(rest, 7)?;
    let (text, tail) = rest.split_at_checked(len).ok_or(CUT)?;
    *rest = tail;
    if !coded {
        return Ok(text);
    }
    if !huffman::decode(text, scratch) {
        return Err(CompressionError("not a Huffman code"));
    }
    Ok(scratch)
}

/// By byte: 1 may stand in a name, 2 in a value.
static ALLOWED: [u8; 256] = allowed();

const fn allowed() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let token = byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        let value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        table[at] = token as u8 | (value as u8) << 1;
        at += 1;
    }
    table
}

fn is_name(name: &[u8], kind: Kind) -> bool {
    match kind {
        Kind::Known(_) => true,
        Kind::Pseudo(pseudo) => pseudo != super::Pseudo::Unknown,
        Kind::Other => {
            !name.is_empty()
                && name.len() <= usize::from(u16::MAX)
                && name.iter().all(|byte| ALLOWED[*byte as usize] & 1 != 0)
        }
    }
}

/// No control characters, no white space around it.
fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    value.iter().all(|byte| ALLOWED[*byte as usize] & 2 != 0) && !blank(value.first()) && !blank(value.last())
}

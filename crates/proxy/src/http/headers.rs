//! A compact header list: one byte buffer plus small entries, names in lower case.
//!
//! Codecs fill it, the connection manager and the router change it, codecs write it out again; a worker keeps used
//! lists so that a request allocates nothing. Removing leaves dead bytes in the buffer until [`HeaderList::clear`].
//! Invariant: names are lower-case tokens and values hold no CR, LF or NUL; whoever appends sees to that
//! (codecs check what comes from the network, configuration is checked when it is compiled).

use std::borrow::Cow;

use crate::http::config::NameCase;

mod known;

pub use known::Known;

/// A place in a list's buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Empty for names that came from [`Known`].
    name: u32,
    name_len: u16,
    /// `Known as u8`, or [`OTHER`].
    id: u8,
    value: Span,
}

const OTHER: u8 = u8::MAX;

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its id when the data path knows the name.
    pub id: Option<Known>,
    /// Lower-case name.
    pub name: &'a [u8],
    /// Value without surrounding white space.
    pub value: &'a [u8],
}

/// An ordered multimap of header fields.
#[derive(Debug, Clone, Default)]
pub struct HeaderList {
    buf: Vec<u8>,
    entries: Vec<Entry>,
    /// Bit per [`Known`] that may be in `entries`: makes asking for an absent header free.
    present: u128,
    /// How names were written when they came, where that is to be kept.
    names: Option<Box<Names>>,
}

/// Names in the case in which they came (`preserve_case`).
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// How all others are written.
    case: NameCase,
    /// The first spelling of each.
    known: Vec<Box<[u8]>>,
}

impl Names {
    fn spelling(&self, name: &[u8]) -> Option<&[u8]> {
        self.known.iter().map(|known| &**known).find(|known| known.eq_ignore_ascii_case(name))
    }
}

impl HeaderList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but keeps the memory, unless it has grown beyond `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        self.buf.clear();
        self.entries.clear();
        self.present = 0;
        self.names = None;
        if self.buf.capacity() > keep {
            self.buf = Vec::new();
            self.entries = Vec::new();
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of names and values, with four per field for `: ` and the line end: what access logs count.
    pub fn byte_size(&self) -> usize {
        self.iter().map(|field| field.name.len() + field.value.len() + 4).sum()
    }

    /// Copies a whole message head in at once; [`Self::push_raw`] then names the fields inside it.
    /// Returns the offset at which it lies.
    pub fn load(&mut self, head: &[u8]) -> usize {
        let at = self.buf.len();
        self.buf.extend_from_slice(head);
        at
    }

    /// Adds a field whose name and value lie in the buffer already (see [`Self::load`]); the name is lower-cased there.
    #[inline]
    pub fn push_raw(&mut self, name: std::ops::Range<usize>, value: std::ops::Range<usize>) {
        let bytes = &mut self.buf[name.clone()];
        bytes.make_ascii_lowercase();
        let id = match Known::lookup(bytes) {
            Some(known) => {
                self.present |= 1 << known as u8;
                known as u8
            }
            None => OTHER,
        };
        let value = Span { start: value.start as u32, len: (value.end - value.start) as u32 };
        self.entries.push(Entry { name: name.start as u32, name_len: name.len() as u16, id, value });
    }

    /// Keeps `text` in the buffer beside the fields.
    pub fn store(&mut self, text: &[u8]) -> Span {
        let start = self.buf.len() as u32;
        self.buf.extend_from_slice(text);
        Span { start, len: text.len() as u32 }
    }

    /// A span of bytes that [`Self::load`] brought in.
    pub fn span(range: std::ops::Range<usize>) -> Span {
        Span { start: range.start as u32, len: (range.end - range.start) as u32 }
    }

    /// The bytes of a span.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.buf[span.start as usize..(span.start + span.len) as usize]
    }

    /// Adds a field at the end.
    pub fn append(&mut self, name: Known, value: &[u8]) {
        let value = self.store(value);
        self.present |= 1 << name as u8;
        self.entries.push(Entry { name: 0, name_len: 0, id: name as u8, value });
    }

    /// Adds a field by name; the name may have any case.
    pub fn append_named(&mut self, name: &[u8], value: &[u8]) {
        let start = self.load(name);
        let value = self.store(value);
        let value = value.start as usize..(value.start + value.len) as usize;
        self.push_raw(start..start + name.len(), value);
    }

    /// Adds a field whose lower-case name is not [`Known`].
    #[inline]
    pub fn append_other(&mut self, name: &[u8], value: &[u8]) {
        let start = self.buf.len() as u32;
        self.buf.extend_from_slice(name);
        let value = self.store(value);
        self.entries.push(Entry { name: start, name_len: name.len() as u16, id: OTHER, value });
    }

    /// True when there is such a field.
    #[inline]
    pub fn contains(&self, name: Known) -> bool {
        self.present & (1 << name as u8) != 0 && self.entries.iter().any(|entry| entry.id == name as u8)
    }

    /// The first value.
    #[inline]
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        if self.present & (1 << name as u8) == 0 {
            return None;
        }
        let entry = self.entries.iter().find(|entry| entry.id == name as u8)?;
        Some(self.bytes(entry.value))
    }

    /// Where the first value lies.
    pub fn value_span(&self, name: Known) -> Option<Span> {
        self.entries.iter().find(|entry| entry.id == name as u8).map(|entry| entry.value)
    }

    /// The first value as text; `None` also when it is not UTF-8.
    pub fn get_str(&self, name: Known) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// All values.
    pub fn all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        let absent = self.present & (1 << name as u8) == 0;
        let entries = if absent { &[][..] } else { &self.entries[..] };
        entries.iter().filter(move |entry| entry.id == name as u8).map(|entry| self.bytes(entry.value))
    }

    /// The first value by lower-case name.
    pub fn get_named(&self, name: &str) -> Option<&[u8]> {
        match Known::lookup(name.as_bytes()) {
            Some(known) => self.get(known),
            None => self.others(name.as_bytes()).next().map(|entry| self.bytes(entry.value)),
        }
    }

    /// All values by lower-case name, joined with `,` as Envoy's matchers see them.
    pub fn joined(&self, name: &str) -> Option<Cow<'_, str>> {
        match Known::lookup(name.as_bytes()) {
            Some(known) => join(self.all(known)),
            None => join(self.others(name.as_bytes()).map(|entry| self.bytes(entry.value))),
        }
    }

    /// Replaces all values by one, at the place of the first.
    pub fn set(&mut self, name: Known, value: &[u8]) {
        if !self.contains(name) {
            return self.append(name, value);
        }
        let span = self.store(value);
        let mut first = true;
        self.entries.retain_mut(|entry| {
            let same = entry.id == name as u8;
            let keep = !same || std::mem::take(&mut first);
            if same && keep {
                entry.value = span;
            }
            keep
        });
    }

    /// Replaces all values by one, by name in any case.
    pub fn set_named(&mut self, name: &[u8], value: &[u8]) {
        let lower = name.to_ascii_lowercase();
        match Known::lookup(&lower) {
            Some(known) => self.set(known, value),
            None => {
                self.remove_named(&lower);
                self.append_named(&lower, value);
            }
        }
    }

    /// Removes every occurrence.
    #[inline]
    pub fn remove(&mut self, name: Known) {
        if self.present & (1 << name as u8) != 0 {
            self.entries.retain(|entry| entry.id != name as u8);
            self.present &= !(1 << name as u8);
        }
    }

    /// Removes every occurrence of each of `names`.
    pub fn remove_all(&mut self, names: &[Known]) {
        let mask = names.iter().fold(0u128, |mask, name| mask | 1 << *name as u8);
        self.remove_mask(mask);
    }

    /// As [`Self::remove_all`], with the names as [`mask`] made them.
    #[inline]
    pub fn remove_mask(&mut self, mask: u128) {
        if self.present & mask != 0 {
            self.entries.retain(|entry| entry.id == OTHER || mask & (1 << entry.id) == 0);
            self.present &= !mask;
        }
    }

    /// True when one of the names in `mask` may be present.
    #[inline]
    pub fn intersects(&self, mask: u128) -> bool {
        self.present & mask != 0
    }

    /// Removes every occurrence by lower-case name.
    pub fn remove_named(&mut self, name: &[u8]) {
        match Known::lookup(name) {
            Some(known) => self.remove(known),
            None => {
                let buf = &self.buf;
                self.entries.retain(|entry| entry.id != OTHER || raw_name(buf, entry) != name);
            }
        }
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// Writes `name: value CRLF` for every field; neighbours that lie in the buffer as they came, in one piece.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(entry) = self.entries.get(at) {
            at += 1;
            let Some(mut end) = self.line_end(entry) else {
                let field = self.field(entry);
                out.extend_from_slice(field.name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(field.value);
                out.extend_from_slice(b"\r\n");
                continue;
            };
            while let Some(next) = self.entries.get(at)
                && next.name as usize == end
                && let Some(further) = self.line_end(next)
            {
                (end, at) = (further, at + 1);
            }
            out.extend_from_slice(&self.buf[entry.name as usize..end]);
        }
    }

    /// Remembers how names were written; all others are then written in `case`.
    pub fn remember_names<'n>(&mut self, case: NameCase, names: impl Iterator<Item = &'n [u8]>) {
        let remembered = self.names.get_or_insert_default();
        remembered.case = case;
        for name in names {
            if remembered.spelling(name).is_none() {
                remembered.known.push(name.into());
            }
        }
    }

    /// True when names are not simply written in lower case.
    #[inline]
    pub fn has_spellings(&self, case: NameCase) -> bool {
        self.names.is_some() || case != NameCase::Lower
    }

    /// Writes a lower-case name as it came, else in the case asked for.
    pub fn write_name(&self, name: &[u8], case: NameCase, out: &mut Vec<u8>) {
        let names = self.names.as_deref();
        match (names.and_then(|names| names.spelling(name)), names.map_or(case, |names| names.case)) {
            (Some(spelling), _) => out.extend_from_slice(spelling),
            (None, NameCase::Lower) => out.extend_from_slice(name),
            (None, NameCase::Proper) => {
                let mut begins = true;
                out.extend(name.iter().map(|byte| {
                    let capital = std::mem::replace(&mut begins, !byte.is_ascii_alphabetic());
                    if capital { byte.to_ascii_uppercase() } else { *byte }
                }));
            }
        }
    }

    /// Where a field's line ends in the buffer, if it lies there just as it is written.
    #[inline]
    fn line_end(&self, entry: &Entry) -> Option<usize> {
        let (start, end) = (entry.value.start as usize, (entry.value.start + entry.value.len) as usize);
        let name_end = entry.name as usize + entry.name_len as usize;
        let as_written = entry.name_len > 0
            && start == name_end + 2
            && &self.buf[name_end..start] == b": "
            && self.buf.get(end..end + 2) == Some(b"\r\n");
        as_written.then_some(end + 2)
    }

    #[inline]
    fn field<'a>(&'a self, entry: &Entry) -> Field<'a> {
        let id = Known::from_id(entry.id);
        let name = match id {
            Some(known) => known.name().as_bytes(),
            None => raw_name(&self.buf, entry),
        };
        Field { id, name, value: self.bytes(entry.value) }
    }

    fn others<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.id == OTHER && raw_name(&self.buf, entry) == name)
    }
}

/// The bit set of `names`, for [`HeaderList::remove_mask`].
pub const fn mask(names: &[Known]) -> u128 {
    let mut bits = 0;
    let mut at = 0;
    while at < names.len() {
        bits |= 1 << names[at] as u8;
        at += 1;
    }
    bits
}

#[inline]
fn raw_name<'a>(buf: &'a [u8], entry: &Entry) -> &'a [u8] {
    &buf[entry.name as usize..entry.name as usize + entry.name_len as usize]
}

fn join<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, str>> {
    let first = String::from_utf8_lossy(values.next()?);
    let Some(second) = values.next() else { return Some(first) };
    let mut joined = first.into_owned();
    for value in std::iter::once(second).chain(values) {
        joined.push(',');
        joined.push_str(&String::from_utf8_lossy(value));
    }
    Some(Cow::Owned(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> HeaderList {
        let mut list = HeaderList::new();
        list.append(Known::Accept, b"a");
        list.append_named(b"X-One", b"1");
        list.append_named(b"ACCEPT", b"b");
        list.append_named(b"x-one", b"2");
        list
    }

    #[test]
    fn names_are_found_however_they_were_added() {
        let list = list();
        assert_eq!(list.get(Known::Accept), Some(&b"a"[..]));
        assert_eq!(list.joined("accept").as_deref(), Some("a,b"));
        assert_eq!(list.joined("x-one").as_deref(), Some("1,2"));
        assert_eq!(list.joined("x-two"), None);
        assert_eq!(list.get_named("x-one"), Some(&b"1"[..]));
    }

    #[test]
    fn names_are_written_as_they_came_or_as_asked_for() {
        let mut list = HeaderList::new();
        let written = |list: &HeaderList, case| {
            let mut out = Vec::new();
            for name in [&b"x-request-id"[..], b"host", b"x_1a-b"] {
                list.write_name(name, case, &mut out);
                out.push(b' ');
            }
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&list, NameCase::Proper), "X-Request-Id Host X_1A-B ");
        let names = [&b"HOST"[..], b"Host", b"X-Request-ID"];
        list.remember_names(NameCase::Lower, names.into_iter());
        assert_eq!(written(&list, NameCase::Proper), "X-Request-ID HOST x_1a-b ");
        list.clear(100);
        assert!(!list.has_spellings(NameCase::Lower));
    }

    #[test]
    fn what_came_leaves_as_it_came_but_for_what_was_changed() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC: 3 \r\nD: 4\r\nE: 5\r\nHost: h\r\nF: \r\n\r\n";
        let mut list = HeaderList::new();
        list.load(head);
        let mut at = 16;
        for line in head[16..].split(|byte| *byte == b'\n').filter(|line| line.len() > 1) {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let value = line[colon + 1..].trim_ascii();
            let from = if value.is_empty() { 0 } else { value.as_ptr() as usize - head.as_ptr() as usize };
            list.push_raw(at..at + colon, from..from + value.len());
            at += line.len() + 1;
        }
        list.remove_named(b"d");
        list.set(Known::Host, b"other");
        list.append_named(b"G", b"7");
        let mut out = Vec::new();
        list.encode(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a: 1\r\nb: 2\r\nc: 3\r\ne: 5\r\nhost: other\r\nf: \r\ng: 7\r\n");
    }

    #[test]
    fn set_keeps_the_place_and_removes_the_rest() {
        let mut list = list();
        list.set(Known::Accept, b"c");
        list.set_named(b"X-One", b"3");
        list.remove(Known::Host);
        let mut out = Vec::new();
        list.encode(&mut out);
        assert_eq!(out, b"accept: c\r\nx-one: 3\r\n");
        list.remove_mask(mask(&[Known::Accept, Known::Host]));
        assert!(!list.contains(Known::Accept));
        assert_eq!(list.len(), 1);
    }
}

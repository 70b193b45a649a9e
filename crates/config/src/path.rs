//! Where inside a resource: `spec.http[0].route[1].weight`. Built on the stack while reading or checking, so a path
//! costs nothing until a finding prints it.

use std::fmt;

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seg<'a> {
    /// A key of a mapping.
    Key(&'a str),
    /// An item of a list.
    Index(usize),
}

/// A path, as a chain to the root.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    seg: Option<Seg<'a>>,
}

impl<'a> Path<'a> {
    /// The whole resource.
    pub const ROOT: Path<'static> = Path { parent: None, seg: None };

    /// The value of a key below this one.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), seg: Some(Seg::Key(key)) }
    }

    /// An item below this one.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), seg: Some(Seg::Index(index)) }
    }

    /// The steps from the root.
    pub fn segs(&self) -> Vec<Seg<'a>> {
        let mut segs = Vec::new();
        let mut at = Some(*self);
        while let Some(path) = at {
            segs.extend(path.seg);
            at = path.parent.copied();
        }
        segs.reverse();
        segs
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_segs(f, &self.segs())
    }
}

fn write_segs(f: &mut fmt::Formatter<'_>, segs: &[Seg<'_>]) -> fmt::Result {
    for (position, seg) in segs.iter().enumerate() {
        match seg {
            Seg::Index(index) => write!(f, "[{index}]")?,
            Seg::Key(key) if is_plain(key) && position == 0 => f.write_str(key)?,
            Seg::Key(key) if is_plain(key) => write!(f, ".{key}")?,
            Seg::Key(key) => write!(f, "[{key:?}]")?,
        }
    }
    Ok(())
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Reads a printed path: `spec.http[0].match["a.b"]`. What does not look like one gives the steps up to there.
pub fn parse(mut text: &str) -> Vec<Seg<'_>> {
    let mut segs = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix("[\"") {
            let Some((key, rest)) = rest.split_once("\"]") else { break };
            segs.push(Seg::Key(key));
            text = rest;
        } else if let Some(rest) = text.strip_prefix('[') {
            let Some((index, rest)) = rest.split_once(']') else { break };
            let Ok(index) = index.parse() else { break };
            segs.push(Seg::Index(index));
            text = rest;
        } else {
            let rest = text.strip_prefix('.').unwrap_or(text);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            segs.push(Seg::Key(&rest[..end]));
            text = &rest[end..];
        }
    }
    segs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        let spec = Path::ROOT.key("spec");
        let http = spec.key("http");
        let first = http.index(0);
        let headers = first.key("a.b/c");
        assert_eq!(headers.to_string(), r#"spec.http[0]["a.b/c"]"#);
        assert_eq!(parse(&headers.to_string()), headers.segs());
        assert_eq!(Path::ROOT.to_string(), "");
    }
}

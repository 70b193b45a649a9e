//! YAML into nodes, over the events of `granit-parser` (the parser below serde-saphyr).
//!
//! A file is cut at its `---` lines first and each document is parsed alone, so a syntax error ends at the document's end.

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use rustc_hash::FxHashMap;

use super::{Document, Entry, MAX_ALIASED, MAX_DEPTH, Mark, Node, Scalar, SyntaxError, Value, unique};

/// Parses all documents of a text.
pub(super) fn parse(text: &str) -> Vec<Result<Document<'_>, SyntaxError>> {
    let mut documents = Vec::new();
    for (chunk, first_line) in chunks(text) {
        parse_chunk(chunk, first_line, &mut documents);
    }
    documents
}

/// The text cut before each line that begins with `---`, with the number of lines before each part. YAML forbids such a
/// line anywhere but between documents.
fn chunks(text: &str) -> Vec<(&str, u32)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let (mut at, mut line) = (0, 0);
    // Directives (`%YAML`) and comments before the first `---` belong to the document after it.
    let mut has_content = false;
    for part in text.split_inclusive('\n') {
        let is_marker = part
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker && has_content {
            chunks.push((&text[start..at], start_line));
            (start, start_line) = (at, line);
        }
        let content = part.trim();
        has_content |= is_marker || !(content.is_empty() || content.starts_with(['#', '%']));
        at += part.len();
        line += 1;
    }
    chunks.push((&text[start..], start_line));
    chunks
}

fn parse_chunk<'a>(chunk: &'a str, first_line: u32, documents: &mut Vec<Result<Document<'a>, SyntaxError>>) {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(chunk, options),
        first_line,
        anchors: FxHashMap::default(),
        aliased: 0,
        faults: Vec::new(),
    };
    loop {
        match reader.document() {
            Ok(Some(document)) => documents.push(Ok(document)),
            Ok(None) => return,
            Err(error) => {
                documents.push(Err(error));
                return;
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    first_line: u32,
    anchors: FxHashMap<usize, Node<'a>>,
    aliased: usize,
    faults: Vec<SyntaxError>,
}

impl<'a> Reader<'a> {
    /// The next document; `None` at the end.
    fn document(&mut self) -> Result<Option<Document<'a>>, SyntaxError> {
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => return Ok(None),
                Some((Event::DocumentStart(..), _)) => break,
                Some(_) => {}
            }
        }
        self.anchors.clear();
        let root = self.node(0)?;
        // What follows within the document is a syntax error that must not be lost.
        loop {
            match self.next()? {
                None | Some((Event::DocumentEnd | Event::StreamEnd, _)) => break,
                Some(_) => {}
            }
        }
        Ok(Some(Document { root, faults: std::mem::take(&mut self.faults) }))
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, SyntaxError> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(self.syntax_error(&error)),
        }
    }

    fn mark(&self, span: &Span) -> Mark {
        let start = &span.start;
        Mark { line: self.first_line + start.line() as u32, column: start.col() as u32 + 1 }
    }

    fn syntax_error(&self, error: &ScanError) -> SyntaxError {
        let start = error.marker();
        let mark = Mark { line: self.first_line + start.line() as u32, column: start.col() as u32 + 1 };
        let message = error.info();
        let hint = hint(&message);
        SyntaxError { mark, message, hint }
    }

    fn node(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        let Some((event, span)) = self.next()? else {
            let mark = Mark { line: self.first_line + 1, column: 1 };
            return Err(SyntaxError { mark, message: "the text ends too early".into(), hint: None });
        };
        self.node_of(event, span, depth)
    }

    fn node_of(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node<'a>, SyntaxError> {
        let mark = self.mark(&span);
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(SyntaxError { mark, message, hint: None });
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain =
                    style == ScalarStyle::Plain && tag.is_none_or(|tag| !tag.is_yaml_core_schema_tag("str"));
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (anchor, if null { Value::Null } else { Value::Scalar(Scalar { text, plain }) })
            }
            Event::SequenceStart(_, anchor, _) => (anchor, Value::List(self.items(depth)?)),
            Event::MappingStart(_, anchor, _) => (anchor, Value::Map(self.entries(depth)?)),
            Event::Alias(anchor) => return self.alias(anchor, mark),
            _ => {
                return Err(SyntaxError { mark, message: "a value is missing".into(), hint: None });
            }
        };
        let node = Node { value, mark };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node<'a>>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, _)) | None => return Ok(items),
                Some((event, span)) => items.push(self.node_of(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry<'a>>, SyntaxError> {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        let mut merged: Vec<Entry<'a>> = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                Some((Event::MappingEnd, _)) | None => break,
                Some(next) => next,
            };
            let mark = self.mark(&span);
            let is_plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = self.node_of(event, span, depth + 1)?;
            let key = match key.value {
                Value::Scalar(scalar) => scalar.text,
                Value::Null => "null".into(),
                _ => {
                    let message = "a key must be a single word".to_owned();
                    let hint = Some("a text that begins with `{` or `[` must be in quotes".to_owned());
                    return Err(SyntaxError { mark, message, hint });
                }
            };
            let value = self.node(depth + 1)?;
            if key == "<<" && is_plain {
                merge(value, &mut merged);
            } else {
                entries.push(Entry { key, mark, value });
            }
        }
        unique(&mut entries, &mut self.faults);
        for entry in merged {
            if !entries.iter().any(|own| own.key == entry.key) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// A copy of the anchored node. Copies are counted, so that a few lines cannot grow into gigabytes.
    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<Node<'a>, SyntaxError> {
        let Some(node) = self.anchors.get(&anchor) else {
            // An anchor is known only once its node is complete: this alias lies within it.
            return Err(SyntaxError { mark, message: "an alias inside its own anchor".into(), hint: None });
        };
        self.aliased += size(node);
        if self.aliased > MAX_ALIASED {
            let message = format!("aliases grow the document by more than {MAX_ALIASED} values");
            return Err(SyntaxError { mark, message, hint: None });
        }
        Ok(node.clone())
    }
}

fn size(node: &Node<'_>) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        Value::Null | Value::Scalar(_) => 0,
    }
}

/// YAML 1.1's merge key, which Kubernetes' tools understand: `<<: *defaults`.
fn merge<'a>(value: Node<'a>, merged: &mut Vec<Entry<'a>>) {
    match value.value {
        Value::Map(entries) => {
            for entry in entries {
                if !merged.iter().any(|known| known.key == entry.key) {
                    merged.push(entry);
                }
            }
        }
        Value::List(items) => {
            for item in items {
                merge(item, merged);
            }
        }
        Value::Null | Value::Scalar(_) => {}
    }
}

fn hint(message: &str) -> Option<String> {
    let lower = message.to_ascii_lowercase();
    if lower.contains("tab") {
        return Some("indent with spaces, not tabs".into());
    }
    if lower.contains("did not find expected key")
        || lower.contains("block mapping")
        || lower.contains("indent")
    {
        return Some("check the indentation of this line and the one above".into());
    }
    if lower.contains("anchor") {
        return Some("a text that begins with `*` or `&` must be in quotes: \"*\"".into());
    }
    if lower.contains("placement of ':'") {
        return Some(
            "a bracket or quote above may not be closed, or a text with `: ` in it needs quotes".into(),
        );
    }
    if lower.contains("mapping values are not allowed") || lower.contains("simple key") {
        return Some("a text with `: ` in it must be in quotes; a key needs `:` after it".into());
    }
    None
}

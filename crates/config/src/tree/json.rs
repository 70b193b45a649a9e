//! JSON into nodes with places. Apart from YAML because JSON may be indented with tabs and escapes surrogate pairs.

use std::borrow::Cow;

use super::{Document, Entry, MAX_DEPTH, Mark, Node, Scalar, SyntaxError, Value, unique};

/// Parses one or several JSON values with blanks between them.
pub(super) fn parse(text: &str) -> Vec<Result<Document<'_>, SyntaxError>> {
    let mut reader = Reader { text, at: 0, line: 1, line_start: 0, faults: Vec::new() };
    let mut documents = Vec::new();
    loop {
        reader.blanks();
        if reader.at == text.len() {
            return documents;
        }
        match reader.node(0) {
            Ok(root) => documents.push(Ok(Document { root, faults: std::mem::take(&mut reader.faults) })),
            Err(error) => {
                documents.push(Err(error));
                return documents;
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    faults: Vec<SyntaxError>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
            if self.text.as_bytes()[self.at - 1] == b'\n' {
                self.line += 1;
                self.line_start = self.at;
            }
        }
    }

    fn mark(&self) -> Mark {
        let column = self.text[self.line_start..self.at].chars().count() as u32 + 1;
        Mark { line: self.line, column }
    }

    fn error<T>(&self, message: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError { mark: self.mark(), message: message.into(), hint: None })
    }

    fn node(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        if depth > MAX_DEPTH {
            return self.error(&format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let mark = self.mark();
        let value = match self.peek() {
            Some(b'{') => Value::Map(self.object(depth)?),
            Some(b'[') => Value::List(self.array(depth)?),
            Some(b'"') => Value::Scalar(Scalar { text: self.string()?, plain: false }),
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => self.word()?,
            None => return self.error("the text ends too early"),
            Some(_) => return self.error("a value is expected here"),
        };
        Ok(Node { value, mark })
    }

    fn word(&mut self) -> Result<Value<'a>, SyntaxError> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let is_number =
            || word.parse::<f64>().is_ok() && word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let value = match word {
            "null" => Value::Null,
            "true" | "false" => Value::Scalar(Scalar { text: word.into(), plain: true }),
            _ if is_number() => Value::Scalar(Scalar { text: word.into(), plain: true }),
            _ => return self.error(&format!("{} is not a JSON value", crate::text::quoted(word))),
        };
        self.at += end;
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Entry<'a>>, SyntaxError> {
        self.at += 1;
        let mut entries = Vec::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(entries);
        }
        loop {
            self.blanks();
            let mark = self.mark();
            if self.peek() != Some(b'"') {
                return self.error("a key in double quotes is expected here");
            }
            let key = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return self.error("`:` is expected here");
            }
            self.at += 1;
            self.blanks();
            entries.push(Entry { key, mark, value: self.node(depth + 1)? });
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.error("`,` or `}` is expected here"),
            }
        }
        self.at += 1;
        unique(&mut entries, &mut self.faults);
        Ok(entries)
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Node<'a>>, SyntaxError> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.blanks();
            items.push(self.node(depth + 1)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.error("`,` or `]` is expected here"),
            }
        }
        self.at += 1;
        Ok(items)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut end = start;
        let mut escaped = false;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(byte) if *byte < 0x20 => {
                    return self.error("a line break or control character within quotes");
                }
                Some(_) => end += 1,
                None => return self.error("the closing quote is missing"),
            }
        }
        let raw = &self.text[start..end];
        let text = match escaped {
            false => Cow::Borrowed(raw),
            // serde_json knows the escapes.
            true => match serde_json::from_str::<String>(&self.text[self.at..=end]) {
                Ok(text) => Cow::Owned(text),
                Err(_) => return self.error("a malformed escape within quotes"),
            },
        };
        self.at = end + 1;
        Ok(text)
    }
}

//! Text to tokens, as the CEL grammar has them.
//!
//! The parser asks for all of them at once. Invariant: a token knows where it began, for errors.

/// What the parser sees.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Name(Box<str>),
    /// An operator or bracket.
    Sign(&'static str),
}

const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "<", ">", "!", "+",
    "-", "*", "/", "%",
];

/// All tokens, each with the offset at which it begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, len) = token(rest, first).map_err(|error| format!("{error} at {at}"))?;
        tokens.push((at, token));
        at += len;
    }
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Result<(Token, usize), String> {
    if let Some((prefix, raw, bytes)) = string_prefix(rest) {
        let (content, len) = string(&rest[prefix..], raw, bytes)?;
        let token = match bytes {
            true => Token::Bytes(content.into()),
            false => Token::Text(String::from_utf8(content).map_err(|_| "a text that is not UTF-8")?.into()),
        };
        return Ok((token, prefix + len));
    }
    let fraction = first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit());
    if first.is_ascii_digit() || fraction {
        return number(rest);
    }
    if first == '_' || first.is_ascii_alphabetic() {
        let len = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        return Ok((Token::Name(rest[..len].into()), len));
    }
    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    sign.map(|sign| (Token::Sign(sign), sign.len())).ok_or_else(|| format!("unexpected {first:?}"))
}

/// Length of `r`, `b` and the like before a quote; whether it is raw, and of bytes.
fn string_prefix(rest: &str) -> Option<(usize, bool, bool)> {
    // Not looked for any further, or every token would be asked about the whole rest.
    let len = rest.bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''))?;
    let prefix = &rest[..len];
    if !prefix.chars().all(|c| matches!(c, 'r' | 'R' | 'b' | 'B')) {
        return None;
    }
    let has = |c: char| prefix.to_ascii_lowercase().matches(c).count();
    (has('r') < 2 && has('b') < 2).then(|| (len, has('r') == 1, has('b') == 1))
}

/// The content of a quoted string, and its length with quotes.
fn string(rest: &str, raw: bool, bytes: bool) -> Result<(Vec<u8>, usize), String> {
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    let close = if rest.starts_with(&triple) { triple.as_str() } else { quote };
    let (mut at, mut content) = (close.len(), Vec::new());
    loop {
        let left = rest.get(at..).unwrap_or_default();
        if left.starts_with(close) {
            return Ok((content, at + close.len()));
        }
        let Some(c) = left.chars().next() else { return Err("a text without end".to_owned()) };
        if c == '\n' && close.len() == 1 {
            return Err("a line break within a text".to_owned());
        }
        if c == '\\' && !raw {
            at += escape(left, bytes, &mut content)?;
            continue;
        }
        content.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        at += c.len_utf8();
    }
}

/// Appends what an escape means; returns its length.
fn escape(left: &str, bytes: bool, content: &mut Vec<u8>) -> Result<usize, String> {
    let bad = || "an unknown escape in a text".to_owned();
    let kind = *left.as_bytes().get(1).ok_or_else(bad)?;
    let simple = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'\'' | b'"' | b'`' | b'?' => kind,
        _ => 0,
    };
    if simple != 0 {
        content.push(simple);
        return Ok(2);
    }
    let (from, len, radix) = match kind {
        b'x' | b'X' => (2, 2, 16),
        b'u' if !bytes => (2, 4, 16),
        b'U' if !bytes => (2, 8, 16),
        b'0'..=b'3' => (1, 3, 8),
        _ => return Err(bad()),
    };
    let digits = left.get(from..from + len).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
    let code = u32::from_str_radix(digits.ok_or_else(bad)?, radix).map_err(|_| bad())?;
    match u8::try_from(code) {
        Ok(byte) if bytes => content.push(byte),
        _ => {
            let c = char::from_u32(code).ok_or_else(bad)?;
            content.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(from + len)
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bad = |_| "a number out of range".to_owned();
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let len = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = u64::from_str_radix(&hex[..len], 16).map_err(bad)?;
        return Ok(whole(value, &hex[len..], len + 2));
    }
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut len = digits(0);
    let mut double = false;
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        len += 1 + digits(len + 1);
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits((len + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            double = true;
            len += 1 + sign + exponent;
        }
    }
    if double {
        let value = rest[..len].parse().map_err(|_| "a number out of range".to_owned())?;
        return Ok((Token::Double(value), len));
    }
    let value = rest[..len].parse().map_err(bad)?;
    Ok(whole(value, &rest[len..], len))
}

fn whole(value: u64, after: &str, len: usize) -> (Token, usize) {
    match after.starts_with(['u', 'U']) {
        true => (Token::Uint(value), len + 1),
        false => (Token::Int(value), len),
    }
}

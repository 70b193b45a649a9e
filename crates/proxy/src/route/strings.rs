//! String conditions (`type.matcher.v3.StringMatcher`), and the text that regular expressions substitute.
//!
//! Used by header, query parameter and path conditions.
//! Invariant: matching is linear in the value's length.

use std::sync::Arc;

pub use super::re2::{compile, full_match};

/// A compiled `StringMatcher`.
#[derive(Debug, Clone)]
pub enum StringMatch {
    /// `exact`.
    Exact(Arc<str>),
    /// `prefix`.
    Prefix(Arc<str>),
    /// `suffix`.
    Suffix(Arc<str>),
    /// `contains`.
    Contains(Arc<str>),
    /// `safe_regex`, anchored; see [`full_match`].
    Regex(Arc<regex::Regex>),
    /// Any of the literal ones with `ignore_case`; the literal inside is in lower case.
    IgnoreCase(Box<StringMatch>),
}

impl StringMatch {
    /// True when `value` fulfils the condition.
    #[inline]
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(literal) => value == &**literal,
            Self::Prefix(literal) => value.starts_with(&**literal),
            Self::Suffix(literal) => value.ends_with(&**literal),
            Self::Contains(literal) => value.contains(&**literal),
            Self::Regex(pattern) => pattern.is_match(value),
            Self::IgnoreCase(inner) => inner.matches(&value.to_ascii_lowercase()),
        }
    }

    /// The same condition without regard to ASCII case. A regular expression stays as it is, as in Envoy.
    pub fn ignoring_case(self) -> Self {
        let lower = |literal: Arc<str>| -> Arc<str> { literal.to_ascii_lowercase().into() };
        let inner = match self {
            Self::Exact(literal) => Self::Exact(lower(literal)),
            Self::Prefix(literal) => Self::Prefix(lower(literal)),
            Self::Suffix(literal) => Self::Suffix(lower(literal)),
            Self::Contains(literal) => Self::Contains(lower(literal)),
            regex => return regex,
        };
        Self::IgnoreCase(Box::new(inner))
    }
}

/// RE2's substitution text (`\1`, `\0`, `\\`) in the regex crate's syntax (`${1}`); an error for anything else after `\`
/// and for groups that the pattern does not have.
pub fn substitution(text: &str, pattern: &regex::Regex) -> Result<Arc<str>, String> {
    let mut out = String::with_capacity(text.len() + 4);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit @ '0'..='9') => {
                    let group = digit as usize - '0' as usize;
                    if group >= pattern.captures_len() {
                        return Err(format!(
                            "substitution '{text}' asks for group {group}, which the pattern lacks"
                        ));
                    }
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                _ => {
                    return Err(format!(
                        "invalid substitution '{text}': '\\' must be followed by a digit or '\\'"
                    ));
                }
            },
            other => out.push(other),
        }
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let exact = StringMatch::Exact("Ab".into());
        assert!(exact.matches("Ab") && !exact.matches("ab") && !exact.matches("Abc"));
        assert!(exact.ignoring_case().matches("aB"));
        assert!(StringMatch::Prefix("a".into()).matches("abc"));
        assert!(StringMatch::Suffix("c".into()).matches("abc"));
        assert!(StringMatch::Contains("B".into()).ignoring_case().matches("abc"));
        let regex = StringMatch::Regex(full_match(".*Safari.*").unwrap().into());
        assert!(regex.matches("Mozilla Safari/1") && !regex.matches("Firefox"));
    }

    #[test]
    fn substitutions() {
        let pattern = compile("^/a/(.*)/(b)$").unwrap();
        assert_eq!(&*substitution(r"/x/\2/\1$\\", &pattern).unwrap(), r"/x/${2}/${1}$$\");
        assert!(substitution(r"\3", &pattern).is_err());
        assert!(substitution(r"\x", &pattern).is_err());
    }
}

//! Regular expressions that mean what they mean in RE2, and that no value can make slow.
//!
//! Compiled when configuration comes, by [`super::strings`] and `xds`. Invariant: a value of 64 KB takes no pattern that is accepted
//! here longer than some tens of milliseconds (`cargo xtask bench --scenario hostile`), and nearly all of them a fifth of one.

use std::fmt::Write as _;

use regex_automata::{
    dfa::{StartKind, dense},
    nfa::thompson::{self, NFA, WhichCaptures},
};

/// Most bytes of a compiled program, whatever it is.
const SIZE_LIMIT: usize = 1 << 20;
/// Up to so many states a program is run step by step, if need be: 0.25 µs for each state and KB of a hostile value.
const STATES: usize = 256;
/// A larger program must have an automaton of at most so many bytes: then each byte of a value is one step.
const AUTOMATON: usize = 512 << 10;
/// What a worker may keep of a pattern's automaton, which is made as values ask for it.
const CACHE: usize = 2 << 20;

/// Compiles a pattern that must match the whole value, as RE2's `FullMatch`.
pub fn full_match(pattern: &str) -> Result<regex::Regex, String> {
    // Compiled alone first, so that `a)(b` is refused and the error shows the user's text.
    compile(pattern)?;
    build(&format!("^(?:{})$", ascii(pattern))).map_err(|why| invalid(pattern, &why))
}

/// Compiles a pattern for substitution, not anchored.
pub fn compile(pattern: &str) -> Result<regex::Regex, String> {
    let text = ascii(pattern);
    let compiled = build(&text).map_err(|why| invalid(pattern, &why))?;
    match is_bounded(&text) {
        true => Ok(compiled),
        false => Err(invalid(
            pattern,
            &format!(
                "it could take too long: its program has more than {STATES} states, and its automaton more than {} KB; \
                 repeat less",
                AUTOMATON >> 10
            ),
        )),
    }
}

fn invalid(pattern: &str, why: &str) -> String {
    let shown: String = pattern.chars().take(200).collect();
    let cut = if shown.len() < pattern.len() { "…" } else { "" };
    format!("invalid regex '{shown}{cut}': {why}")
}

fn build(text: &str) -> Result<regex::Regex, String> {
    let mut builder = regex::RegexBuilder::new(text);
    builder.size_limit(SIZE_LIMIT).dfa_size_limit(CACHE);
    builder.build().map_err(|error| brief(&error))
}

/// Whether a value costs little per byte: the program is short, or it has a small automaton. Some have one with states beyond
/// number, as `[ab]*a[ab]{99}`, and then each byte costs as much as the program is long.
fn is_bounded(text: &str) -> bool {
    let config = thompson::Config::new().nfa_size_limit(Some(SIZE_LIMIT)).which_captures(WhichCaptures::None);
    let Ok(program) = NFA::compiler().configure(config).build(text) else { return false };
    if program.states().len() <= STATES {
        return true;
    }
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(AUTOMATON))
        .determinize_size_limit(Some(2 * AUTOMATON));
    dense::Builder::new().configure(config).build_from_nfa(&program).is_ok()
}

/// The pattern with RE2's classes: `\d`, `\w`, `\s` and `\b` know ASCII only, where this crate's know all of Unicode.
fn ascii(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\f\r ]"),
            // `\b{start}` is this crate's own: RE2 has no such thing, and it stays what it is.
            Some('b') if !chars.as_str().starts_with('{') => out.push_str(r"(?-u:\b)"),
            // Writing to a string cannot fail.
            Some(other) => {
                let _ = write!(out, "\\{other}");
            }
            None => out.push('\\'),
        }
    }
    out
}

/// The last line of the error, which says what is wrong; the lines before draw the pattern again.
fn brief(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_value() {
        let pattern = full_match("a|bc").unwrap();
        assert!(pattern.is_match("a") && pattern.is_match("bc"));
        assert!(!pattern.is_match("ab") && !pattern.is_match("abc") && !pattern.is_match("a\n"));
    }

    #[test]
    fn classes_are_of_ascii_as_in_re2() {
        for (pattern, yes, no) in [
            (r"\d+", "19", "١٩"),
            (r"\D", "٣", "3"),
            (r"[\w.-]+@x", "a.b-c@x", "ä@x"),
            (r"[^\W]", "_", "é"),
            (r"\S\s", "é ", "  "),
            (r".*\bx\b.*", "a x b", "axb"),
            (r"\\d", r"\d", "5"),
            ("é.", "éß", "é"),
        ] {
            let compiled = full_match(pattern).unwrap();
            assert!(compiled.is_match(yes) && !compiled.is_match(no), "{pattern}");
        }
    }

    #[test]
    fn bad_patterns_are_named() {
        assert!(full_match("[").unwrap_err().starts_with("invalid regex '['"));
        assert!(full_match("a)(b").is_err());
        assert!(full_match("(?=a)").is_err());
        assert!(full_match("((a{1000}){1000}){1000}").is_err());
    }

    #[test]
    fn patterns_that_could_stall_a_worker_are_refused() {
        for pattern in ["[ab]*a[ab]{300}c", ".*a.{500}c", "((.{0,30}){0,30})*c"] {
            let error = full_match(pattern).unwrap_err();
            assert!(error.contains("it could take too long") && error.contains(pattern), "{error}");
        }
    }

    #[test]
    fn long_patterns_with_a_small_automaton_are_not() {
        let words: Vec<String> = (0..1_000).map(|n| format!("word{n:04}")).collect();
        for pattern in [
            format!(".*({}).*", words.join("|")),
            "[a-f0-9]{1,500}".to_owned(),
            r"/api/v\d+/.*/items/\w{3,250}".to_owned(),
            r".*\w{20}c.*".to_owned(),
            "(a+)+$".to_owned(),
            "(.*)*x".to_owned(),
        ] {
            assert!(full_match(&pattern).is_ok(), "{:?}", full_match(&pattern));
        }
    }
}

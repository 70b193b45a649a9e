//! The language, value by value, and what hostile expressions come to. What attributes are, a real Envoy says beside us:
//! `crates/meltemi/tests/log_operators.yaml`.

use proptest::prelude::*;

use super::Expression;
use crate::{
    access_log::Record,
    http::message::{RequestHead, ResponseHead},
};

fn request() -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method("GET");
    head.set_path("/a/b?x=1");
    head.set_authority("shop.example");
    head.headers.append_named(b"x-id", b"7");
    head
}

fn text(expression: &str) -> String {
    let request = request();
    let response = ResponseHead { status: 404, ..ResponseHead::default() };
    let record =
        Record { request: Some(&request), response: Some(&response), status: 404, ..Record::default() };
    let compiled = Expression::compile(expression).unwrap();
    let mut out = Vec::new();
    match compiled.evaluate(&record) {
        Some(value) => value.write(&mut out),
        None => out.push(b'-'),
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn expressions_come_to_what_cel_says() {
    for (expression, wanted) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-5 % 3", "-2"),
        ("7 / 2", "3"),
        ("9223372036854775807 + 1", "-"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1 / 0", "-"),
        ("1.0 / 0.0", "inf"),
        ("10 - 3u", "-"),
        ("1 == 1.0 && 1u == 1", "true"),
        ("'a' == 1", "false"),
        ("'a' < 1", "-"),
        ("'b' in ['a', 'b'] || nope", "true"),
        ("nope || false", "-"),
        ("false && nope", "false"),
        ("!nope", "-"),
        ("true ? 'y' : nope", "y"),
        ("{'a': [1, {'b': 2}]}.a[1].b", "2"),
        ("[1, 2][2]", "-"),
        ("size('h\\u00e9')", "2"),
        ("'''it's'''", "it's"),
        ("r'\\n'.size()", "2"),
        ("b'\\xff' == b'\\377'", "true"),
        ("0x1F", "31"),
        ("1e3", "1000"),
        ("0.1 + 0.2", "0.3"),
        ("123456789.5", "1.23457e+08"),
        ("duration('1h30m') + duration('-90s')", "1h28m30s"),
        ("timestamp('2023-08-26T12:39:00-07:00')", "2023-08-26T19:39:00+00:00"),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfYear()", "59"),
        ("timestamp('2023-08-26T12:39:00Z').getHours('-03:30')", "9"),
        ("timestamp('2023-13-26T12:39:00Z')", "-"),
        ("int('12') + int(3.9)", "15"),
        ("request.method + 'x'", "-"),
        ("request.headers['X-Id'] == '7'", "true"),
        ("has(request.headers.nope)", "false"),
        ("request['method']", "GET"),
        ("request.url_path.matches('^/a/[a-z]$')", "true"),
        ("response.code >= 400 && response.code < 500", "true"),
        ("xds.node.id", "-"),
        ("// nothing\n 1", "1"),
    ] {
        assert_eq!(text(expression), wanted, "{expression}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (expression, wanted) in [
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("(1", ") is missing at 2"),
        ("1 2", "unexpected text at 2"),
        ("a ? b", ": is missing"),
        ("'abc", "without end"),
        ("'\\q'", "escape"),
        ("#", "unexpected '#' at 0"),
        ("99999999999999999999", "out of range"),
        ("[1].map(x, x)", "comprehension"),
        ("string(1)", "conversion to text is off"),
        ("'a'.lowerAscii()", "unknown function lowerAscii()"),
        ("size()", "does not take 0 arguments"),
        ("'a'.matches(request.path)", "spelled out"),
        ("'a'.matches('(')", "invalid regex"),
        ("has(1)", "has() takes one selection"),
    ] {
        let error = Expression::compile(expression).unwrap_err();
        assert!(error.contains(wanted), "{expression}: {error}");
    }
}

#[test]
fn nesting_is_bounded() {
    for nested in ["(", "[", "!", "-", "{1:", "a.b(", "1+", "a?b:", "a[", "1<", "has("] {
        let error = Expression::compile(&nested.repeat(10_000)).unwrap_err();
        assert!(!error.is_empty());
    }
    for chain in [".a", "[0]", " + 1", " < 1", " * 1"] {
        assert!(Expression::compile(&format!("1{}", chain.repeat(10_000))).is_err(), "{chain}");
    }
    // Rows within brackets add up.
    let rows = |each: &str| {
        format!("{}1{}", "(".repeat(90), format!("{}{})", ".a".repeat(50), each.repeat(50)).repeat(90))
    };
    for each in [" + 1", " < 1", " * 1", "[0]"] {
        assert!(Expression::compile(&rows(each)).is_err(), "{each}");
    }
    // Wide is not deep.
    assert_eq!(text(&["true"; 5000].join(" && ")), "true");
    assert!(Expression::compile(&" ".repeat(100_000)).is_err());
}

proptest! {
    /// Whatever comes, there is a value, none, or an error.
    #[test]
    fn nothing_panics(expression in "[-a-z0-9 .()\\[\\]{}'\"<>=!&|?:+*/%,_\\\\]{0,60}") {
        if let Ok(compiled) = Expression::compile(&expression) {
            let request = request();
            let record = Record { request: Some(&request), ..Record::default() };
            if let Some(value) = compiled.evaluate(&record) {
                value.write(&mut Vec::new());
                value.write_json(&mut Vec::new());
            }
        }
    }

    /// The same, with words that mean something.
    #[test]
    fn nothing_that_means_something_panics(words in proptest::collection::vec(prop_oneof![
        Just("request"), Just("response"), Just(".headers"), Just(".code"), Just("size("), Just(")"), Just("timestamp("),
        Just("'2023-01-01T00:00:00Z'"), Just("duration("), Just("'9999999h'"), Just(".getFullYear()"), Just("["), Just("]"),
        Just("9223372036854775807"), Just("-"), Just("+"), Just("*"), Just("1.5e300"), Just("in"), Just("&&"), Just("||"),
        Just("?"), Just(":"), Just("{"), Just("}"), Just(","), Just("metadata"), Just("uint("), Just("int("), Just("=="),
    ], 0..12)) {
        let _ = Expression::compile(&words.join(" ")).map(|compiled| {
            let request = request();
            let record = Record { request: Some(&request), ..Record::default() };
            if let Some(value) = compiled.evaluate(&record) {
                value.write(&mut Vec::new());
                value.write_json(&mut Vec::new());
            }
        });
    }
}

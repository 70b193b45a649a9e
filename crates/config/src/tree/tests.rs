//! Documents of all shapes, good, bad and hostile.

use super::*;

fn json(text: &str) -> Vec<serde_json::Value> {
    parse(text).into_iter().map(|document| document.unwrap().root.to_json()).collect()
}

fn error(text: &str) -> SyntaxError {
    parse(text).into_iter().find_map(Result::err).expect("a syntax error")
}

#[test]
fn documents_are_split_and_read() {
    let text =
        "# one\na: 1\n---\n# nothing\n---\nb: [x, \"2\", true, ~]\n--- # three\nc: |\n  - text\n  --- no\n";
    let values = json(text);
    assert_eq!(values[0], serde_json::json!({"a": 1}));
    assert!(values.contains(&serde_json::json!({"b": ["x", "2", true, null]})));
    assert_eq!(values.last().unwrap(), &serde_json::json!({"c": "- text\n--- no\n"}));
}

#[test]
fn places_count_from_one_over_all_documents() {
    let text = "a: 1\n---\nb:\n  ccc: x\n";
    let documents = parse(text);
    let second = &documents[1].as_ref().unwrap().root;
    let entry = second.get("b").unwrap().entry("ccc").unwrap();
    assert_eq!(entry.mark, Mark { line: 4, column: 3 });
    assert_eq!(entry.value.mark, Mark { line: 4, column: 8 });
}

#[test]
fn byte_order_mark_crlf_and_directives_are_taken() {
    assert_eq!(json("\u{feff}a: 1\r\nb: x\r\n"), [serde_json::json!({"a": 1, "b": "x"})]);
    assert_eq!(json("%YAML 1.2\n---\na: 1\n"), [serde_json::json!({"a": 1})]);
}

#[test]
fn a_syntax_error_costs_one_document() {
    let documents = parse("a: 1\n---\nb: [1\n---\nc: 3\n");
    assert!(documents[0].is_ok());
    assert!(documents[1].is_err());
    assert_eq!(documents[2].as_ref().unwrap().root.to_json(), serde_json::json!({"c": 3}));
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = "base: &b {x: 1, y: 2}\ncopy: *b\nmore:\n  <<: *b\n  y: 3\n";
    assert_eq!(
        json(text)[0],
        serde_json::json!({"base": {"x": 1, "y": 2}, "copy": {"x": 1, "y": 2}, "more": {"y": 3, "x": 1}})
    );
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
    }
    assert!(error(&bomb).message.contains("aliases grow"));
    assert!(error(&"[".repeat(100_000)).message.len() < 200);
    assert!(error(&"{\"a\":".repeat(100_000)).message.contains("nested deeper"));
    assert!(error(&format!("a: {}{}", "[".repeat(100), "]".repeat(100))).message.contains("nested deeper"));
    assert!(
        error("a: &x [*x]\n").message.contains("alias") || error("a: &x [*x]\n").message.contains("anchor")
    );
}

#[test]
fn tabs_and_loose_stars_get_a_hint() {
    let tab = error("a:\n\tb: 1\n");
    assert_eq!(tab.hint.as_deref(), Some("indent with spaces, not tabs"), "{}", tab.message);
    let star = error("hosts:\n- *\n");
    assert!(star.hint.is_some(), "{}", star.message);
}

#[test]
fn keys_given_twice_are_noted_and_the_first_holds() {
    let document = parse("a: 1\nb: 2\na: 3\n").remove(0).unwrap();
    assert_eq!(document.root.to_json(), serde_json::json!({"a": 1, "b": 2}));
    assert_eq!(document.faults[0].mark, Mark { line: 3, column: 1 });
}

#[test]
fn json_has_tabs_escapes_and_places() {
    let text = "{\n\t\"a\": \"\\ud83d\\ude00\\n\",\n\t\"b\": [1.5, -2, true, null]\n}\n{\"c\": 1}";
    assert_eq!(
        json(text),
        [serde_json::json!({"a": "😀\n", "b": [1.5, -2, true, null]}), serde_json::json!({"c": 1})]
    );
    assert_eq!(parse(text)[0].as_ref().unwrap().root.entry("b").unwrap().mark, Mark { line: 3, column: 2 });
    let error = error("{\"a\": 1,\n \"b\" 2}");
    assert_eq!(error.mark, Mark { line: 2, column: 6 });
    // YAML that begins like JSON is YAML.
    assert_eq!(json("{a: 1}\n"), [serde_json::json!({"a": 1})]);
}

#[test]
fn numbers_are_told_from_text() {
    let kind = |text: &'static str| Scalar { text: text.into(), plain: true }.kind();
    assert_eq!(kind("12"), ScalarKind::Integer(12));
    assert_eq!(kind("-1"), ScalarKind::Integer(-1));
    assert_eq!(kind("0x10"), ScalarKind::Integer(16));
    assert_eq!(kind("1e3"), ScalarKind::Number(1000.0));
    assert_eq!(kind(".5"), ScalarKind::Number(0.5));
    for text in ["v1", "1.2.3.4", "1h", "-", "inf", "nan", "yes", ""] {
        assert_eq!(kind(text), ScalarKind::Text, "{text}");
    }
}

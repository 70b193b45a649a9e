//! Conditions that cannot hold as written: broken regexes, regexes without operators, a `?` in a match of the path.

use super::Analyzer;
use super::messages::{INVALID_REGEXP, LITERAL_REGEX, QUERY_IN_URI};
use super::report::Report;
use super::view::Mesh;
use crate::Object;
use crate::networking::VirtualService;
use crate::networking::virtual_service::{HttpMatchRequest, StringMatch};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "regexes",
    about: "regexes and paths that rules match",
    says: &[&INVALID_REGEXP, &QUERY_IN_URI, &LITERAL_REGEX],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for (object, service) in mesh.all::<VirtualService>() {
        for (rule, content) in service.http.iter().enumerate() {
            for (index, condition) in content.matches.iter().enumerate() {
                let at = format!("spec.http[{rule}].match[{index}]");
                for (field, path, wanted) in conditions(condition) {
                    regex(object, field, &format!("{at}.{path}"), wanted, report);
                }
                if let Some(uri) = &condition.uri {
                    query(object, uri, &format!("{at}.uri"), report);
                }
            }
            let origins = content.cors_policy.iter().flat_map(|cors| &cors.allow_origins).enumerate();
            for (index, origin) in origins {
                let path = format!("spec.http[{rule}].corsPolicy.allowOrigins[{index}]");
                regex(object, "corsPolicy.allowOrigins", &path, origin, report);
            }
        }
    }
}

/// Conditions on texts: field as Istio names it, path, what is wanted.
fn conditions(it: &HttpMatchRequest) -> Vec<(&'static str, String, &StringMatch)> {
    let mut all: Vec<(&'static str, String, &StringMatch)> = Vec::new();
    for (field, wanted) in
        [("uri", &it.uri), ("scheme", &it.scheme), ("method", &it.method), ("authority", &it.authority)]
    {
        all.extend(wanted.as_ref().map(|wanted| (field, field.to_owned(), wanted)));
    }
    for (field, map) in
        [("headers", &it.headers), ("queryParams", &it.query_params), ("withoutHeaders", &it.without_headers)]
    {
        all.extend(map.iter().map(|(name, wanted)| (field, format!("{field}[{:?}]", &**name), wanted)));
    }
    all
}

fn regex(object: &Object, field: &str, path: &str, wanted: &StringMatch, report: &mut Report) {
    let StringMatch::Regex(pattern) = wanted else { return };
    // `*` asks for presence, a form older than `{}` (VS-042).
    if pattern.is_empty() || &**pattern == "*" && field == "headers" {
        return;
    }
    let path = format!("{path}.regex");
    if let Err(error) = regex::Regex::new(pattern) {
        let message = error.to_string();
        let problem = message.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        let text = format!(
            "Field {field:?} regular expression invalid: {:?} ({problem}): no request is routed by this VirtualService, which is left out",
            &**pattern
        );
        let hint = "regexes are in RE2's syntax: https://github.com/google/re2/wiki/Syntax";
        report.add(&INVALID_REGEXP, object, &path, text, hint);
        return;
    }
    // A regex must match the whole text. One without operators is most often meant to match a part.
    let literal = !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$']);
    if literal && field != "method" && field != "scheme" {
        let text =
            format!("This regex takes one text only, {:?} as a whole: it has no operators", &**pattern);
        let hint = format!("write `exact: {pattern}`, or .*{pattern}.* for any text that has it");
        report.add(&LITERAL_REGEX, object, &path, text, hint);
    }
}

fn query(object: &Object, uri: &StringMatch, path: &str, report: &mut Report) {
    let (field, text) = match uri {
        StringMatch::Exact(text) => ("exact", text),
        StringMatch::Prefix(text) => ("prefix", text),
        _ => return,
    };
    let Some((before, after)) = text.split_once('?') else { return };
    let name = after.split(['=', '&']).next().unwrap_or_default();
    let message = format!(
        "A uri match cannot see the query: paths are compared without it, so GET {text} is not taken by this match"
    );
    let hint = format!("match uri {before} and queryParams: {{{name}: …}}");
    report.add(&QUERY_IN_URI, object, &format!("{path}.{field}"), message, hint);
}

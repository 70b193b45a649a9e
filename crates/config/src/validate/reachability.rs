//! Rules of a VirtualService that no request reaches, and matches that an earlier one has taken already. Istio's words for
//! both (IST0130, IST0131).
//!
//! Invariant: a rule is called unreachable only if every request it would take is taken by one above it.

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{Check, Path, code};
use crate::analysis::evidence;
use crate::diagnostic::Severity;
use crate::networking::VirtualService;
use crate::networking::virtual_service::{HttpMatchRequest, HttpRoute, StringMatch};
use crate::{Labels, Str};

/// Of matches with one and the same prefix so many are compared with the ones below: all with all would take too long.
const MOST_COMPARED: usize = 1_000;

pub(super) fn check(it: &VirtualService, check: &mut Check<'_>, at: &Path<'_>) {
    http(it, check, &at.key("http"));
    if it.tcp.len() > 1 {
        let rules: Vec<_> = it.tcp.iter().map(|rule| &rule.matches[..]).collect();
        repeated(&rules, check, &at.key("tcp"));
    }
    if it.tls.len() > 1 {
        let rules: Vec<_> = it.tls.iter().map(|rule| &rule.matches[..]).collect();
        repeated(&rules, check, &at.key("tls"));
    }
}

fn unreachable(check: &mut Check<'_>, at: &Path<'_>, rule: &str, reason: &str, shown: &str) {
    let message = format!("VirtualService rule {rule} not used ({reason}).{shown}");
    check.warn(code::UNREACHABLE, at, message, Some("rules are tried in order: move it up".into()));
}

fn ineffective(check: &mut Check<'_>, at: &Path<'_>, (rule, condition): (&str, &str), earlier: &str) {
    let message = format!(
        "VirtualService rule {rule} match {condition} is not used (duplicate/overlapping match in rule {earlier})."
    );
    let hint = Some("put the narrower match first, or drop one of the two".to_owned());
    check.note(Severity::Info, code::INEFFECTIVE_MATCH, at, message, hint);
}

/// Rules without names: TCP and TLS.
fn repeated<M: Serialize>(rules: &[&[M]], check: &mut Check<'_>, at: &Path<'_>) {
    let mut known: FxHashMap<String, usize> = FxHashMap::default();
    let mut open = false;
    for (index, matches) in rules.iter().enumerate() {
        let rule = at.index(index);
        let name = format!("#{index}");
        if open {
            let reason = if matches.is_empty() { ONLY_LAST } else { AFTER_OPEN };
            unreachable(check, &rule, &name, reason, "");
            continue;
        }
        open = matches.is_empty();
        let mut duplicates = 0;
        let list = rule.key("match");
        for (number, condition) in matches.iter().enumerate() {
            let earlier = *known.entry(text_of(condition)).or_insert(index);
            if earlier != index {
                ineffective(
                    check,
                    &list.index(number),
                    (&name, &format!("#{number}")),
                    &format!("#{earlier}"),
                );
                duplicates += 1;
            }
        }
        if duplicates > 0 && duplicates == matches.len() {
            unreachable(check, &rule, &name, "all matches used by prior rules", "");
        }
    }
}

const ONLY_LAST: &str = "only the last rule can have no matches";
const AFTER_OPEN: &str = "route without matches defined before";

fn http(it: &VirtualService, check: &mut Check<'_>, at: &Path<'_>) {
    let rules = &it.http;
    if rules.len() < 2 && rules.iter().all(|rule| rule.matches.len() < 2) {
        return;
    }
    let mut known: FxHashMap<String, (usize, usize)> = FxHashMap::default();
    let mut prefixes: FxHashMap<&str, Vec<(usize, usize)>> = FxHashMap::default();
    // The rule that takes every request, by having no match or one for everything.
    let mut open: Option<usize> = None;
    for (index, rule) in rules.iter().enumerate() {
        let (rule_at, name) = (at.index(index), name_of(&rule.name, index));
        if let Some(by) = open {
            let reason = match (rules[by].matches.is_empty(), rule.matches.is_empty()) {
                (true, true) => ONLY_LAST.to_owned(),
                (true, false) => AFTER_OPEN.to_owned(),
                (false, _) => format!("rule {} before it takes every request", name_of(&rules[by].name, by)),
            };
            let by = name_of(&rules[by].name, by);
            let shown = format!(" {} is taken by rule {by}", evidence::request(it, rule, None));
            unreachable(check, &rule_at, &name, &reason, &shown);
            continue;
        }
        let list = rule_at.key("match");
        let mut duplicates = 0;
        for (number, condition) in rule.matches.iter().enumerate() {
            let condition_at = list.index(number);
            let own = name_of(&condition.name, number);
            if let Some((earlier, _)) = known.get(&key_of(condition)) {
                ineffective(check, &condition_at, (&name, &own), &name_of(&rules[*earlier].name, *earlier));
                duplicates += 1;
                continue;
            }
            known.insert(key_of(condition), (index, number));
            let Some(StringMatch::Prefix(prefix)) = &condition.uri else { continue };
            let shorter = prefix.char_indices().map(|(at, _)| at).chain([prefix.len()]);
            let above = shorter.filter_map(|at| prefixes.get(&prefix[..at]));
            let covering = above
                .flat_map(|list| list.iter().take(MOST_COMPARED))
                .filter(|(rule, number)| covers(&rules[*rule].matches[*number], condition));
            if let Some((earlier, other)) = covering.min() {
                let before = &rules[*earlier];
                let shorter = prefix_of(&before.matches[*other]);
                let own = format!("{own} of prefix {prefix}");
                let earlier = format!(
                    "{} of prefix {shorter} on {}",
                    name_of(&before.matches[*other].name, *other),
                    name_of(&before.name, *earlier)
                );
                ineffective(check, &condition_at, (&name, &own), &earlier);
            }
            prefixes.entry(prefix).or_default().push((index, number));
        }
        if duplicates > 0 && duplicates == rule.matches.len() {
            let shown = format!(" {} is taken by an earlier rule", evidence::request(it, rule, None));
            unreachable(check, &rule_at, &name, "all matches used by prior rules", &shown);
        }
        if takes_everything(rule) {
            open = Some(index);
        }
    }
}

fn prefix_of(condition: &HttpMatchRequest) -> &str {
    match &condition.uri {
        Some(StringMatch::Prefix(prefix)) => prefix,
        _ => "",
    }
}

fn name_of(name: &Option<Str>, index: usize) -> String {
    name.as_ref().map_or_else(|| format!("#{index}"), |name| format!("{:?}", &**name))
}

/// What a match asks for, without its name.
fn key_of(condition: &HttpMatchRequest) -> String {
    if condition.name.is_none() {
        return text_of(condition);
    }
    text_of(&HttpMatchRequest { name: None, ..condition.clone() })
}

fn text_of<M: Serialize>(condition: &M) -> String {
    serde_json::to_string(condition).unwrap_or_default()
}

/// Whether a request that `narrow` takes is taken by `wide`, their paths aside.
fn covers(wide: &HttpMatchRequest, narrow: &HttpMatchRequest) -> bool {
    let one = |wide: &Option<StringMatch>, narrow: &Option<StringMatch>| wide.is_none() || wide == narrow;
    let labels =
        |wide: &Labels, narrow: &Labels| wide.iter().all(|(key, value)| narrow.get(key) == Some(value));
    let texts = |wide: &std::collections::BTreeMap<Str, StringMatch>,
                 narrow: &std::collections::BTreeMap<Str, StringMatch>| {
        wide.iter().all(|(key, value)| narrow.get(key) == Some(value))
    };
    one(&wide.scheme, &narrow.scheme)
        && one(&wide.method, &narrow.method)
        && one(&wide.authority, &narrow.authority)
        && texts(&wide.headers, &narrow.headers)
        && texts(&wide.query_params, &narrow.query_params)
        && texts(&wide.without_headers, &narrow.without_headers)
        && (wide.port.is_none() || wide.port == narrow.port)
        && labels(&wide.source_labels, &narrow.source_labels)
        && (wide.source_namespace.is_none() || wide.source_namespace == narrow.source_namespace)
        && (wide.gateways.is_empty() || wide.gateways == narrow.gateways)
        && (!narrow.ignore_uri_case || wide.ignore_uri_case)
}

fn takes_everything(rule: &HttpRoute) -> bool {
    rule.matches.is_empty()
        || rule.matches.iter().any(|condition| {
            let uri = match &condition.uri {
                None => true,
                Some(StringMatch::Prefix(prefix)) => &**prefix == "/",
                Some(StringMatch::Regex(regex)) => matches!(&**regex, "*" | ".*"),
                Some(_) => false,
            };
            let mut plain = condition.clone();
            (plain.uri, plain.name, plain.ignore_uri_case, plain.stat_prefix) = (None, None, false, None);
            uri && plain == HttpMatchRequest::default()
        })
}

//! What hosts, ports, headers, regexes, durations and the like must look like. Pure; used by every file of `validate`.

use std::net::IpAddr;

use crate::{Duration, text};

/// Why a value is refused.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

fn fault(message: impl Into<String>) -> Result<(), Fault> {
    Err(Fault { message: message.into(), hint: None })
}

fn fault_hint(message: impl Into<String>, hint: impl Into<String>) -> Result<(), Fault> {
    Err(Fault { message: message.into(), hint: Some(hint.into()) })
}

/// Whether it is an RFC 1123 label: letters, digits and `-` within, 63 at most.
pub(super) fn is_label(text: &str) -> bool {
    is_host_label(text) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// The same in any case, as host names are written.
fn is_host_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether it is an RFC 1123 subdomain: labels with dots, 253 at most.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A host: a name, or one that begins with `*` (`*`, `*.example.com`, `*-x.example.com`, `*x.example.com`).
pub(super) fn wildcard_host(host: &str) -> Result<(), Fault> {
    match host.strip_prefix('*') {
        Some(rest) if rest.contains('*') => wildcard_fault(host),
        Some("") => Ok(()),
        Some(rest) => labels(rest.strip_prefix(['.', '-']).unwrap_or(rest), host),
        None if host.contains('*') => wildcard_fault(host),
        None => fqdn(host),
    }
}

fn wildcard_fault(host: &str) -> Result<(), Fault> {
    fault_hint(
        format!("{} is not a host: `*` may stand for the first part of a name only", text::quoted(host)),
        "write `*` or `*.example.com`",
    )
}

/// A full or short name without wildcards.
pub(super) fn fqdn(host: &str) -> Result<(), Fault> {
    if host.is_empty() {
        return fault("a host must not be empty");
    }
    if host.contains('*') {
        return fault(format!("{} must not be a wildcard here", text::quoted(host)));
    }
    labels(host, host)
}

fn labels(name: &str, whole: &str) -> Result<(), Fault> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if whole.len() > 255 {
        return fault(format!("{} is longer than 255 characters", text::quoted(whole)));
    }
    if let Some(bad) = name.split('.').find(|label| !is_host_label(label)) {
        let message = format!(
            "{} is not a host name: {} cannot be a part of it",
            text::quoted(whole),
            text::quoted(bad)
        );
        let hint = match bad {
            _ if whole.contains("://") => Some("leave out the scheme".into()),
            _ if whole.contains(':') => Some("leave out the port".into()),
            _ if whole.contains('/') => Some("leave out what follows the `/`".into()),
            _ if bad.contains('_') => Some("`_` is not allowed in host names; write `-`".into()),
            _ => None,
        };
        return Err(Fault { message, hint });
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.contains('.') && last.bytes().all(|b| b.is_ascii_digit()) {
        return fault(format!("{} is not a host name: its last part is a number", text::quoted(whole)));
    }
    Ok(())
}

/// `namespace/dnsName`, as gateways' hosts (`required`: false) and egress hosts (true) are written.
pub(super) fn scoped_host(host: &str, required: bool) -> Result<(), Fault> {
    if host.contains("://") {
        return fault_hint(format!("{} is not a host name", text::quoted(host)), "leave out the scheme");
    }
    let (namespace, name) = match host.split_once('/') {
        Some(parts) => parts,
        None if required => {
            return fault_hint(
                format!("{} is not of the form namespace/dnsName", text::quoted(host)),
                format!("write ./{host} for the own namespace, */{host} for all"),
            );
        }
        None => ("*", host),
    };
    let tilde = required.then(|| namespace.strip_prefix('~')).flatten().filter(|rest| !rest.is_empty());
    let plain = tilde.unwrap_or(namespace);
    if !matches!(plain, "*" | "." | "~") && !is_label(plain) {
        return fault(format!("{} is not a namespace", text::quoted(namespace)));
    }
    if name.parse::<IpAddr>().is_ok() && !required {
        return Ok(());
    }
    wildcard_host(name)?;
    if !name.contains('.') && !name.starts_with('*') && name != "localhost" {
        return fault_hint(
            format!("{} is a short name; a full one is wanted here", text::quoted(name)),
            format!("write {name}.NAMESPACE.svc.cluster.local"),
        );
    }
    Ok(())
}

/// A port, 1 to 65535.
pub(super) fn port(number: u32) -> Result<(), Fault> {
    match number {
        1..=65535 => Ok(()),
        _ => fault(format!("{number} is not a port (1 to 65535)")),
    }
}

/// The name of a port.
pub(super) fn port_name(name: &str) -> Result<(), Fault> {
    match is_host_label(name) {
        true => Ok(()),
        false => fault_hint(
            format!("{} cannot be the name of a port", text::quoted(name)),
            "letters, digits and `-`, 63 at most",
        ),
    }
}

/// A regex in RE2's syntax.
pub(super) fn regex(pattern: &str) -> Result<(), Fault> {
    if pattern.is_empty() {
        return fault("a regex must not be empty");
    }
    if pattern.len() > 1024 {
        return fault("a regex must not be longer than 1024 characters");
    }
    let Err(error) = regex::Regex::new(pattern) else { return Ok(()) };
    let hint = match pattern {
        _ if pattern.starts_with('*') => {
            format!("`*` repeats what stands before it; for anything write .{pattern}")
        }
        _ if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| pattern.contains(look)) => {
            "RE2 has no look-ahead and no look-behind".into()
        }
        _ => "regexes are in RE2's syntax: https://github.com/google/re2/wiki/Syntax".into(),
    };
    fault_hint(format!("{} is not a regex: {}", text::quoted(pattern), regex_error(&error)), hint)
}

/// The last line of the regex crate's message says what is wrong; the others draw the pattern.
fn regex_error(error: &regex::Error) -> String {
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

/// The name of a header in a match.
pub(super) fn header_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return fault("a header name must not be empty");
    }
    // RFC 9110 token characters.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.bytes().all(allowed) {
        return Ok(());
    }
    let hint = match name {
        ":authority" | ":method" | ":path" | ":scheme" => {
            Some("match authority, method, uri or scheme instead".into())
        }
        _ if name.ends_with(':') => Some("leave out the `:`".into()),
        _ => None,
    };
    Err(Fault { message: format!("{} is not a header name", text::quoted(name)), hint })
}

/// The name of a header to change; `authority`: whether `host` and `:authority` may be.
pub(super) fn header_change(name: &str, authority: bool) -> Result<(), Fault> {
    let lower = name.to_ascii_lowercase();
    match &*lower {
        ":authority" | "host" if authority => Ok(()),
        "host" => fault("the host header cannot be changed here"),
        _ if name.starts_with(':') => {
            fault(format!("{} cannot be changed: it begins with `:`", text::quoted(name)))
        }
        _ => header_name(name),
    }
}

/// Commands of values; of the families in [`FAMILIES`] any.
const COMMANDS: [&str; 34] = [
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CEL",
    "CLUSTER_METADATA",
    "COMMON_DURATION",
    "CUSTOM_FLAGS",
    "DURATION",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "ENVIRONMENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "LOCAL_REPLY_REASON",
    "METADATA",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PER_REQUEST_STATE",
    "PROTOCOL",
    "QUERY_PARAM",
    "QUERY_PARAMS",
    "REQ",
    "REQ_WITHOUT_QUERY",
    "RESP",
    "ROUTE_NAME",
    "START_TIME",
    "STREAM_ID",
    "TRACE_ID",
    "TRAILER",
    "UNIQUE_ID",
    "VIRTUAL_CLUSTER_NAME",
];

/// What commands begin with that come in many forms.
const FAMILIES: [&str; 8] =
    ["CONNECTION_", "DOWNSTREAM_", "GRPC_STATUS", "REQUEST", "RESPONSE_", "SPAN_ID", "TLS_", "UPSTREAM_"];

/// A command that is none makes proxies refuse every route of the table.
fn command(name: &str) -> Result<(), Fault> {
    if COMMANDS.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)) {
        return Ok(());
    }
    let hint = text::closest(name, &COMMANDS).map(|meant| format!("did you mean `%{meant}%`?"));
    fault_hint(
        format!("`%{name}%` is no command"),
        hint.unwrap_or("write `%%` for a percent sign".to_owned()),
    )
}

/// The value of a header to set: Envoy's `%COMMAND(…)%` or `%%` where there is a percent sign.
pub(super) fn header_value(value: &str) -> Result<(), Fault> {
    if value.bytes().any(|b| b == b'\r' || b == b'\n' || b == 0) {
        return fault("a header value must not have line breaks");
    }
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let word = after
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(after.len());
        let (name, mut tail) = after.split_at(word);
        if let Some(arguments) = tail.strip_prefix('(') {
            tail = arguments.split_once(')').map_or("", |(_, tail)| tail);
            // An optional length: %REQ(X):10%.
            tail = tail.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
        }
        match tail.strip_prefix('%') {
            Some(tail) if !name.is_empty() => {
                command(name)?;
                rest = tail;
            }
            _ => {
                let message = format!("{} has a `%` that is no command", text::quoted(value));
                return fault_hint(message, "write `%%` for a percent sign");
            }
        }
    }
    Ok(())
}

/// A timeout or interval: a millisecond at least, whole milliseconds.
pub(super) fn duration(duration: Duration) -> Result<(), Fault> {
    if duration.is_zero() {
        return fault_hint("0s is too short: 1ms at least", "to switch it off, leave the field out");
    }
    if duration.as_nanos() < 1_000_000 {
        return fault(format!("{duration} is too short: 1ms at least"));
    }
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return fault(format!("{duration} is not in whole milliseconds"));
    }
    Ok(())
}

/// A percentage.
pub(super) fn percent(value: f64) -> Result<(), Fault> {
    match value {
        _ if (0.0..=100.0).contains(&value) => Ok(()),
        _ => fault(format!("{value} is not a percentage (0 to 100)")),
    }
}

/// The name of a subset; as Istio, in any case.
pub(super) fn subset(name: &str) -> Result<(), Fault> {
    match is_host_label(name) {
        true => Ok(()),
        false => fault_hint(
            format!("{} cannot be the name of a subset", text::quoted(name)),
            "letters, digits and `-`, 63 at most",
        ),
    }
}

/// An address or CIDR.
pub(super) fn subnet(text: &str) -> Result<(), Fault> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return fault_hint(format!("{text:?} is not an address or CIDR"), "such as 10.1.2.3 or 10.0.0.0/8");
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits.map(str::parse::<u8>) {
        None => Ok(()),
        Some(Ok(bits)) if bits <= most => Ok(()),
        Some(_) => fault(format!("{text:?} is not a CIDR: at most {most} bits")),
    }
}

/// A label of a selector or subset.
pub(super) fn label(key: &str, value: &str) -> Result<(), Fault> {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let inner = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let ends = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if key.contains('*') || value.contains('*') {
        return fault("labels have no wildcards");
    }
    let prefix = key.rsplit_once('/').map(|(prefix, _)| prefix);
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        return fault_hint(
            format!("{key:?} is not the name of a label"),
            "a name, or a domain, `/` and a name: example.com/name",
        );
    }
    if name.is_empty() || name.len() > 63 || !inner(name) || !ends(name) {
        return fault(format!("{key:?} is not the name of a label"));
    }
    if !value.is_empty() && (value.len() > 63 || !inner(value) || !ends(value)) {
        return fault(format!("{value:?} is not the value of a label"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "a",
            "a.b",
            "reviews.prod.svc.cluster.local",
            "*",
            "*.a.com",
            "*-x.a.com",
            "*x.a.com",
            "A.com",
            "a.com.",
        ] {
            assert_eq!(wildcard_host(good), Ok(()), "{good}");
        }
        for bad in ["", "a_b", "-a", "a..b", "a.*", "**", "http://a", "a:80", "a/b", "1.2.3.4", "a.1"] {
            assert!(wildcard_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scoped_hosts() {
        for good in ["./a.com", "*/*", "~/*", "ns/*.a.com", "~ns/a.com"] {
            assert_eq!(scoped_host(good, true), Ok(()), "{good}");
        }
        for bad in ["a.com", "./short", "a/b/c", "NS/a.com", "/a.com", "ns/"] {
            assert!(scoped_host(bad, true).is_err(), "{bad}");
        }
        assert_eq!(scoped_host("*", false), Ok(()));
        assert_eq!(scoped_host("10.0.0.1", false), Ok(()));
    }

    #[test]
    fn header_values() {
        for good in ["x", "100%%", "%REQ(X-A?Y):10%", "a %START_TIME(%s)% b", "%PROTOCOL%", "%UPSTREAM_HOST%"]
        {
            assert_eq!(header_value(good), Ok(()), "{good}");
        }
        for bad in ["100%", "%lower%", "a%b", "%REQ(x", "a\nb", "%PROTOCOLL%"] {
            assert!(header_value(bad).is_err(), "{bad}");
        }
    }
}

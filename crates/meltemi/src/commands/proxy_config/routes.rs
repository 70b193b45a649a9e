//! `meltemi proxy-config routes`: a line for each route.

use anyhow::Result;
use serde_json::Value;

use super::resource::{list, origin, text};
use super::{From, OutputArgs, written};
use crate::commands::{live, table};

/// Which route tables.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,

    /// Only the route table of this name, such as 9080 or http.8080
    #[arg(long, value_name = "TABLE")]
    name: Option<String>,

    /// Only virtual hosts of a domain that contains this
    #[arg(long, value_name = "HOST")]
    fqdn: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut tables = of(&args.from.source()?.config_dump()?);
    tables.retain(|table| args.name.as_ref().is_none_or(|wanted| text(table, "name") == wanted));
    if let Some(wanted) = &args.fqdn {
        for table in &mut tables {
            if let Some(hosts) = table["virtual_hosts"].as_array_mut() {
                hosts.retain(|host| {
                    list(host, "domains")
                        .any(|domain| domain.as_str().is_some_and(|d| d.contains(wanted.as_str())))
                });
            }
        }
        tables.retain(|table| list(table, "virtual_hosts").next().is_some());
    }
    if !written(args.output.output, &Value::Array(tables.clone()))? {
        table(&tables);
    }
    Ok(())
}

/// All route tables, ports before names.
pub(super) fn of(dump: &Value) -> Vec<Value> {
    let mut tables = live::resources(dump, "route_config");
    tables.sort_by_cached_key(|table| {
        let name = text(table, "name").to_owned();
        (name.parse::<u32>().unwrap_or(u32::MAX), name)
    });
    tables
}

pub(super) fn table(tables: &[Value]) {
    let mut rows = Vec::new();
    for table in tables {
        for host in list(table, "virtual_hosts") {
            let cells = |condition: String, origin: String| {
                vec![
                    text(table, "name").to_owned(),
                    text(host, "name").to_owned(),
                    domains(host),
                    condition,
                    origin,
                ]
            };
            for route in list(host, "routes") {
                rows.push(cells(path(&route["match"]), effect(route)));
            }
            if list(host, "routes").next().is_none() {
                rows.push(cells(String::new(), "404".to_owned()));
            }
        }
    }
    table::print(&["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"], &rows, table::plain);
}

/// The first names without a port, and how many more there are.
fn domains(host: &Value) -> String {
    const SHOWN: usize = 2;
    let all: Vec<&str> = list(host, "domains").filter_map(Value::as_str).collect();
    if let [only] = all[..] {
        return only.to_owned();
    }
    let bare: Vec<&str> = all.iter().copied().filter(|domain| !domain.contains(':')).collect();
    let shown = bare[..bare.len().min(SHOWN)].join(", ");
    if bare.len() > SHOWN { format!("{shown} + {} more...", bare.len() - SHOWN) } else { shown }
}

/// The resource that a route comes from, else what it does by itself where that is no forwarding.
fn effect(route: &Value) -> String {
    let origin = origin(route);
    match (origin.is_empty(), route["direct_response"]["status"].as_u64()) {
        (true, Some(status)) => status.to_string(),
        _ => origin,
    }
}

/// What a route takes, in istioctl's words: the path, and that there is more.
pub(super) fn path(condition: &Value) -> String {
    let path = if let Some(prefix) = condition["prefix"].as_str() {
        format!("{prefix}*")
    } else if let Some(prefix) = condition["path_separated_prefix"].as_str() {
        format!("{prefix}, {prefix}/*")
    } else if let Some(exact) = condition["path"].as_str() {
        exact.to_owned()
    } else if let Some(pattern) = condition["safe_regex"]["regex"].as_str() {
        format!("regex {pattern}")
    } else if condition.get("connect_matcher").is_some() {
        "CONNECT".to_owned()
    } else {
        String::new()
    };
    let more = ["headers", "query_parameters"].map(|key| list(condition, key).count()).iter().sum::<usize>();
    match more {
        0 => path,
        _ => {
            let names = ["headers", "query_parameters"]
                .into_iter()
                .flat_map(|key| list(condition, key))
                .map(|part| text(part, "name"));
            format!("{path} & {}", names.collect::<Vec<_>>().join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_and_domains_are_short() {
        assert_eq!(path(&json!({ "prefix": "/" })), "/*");
        assert_eq!(path(&json!({ "path": "/a", "headers": [{ "name": "end-user" }] })), "/a & end-user");
        assert_eq!(path(&json!({ "safe_regex": { "regex": "/v[12]" } })), "regex /v[12]");
        let host = json!({ "domains": ["a", "a:80", "a.b", "a.b:80", "a.b.svc"] });
        assert_eq!(domains(&host), "a, a.b + 1 more...");
        assert_eq!(domains(&json!({ "domains": ["*"] })), "*");
    }
}

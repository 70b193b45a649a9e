//! `meltemi proxy-config listeners`: a line for each filter chain.

use anyhow::Result;
use serde_json::Value;

use super::resource::{address, dash, list, text};
use super::{From, OutputArgs, written};
use crate::commands::{live, table};

/// Which listeners.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,

    /// Only at this address
    #[arg(long, value_name = "IP")]
    address: Option<String>,

    /// Only at this port
    #[arg(long)]
    port: Option<u64>,

    /// Only of this type: those with a chain that speaks it
    #[arg(long, value_name = "TYPE", value_parser = ["HTTP", "TCP", "HTTP+TCP"], ignore_case = true)]
    r#type: Option<String>,

    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut listeners = of(&args.from.source()?.config_dump()?);
    listeners.retain(|listener| args.takes(listener));
    if !written(args.output.output, &Value::Array(listeners.clone()))? {
        table(&listeners);
    }
    Ok(())
}

impl Args {
    fn takes(&self, listener: &Value) -> bool {
        let (ip, port) = address(&listener["address"]);
        self.address.as_ref().is_none_or(|wanted| *wanted == ip)
            && self.port.is_none_or(|wanted| port == Some(wanted))
            && self.r#type.as_ref().is_none_or(|wanted| kind(listener).eq_ignore_ascii_case(wanted))
            && self.name.as_ref().is_none_or(|wanted| text(listener, "name").contains(wanted.as_str()))
    }
}

/// All listeners, by port and address.
pub(super) fn of(dump: &Value) -> Vec<Value> {
    let mut listeners = live::resources(dump, "listener");
    listeners.sort_by_cached_key(|listener| {
        let (ip, port) = address(&listener["address"]);
        (port, ip, text(listener, "name").to_owned())
    });
    listeners
}

pub(super) fn table(listeners: &[Value]) {
    let mut rows = Vec::new();
    for listener in listeners {
        let (ip, port) = address(&listener["address"]);
        let addresses: Vec<String> = std::iter::once(ip)
            .chain(list(listener, "additional_addresses").map(|more| address(&more["address"]).0))
            .collect();
        let port = port.map_or("-".to_owned(), |port| port.to_string());
        for chain in list(listener, "filter_chains").chain(listener.get("default_filter_chain")) {
            rows.push(vec![addresses.join(","), port.clone(), condition(chain), destination(chain)]);
        }
        if rows.is_empty()
            || listener["filter_chains"].as_array().is_none_or(Vec::is_empty)
                && listener.get("default_filter_chain").is_none()
        {
            rows.push(vec![addresses.join(","), port, "ALL".to_owned(), "-".to_owned()]);
        }
    }
    table::print(&["ADDRESSES", "PORT", "MATCH", "DESTINATION"], &rows, table::plain);
}

/// What a chain takes, in istioctl's words.
fn condition(chain: &Value) -> String {
    let condition = &chain["filter_chain_match"];
    let mut words = Vec::new();
    let joined = |key: &str| list(condition, key).filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    if !joined("server_names").is_empty() {
        words.push(format!("SNI: {}", joined("server_names")));
    }
    if !text(condition, "transport_protocol").is_empty() {
        words.push(format!("Trans: {}", text(condition, "transport_protocol")));
    }
    if !joined("application_protocols").is_empty() {
        words.push(format!("App: {}", joined("application_protocols")));
    }
    let ranges: Vec<String> = list(condition, "prefix_ranges").map(range).collect();
    let port = condition["destination_port"].as_u64();
    match (ranges.is_empty(), port) {
        (true, None) => {}
        (true, Some(port)) => words.push(format!("Addr: *:{port}")),
        (false, None) => words.push(format!("Addr: {}", ranges.join(","))),
        (false, Some(port)) => words.push(format!("Addr: {}:{port}", ranges.join(","))),
    }
    if words.is_empty() { "ALL".to_owned() } else { words.join("; ") }
}

fn range(range: &Value) -> String {
    let (prefix, length) = (text(range, "address_prefix"), range["prefix_len"].as_u64().unwrap_or_default());
    let whole = if prefix.contains(':') { 128 } else { 32 };
    if length == whole { prefix.to_owned() } else { format!("{prefix}/{length}") }
}

/// Where a chain leads.
fn destination(chain: &Value) -> String {
    for filter in list(chain, "filters") {
        let config = &filter["typed_config"];
        if let Some(name) = config["rds"]["route_config_name"].as_str() {
            return format!("Route: {name}");
        }
        if let Some(routes) = config.get("route_config") {
            return inline(routes);
        }
        if let Some(cluster) = config["cluster"].as_str() {
            return named(cluster);
        }
        let parts: Vec<String> = list(&config["weighted_clusters"], "clusters")
            .map(|part| format!("{} ({})", text(part, "name"), part["weight"].as_u64().unwrap_or_default()))
            .collect();
        if !parts.is_empty() {
            return format!("Clusters: {}", parts.join(", "));
        }
    }
    dash("")
}

fn named(cluster: &str) -> String {
    // As istioctl has it: where everything goes that nobody knows needs no introduction.
    if cluster.contains("PassthroughCluster") { cluster.to_owned() } else { format!("Cluster: {cluster}") }
}

/// Routes inside a listener: where they lead, if that is one place.
fn inline(routes: &Value) -> String {
    let all: Vec<&Value> = list(routes, "virtual_hosts").flat_map(|host| list(host, "routes")).collect();
    let clusters: Vec<&str> = all.iter().filter_map(|route| route["route"]["cluster"].as_str()).collect();
    match (&all[..], &clusters[..]) {
        ([_], [only]) if super::resource::cluster_parts(only).0 == "inbound" => named(only),
        _ => {
            let paths: Vec<String> = all.iter().map(|route| super::routes::path(&route["match"])).collect();
            format!("Inline Route: {}", paths.join(", "))
        }
    }
}

/// `HTTP`, `TCP` or `HTTP+TCP`.
fn kind(listener: &Value) -> String {
    let chains: Vec<&Value> =
        list(listener, "filter_chains").chain(listener.get("default_filter_chain")).collect();
    let has = |word: &str| {
        chains.iter().any(|chain| {
            list(chain, "filters")
                .any(|filter| filter["typed_config"]["@type"].as_str().is_some_and(|url| url.ends_with(word)))
        })
    };
    match (has(".HttpConnectionManager"), has(".TcpProxy")) {
        (true, true) => "HTTP+TCP".to_owned(),
        (true, false) => "HTTP".to_owned(),
        (false, true) => "TCP".to_owned(),
        (false, false) => "UNKNOWN".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chains_are_said_as_istioctl_says_them() {
        let chain = json!({
            "filter_chain_match": {
                "transport_protocol": "raw_buffer",
                "application_protocols": ["http/1.1", "h2c"],
                "destination_port": 9080,
                "prefix_ranges": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }],
            },
            "filters": [{ "typed_config": { "rds": { "route_config_name": "9080" } } }],
        });
        assert_eq!(condition(&chain), "Trans: raw_buffer; App: http/1.1,h2c; Addr: 10.0.0.0/8:9080");
        assert_eq!(destination(&chain), "Route: 9080");
        let sni = json!({ "filter_chain_match": { "server_names": ["a.example"] }, "filters": [{ "typed_config": { "cluster": "outbound|443||a.example" } }] });
        assert_eq!(
            (condition(&sni).as_str(), destination(&sni).as_str()),
            ("SNI: a.example", "Cluster: outbound|443||a.example")
        );
        let any = json!({ "filters": [{ "typed_config": { "cluster": "PassthroughCluster" } }] });
        assert_eq!((condition(&any).as_str(), destination(&any).as_str()), ("ALL", "PassthroughCluster"));
    }
}

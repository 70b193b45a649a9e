//! The configuration of a running proxy, ours or an Envoy, read from `/config_dump?include_eds`.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use meltemi_agent::admin;
use meltemi_proxy::explain::Config;
use meltemi_xds::json::from_value;
use prost::{Message, Name};
use serde_json::Value;

use crate::failure::Failure;

/// Asks a proxy and compiles what it has.
pub(super) fn config(address: SocketAddr) -> Result<Config> {
    let dump = dump(address)?;
    let config = Config::new(
        &of(&dump, "listener")?,
        &of(&dump, "route_config")?,
        &of(&dump, "cluster")?,
        &of(&dump, "endpoint_config")?,
    );
    config.map_err(|error| Failure::new(format!("what the proxy at {address} has: {error}"), "").into())
}

/// The proxy's own account of its configuration.
pub(super) fn dump(address: SocketAddr) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(admin::request(address, Method::GET, "/config_dump?include_eds"));
    let answer = answer.ok().filter(|answer| answer.status == StatusCode::OK).ok_or_else(|| {
        let hint = "`meltemi proxy-status` lists proxies; a sidecar's admin is at port 15000";
        Failure::new(format!("no proxy's admin interface at {address}"), hint)
    })?;
    serde_json::from_slice(&answer.body).context("the proxy's config dump")
}

/// Every resource under this key that is in force.
fn of<M: Message + Name + Default>(dump: &Value, key: &str) -> Result<Vec<M>> {
    let mut found = Vec::new();
    collect(dump, key, &mut found);
    found.into_iter().map(|value| from_value(&value).with_context(|| key.to_owned())).collect()
}

fn collect(value: &Value, key: &str, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key && value.get("@type").is_some() {
                    let mut value = value.clone();
                    value.as_object_mut().map(|fields| fields.remove("@type"));
                    found.push(value);
                } else if name != "warming_state" && !name.starts_with("error_state") {
                    collect(value, key, found);
                }
            }
        }
        _ => {}
    }
}

//! The configuration of a running proxy, ours or an Envoy, compiled from its config dump; with what it knows of endpoints.

use anyhow::{Context, Result};
use meltemi_proxy::explain::{Config, Seat};
use meltemi_xds::json::from_value;
use prost::{Message, Name};
use serde_json::Value;

use crate::commands::live::{self, Source};
use crate::failure::Failure;

/// Asks a proxy and compiles what it has.
pub(super) fn config(source: &Source) -> Result<Config> {
    let dump = source.config_dump()?;
    let config = Config::new(
        &of(&dump, "listener")?,
        &of(&dump, "route_config")?,
        &of(&dump, "cluster")?,
        &of(&dump, "endpoint_config")?,
    );
    let mut config = config.map_err(|error| Failure::new(format!("what the proxy has: {error}"), ""))?;
    let clusters = source.clusters()?.unwrap_or_default();
    for cluster in clusters["cluster_statuses"].as_array().into_iter().flatten() {
        let hosts = cluster["host_statuses"].as_array().into_iter().flatten();
        config.observe(cluster["name"].as_str().unwrap_or_default(), hosts.filter_map(seat).collect());
    }
    Ok(config)
}

/// A host as `/clusters` shows it.
fn seat(host: &Value) -> Option<Seat> {
    let address = match (&host["address"]["socket_address"], host["address"]["pipe"]["path"].as_str()) {
        (_, Some(path)) => format!("unix:{path}"),
        (socket, None) => format!("{}:{}", socket["address"].as_str()?, socket["port_value"]),
    };
    let number = |key: &str| host[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let parts =
        ["region", "zone", "sub_zone"].map(|part| host["locality"][part].as_str().unwrap_or_default());
    let locality: Vec<&str> = parts.into_iter().take_while(|part| !part.is_empty()).collect();
    Some(Seat {
        address,
        health: health(&host["health_status"]),
        priority: number("priority").unwrap_or(0),
        weight: number("weight").unwrap_or(1).max(1),
        locality: locality.join("/"),
    })
}

fn health(status: &Value) -> String {
    let failed = |key: &str| status[key].as_bool() == Some(true);
    if failed("failed_outlier_check") {
        return "EJECTED".to_owned();
    }
    if failed("failed_active_health_check") {
        return "UNHEALTHY".to_owned();
    }
    match status["eds_health_status"].as_str() {
        None | Some("UNKNOWN") => "HEALTHY".to_owned(),
        Some(word) => word.to_owned(),
    }
}

/// Every resource under this key that is in force.
fn of<M: Message + Name + Default>(dump: &Value, key: &str) -> Result<Vec<M>> {
    let found = live::resources(dump, key);
    found.iter().map(|value| from_value(value).with_context(|| key.to_owned())).collect()
}

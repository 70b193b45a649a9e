//! Running proxies, ours or Envoys: by their admin address, by name through the control plane, or as a config dump that was
//! saved. Used by `explain` and `proxy-config`.
//!
//! Invariant: nothing here changes a proxy but [`Source::post`], which only `proxy-config log` asks for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use meltemi_agent::admin;
use serde_json::Value;

use super::target::{self, Named};
use crate::failure::Failure;

/// Where the control plane serves its debug pages.
pub(super) const CONTROL_PLANE: &str = "127.0.0.1:15014";

/// Which proxy.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// At its admin address.
    Admin(SocketAddr),
    /// As it was.
    File(PathBuf),
}

/// A proxy that is connected to the control plane.
#[derive(Debug)]
struct Connected {
    name: String,
    namespace: String,
    role: String,
    admin: Option<SocketAddr>,
}

impl Named for Connected {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn kind(&self) -> &str {
        if self.role == "router" { "gateway" } else { &self.role }
    }
}

impl Source {
    /// What flags say: a file, an admin address, or the name of a proxy that the control plane knows.
    pub(super) fn of(
        admin: Option<SocketAddr>,
        file: Option<&Path>,
        name: Option<&str>,
        control_plane: SocketAddr,
    ) -> Result<Source> {
        match (file, admin) {
            (Some(file), _) => Ok(Source::File(file.to_owned())),
            (None, Some(admin)) => Ok(Source::Admin(admin)),
            (None, None) => named(name, control_plane).map(Source::Admin),
        }
    }

    /// The proxy's own account of its configuration, endpoints included.
    pub(super) fn config_dump(&self) -> Result<Value> {
        match self {
            Source::Admin(address) => self.get(*address, "/config_dump?include_eds"),
            Source::File(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let dump: Value = serde_json::from_str(&text).map_err(|error| {
                    let hint = "save one with: curl 'http://ADMIN/config_dump?include_eds'";
                    Failure::new(format!("{} is no config dump: {error}", file.display()), hint)
                })?;
                Ok(dump)
            }
        }
    }

    /// Clusters with their hosts as the proxy knows them; of a file nothing is known.
    pub(super) fn clusters(&self) -> Result<Option<Value>> {
        match self {
            Source::Admin(address) => self.get(*address, "/clusters?format=json").map(Some),
            Source::File(_) => Ok(None),
        }
    }

    fn get(&self, address: SocketAddr, path: &str) -> Result<Value> {
        let body = ask(address, Method::GET, path)?;
        serde_json::from_slice(&body).with_context(|| format!("what the proxy at {address} says at {path}"))
    }

    /// Has the proxy do something; what it answers.
    pub(super) fn post(&self, path: &str) -> Result<String> {
        match self {
            Source::Admin(address) => {
                Ok(String::from_utf8_lossy(&ask(*address, Method::POST, path)?).into_owned())
            }
            Source::File(_) => {
                let hint = "name a running proxy, or give --admin ADDR";
                Err(Failure::usage("a config dump has no log levels", hint).into())
            }
        }
    }
}

fn ask(address: SocketAddr, method: Method, path: &str) -> Result<bytes::Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(admin::request(address, method, path));
    let answer = answer.map_err(|_| {
        let hint = "`meltemi proxy-status` lists proxies; a sidecar's admin is at port 15000";
        Failure::new(format!("no proxy's admin interface at {address}"), hint)
    })?;
    if answer.status != StatusCode::OK {
        let said = String::from_utf8_lossy(&answer.body);
        let said = said.lines().next().unwrap_or_default();
        return Err(
            Failure::new(format!("the proxy at {address} answers {}: {said}", answer.status), "").into()
        );
    }
    Ok(answer.body)
}

/// The admin address of a proxy, by name; without one, of the only proxy there is.
fn named(wanted: Option<&str>, control_plane: SocketAddr) -> Result<SocketAddr> {
    let proxies = connected(control_plane)?;
    let proxy = match (wanted, &proxies[..]) {
        (Some(wanted), _) => target::choose(wanted, "proxy", &proxies)?,
        (None, [only]) => only,
        (None, []) => {
            return Err(Failure::new(
                "no proxy is connected",
                "give --admin ADDR for one of no control plane",
            )
            .into());
        }
        (None, several) => {
            let names: Vec<String> =
                several.iter().map(|proxy| format!("{}.{}", proxy.name, proxy.namespace)).collect();
            let hint = format!("name one: {}", names.join(", "));
            return Err(Failure::usage(format!("{} proxies are connected", several.len()), hint).into());
        }
    };
    proxy.admin.ok_or_else(|| {
        let message = format!("{}.{} does not say where its admin interface is", proxy.name, proxy.namespace);
        Failure::new(message, "give --admin ADDR; a sidecar's admin is at port 15000").into()
    })
}

fn connected(control_plane: SocketAddr) -> Result<Vec<Connected>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(admin::request(control_plane, Method::GET, "/debug/syncz"));
    let answer = answer.ok().filter(|answer| answer.status == StatusCode::OK).ok_or_else(|| {
        let hint = "say where with --control-plane ADDR, or which proxy with --admin ADDR";
        Failure::new(format!("no control plane at {control_plane}"), hint)
    })?;
    let proxies: Vec<Value> = serde_json::from_slice(&answer.body).context("the control plane's answer")?;
    let text = |proxy: &Value, key: &str| proxy[key].as_str().unwrap_or_default().to_owned();
    let proxies = proxies.iter().map(|proxy| Connected {
        name: text(proxy, "name"),
        namespace: text(proxy, "namespace"),
        role: text(proxy, "role"),
        admin: proxy["admin"].as_str().and_then(|address| address.parse().ok()),
    });
    Ok(proxies.collect())
}

/// Every resource under this key of a config dump that is in force, as it stands there.
pub(super) fn resources(dump: &Value, key: &str) -> Vec<Value> {
    let mut found = Vec::new();
    collect(dump, key, &mut found);
    found
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

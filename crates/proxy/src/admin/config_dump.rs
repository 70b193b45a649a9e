//! `/config_dump`: `envoy.admin.v3.ConfigDump` of what is in force, what is warming and what was refused.
//!
//! Built from [`crate::xds::view`]. Invariant: a resource is shown as it came.

use std::time::UNIX_EPOCH;

use http::StatusCode;
use meltemi_xds::json;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::{Admin, Answer, Query};
use crate::xds::view::{Kind, Resource, Version};

/// A kind with the words of its dump: message, static list, active list, warming list, key of the resource.
struct Section {
    kind: Kind,
    message: &'static str,
    stat: &'static str,
    active: &'static str,
    warming: &'static str,
    key: &'static str,
}

/// In Envoy's order.
const SECTIONS: [Section; 4] = [
    Section {
        kind: Kind::Cluster,
        message: "ClustersConfigDump",
        stat: "static_clusters",
        active: "dynamic_active_clusters",
        warming: "dynamic_warming_clusters",
        key: "cluster",
    },
    Section {
        kind: Kind::Endpoint,
        message: "EndpointsConfigDump",
        stat: "static_endpoint_configs",
        active: "dynamic_endpoint_configs",
        warming: "dynamic_endpoint_configs",
        key: "endpoint_config",
    },
    Section {
        kind: Kind::Listener,
        message: "ListenersConfigDump",
        stat: "static_listeners",
        active: "dynamic_listeners",
        warming: "dynamic_listeners",
        key: "listener",
    },
    Section {
        kind: Kind::Route,
        message: "RoutesConfigDump",
        stat: "static_route_configs",
        active: "dynamic_route_configs",
        warming: "dynamic_route_configs",
        key: "route_config",
    },
];

impl Admin {
    pub(super) fn config_dump(&self, query: &Query<'_>) -> Answer {
        let chosen = match Chosen::read(query) {
            Ok(chosen) => chosen,
            Err(problem) => return super::text(StatusCode::BAD_REQUEST, problem),
        };
        let include_endpoints = query.has("include_eds");
        let sections = SECTIONS.iter().filter(|section| section.kind != Kind::Endpoint || include_endpoints);
        let Some(wanted) = query.get("resource") else {
            let mut configs = match chosen.names {
                // The bootstrap has no name.
                Some(_) => Vec::new(),
                None => vec![self.bootstrap_dump()],
            };
            configs.extend(sections.map(|section| self.section(section, &chosen)));
            configs.iter_mut().for_each(|config| chosen.trim(config));
            return super::json(super::pretty(&json!({ "configs": configs })));
        };
        if wanted == "bootstrap" {
            let mut dump = self.bootstrap_dump();
            chosen.trim(&mut dump);
            return super::json(super::pretty(&json!({ "configs": [dump] })));
        }
        for section in &SECTIONS {
            if [section.stat, section.active, section.warming].contains(&wanted.as_str()) {
                let mut dump = self.section(section, &chosen);
                let mut configs = dump.get_mut(&wanted).map_or(Value::Array(Vec::new()), Value::take);
                configs.as_array_mut().into_iter().flatten().for_each(|config| chosen.trim(config));
                return super::json(super::pretty(&json!({ "configs": configs })));
            }
        }
        super::text(StatusCode::NOT_FOUND, format!("{wanted} not found in config dump"))
    }

    fn bootstrap_dump(&self) -> Value {
        let bootstrap = json::value_from_wire("envoy.config.bootstrap.v3.Bootstrap", self.view.bootstrap());
        json!({ "@type": type_url("BootstrapConfigDump"), "bootstrap": bootstrap })
    }

    /// A route configuration with the virtual hosts that came one by one, as Envoy shows it.
    fn with_virtual_hosts(&self, name: &str, version: &Version) -> Version {
        /// Field number of `RouteConfiguration.virtual_hosts`.
        const VIRTUAL_HOSTS: u32 = 2;
        let hosts = self.view.virtual_hosts(name);
        if hosts.is_empty() {
            return version.clone();
        }
        let mut body = version.body.to_vec();
        for (_, host) in hosts {
            prost::encoding::bytes::encode(VIRTUAL_HOSTS, &host, &mut body);
        }
        Version::new(version.version.clone(), body.into(), version.updated)
    }

    fn section(&self, section: &Section, chosen: &Chosen) -> Value {
        let mut dump = Map::new();
        dump.insert("@type".into(), type_url(section.message).into());
        let mut add = |list: &str, entry: Value| {
            let entries = dump.entry(list).or_insert_with(|| json!([]));
            if let Value::Array(entries) = entries {
                entries.push(entry);
            }
        };
        for (name, mut resource) in self.view.resources(section.kind) {
            if !chosen.has(&name) {
                continue;
            }
            if let (Kind::Route, Some(version)) = (section.kind, &resource.active) {
                resource.active = Some(self.with_virtual_hosts(&name, version));
            }
            match section.kind {
                _ if resource.is_static => {
                    if let Some(version) = &resource.active {
                        add(section.stat, state(section, version, false));
                    }
                }
                Kind::Listener => add(section.active, listener(section, &name, &resource)),
                _ => {
                    let refused = refused(section, &resource);
                    let states = [(section.active, &resource.active), (section.warming, &resource.warming)];
                    for (list, version) in states {
                        let Some(version) = version else { continue };
                        let mut entry = state(section, version, true);
                        if let Some(refused) = &refused {
                            entry["error_state"] = refused.clone();
                        }
                        add(list, entry);
                    }
                    if resource.active.is_none() && resource.warming.is_none() && refused.is_some() {
                        add(section.active, json!({ "error_state": refused }));
                    }
                }
            }
        }
        Value::Object(dump)
    }
}

/// Which resources are shown, and which of their fields.
struct Chosen {
    /// `name_regex`; it must match the whole name.
    names: Option<Regex>,
    /// `mask`: paths of fields; empty is all.
    mask: Vec<Vec<String>>,
}

impl Chosen {
    fn read(query: &Query<'_>) -> Result<Self, String> {
        let names = query.get("name_regex").map(|regex| {
            Regex::new(&format!("^(?:{regex})$"))
                .map_err(|error| format!("Error while parsing name_regex from {regex}: {error}"))
        });
        let mask = query.get("mask").unwrap_or_default();
        let paths = mask.split(',').filter(|path| !path.is_empty());
        let mask = paths.map(|path| path.split('.').map(snake_case).collect()).collect();
        Ok(Self { names: names.transpose()?, mask })
    }

    fn has(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.is_match(name))
    }

    /// Leaves what the mask names.
    fn trim(&self, value: &mut Value) {
        if !self.mask.is_empty() {
            let paths: Vec<_> = self.mask.iter().map(Vec::as_slice).collect();
            trim(value, &paths);
        }
    }
}

/// Leaves the fields that paths begin with, and of those what the paths name further; lists are passed through.
fn trim(value: &mut Value, paths: &[&[String]]) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let below: Vec<_> = paths
                .iter()
                .filter_map(|path| path.split_first().filter(|(first, _)| *first == name))
                .collect();
            if !below.is_empty() && below.iter().all(|(_, rest)| !rest.is_empty()) {
                let rests: Vec<_> = below.iter().map(|(_, rest)| *rest).collect();
                trim(value, &rests);
            }
            name == "@type" || !below.is_empty()
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| trim(item, paths)),
        _ => {}
    }
}

/// `dynamicActiveClusters` is `dynamic_active_clusters` here.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// A `DynamicListener` holds all states of one name.
fn listener(section: &Section, name: &str, resource: &Resource) -> Value {
    let mut entry = json!({ "name": name });
    if let Some(version) = &resource.active {
        entry["active_state"] = state(section, version, true);
    }
    if let Some(version) = &resource.warming {
        entry["warming_state"] = state(section, version, true);
    }
    if let Some(refused) = refused(section, resource) {
        entry["error_state"] = refused;
    }
    entry
}

fn state(section: &Section, version: &Version, dynamic: bool) -> Value {
    let mut state = Map::new();
    if dynamic {
        state.insert("version_info".into(), (*version.version).into());
    }
    state.insert(section.key.into(), body(section, version));
    state.insert("last_updated".into(), timestamp(version).into());
    Value::Object(state)
}

fn refused(section: &Section, resource: &Resource) -> Option<Value> {
    let refused = resource.refused.as_ref()?;
    Some(json!({
        "failed_configuration": body(section, &refused.update),
        "last_update_attempt": timestamp(&refused.update),
        "details": &*refused.error,
        "version_info": &*refused.update.version,
    }))
}

/// The resource as the JSON of an Any.
fn body(section: &Section, version: &Version) -> Value {
    let url = section.kind.type_url();
    let name = url.rsplit('/').next().unwrap_or(url);
    let mut any = Map::new();
    any.insert("@type".into(), url.into());
    if let Some(Value::Object(fields)) = json::value_from_wire(name, &version.body) {
        any.extend(fields);
    }
    Value::Object(any)
}

fn timestamp(version: &Version) -> String {
    let since = version.updated.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_millis())
}

/// Proto3 JSON's form of a time, from seconds since 1970.
fn rfc3339(seconds: u64, millis: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days, after H. Hinnant's algorithm with eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn type_url(message: &str) -> String {
    format!("type.googleapis.com/envoy.admin.v3.{message}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_mask_leaves_what_it_names() {
        let mut value = json!({
            "@type": "t", "version_info": "1",
            "cluster": { "@type": "c", "name": "a", "type": "EDS" },
            "list": [{ "name": "x", "more": 1 }],
        });
        let chosen =
            super::Chosen::read(&super::Query("mask=cluster.name,list.name,noSuch&name_regex=a.*")).unwrap();
        chosen.trim(&mut value);
        let expected =
            json!({ "@type": "t", "cluster": { "@type": "c", "name": "a" }, "list": [{ "name": "x" }] });
        assert_eq!(value, expected);
        assert!(chosen.has("ab") && !chosen.has("ba"));
        assert!(super::Chosen::read(&super::Query("name_regex=[")).is_err());
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(super::rfc3339(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(super::rfc3339(1_709_210_096, 7), "2024-02-29T12:34:56.007Z");
    }
}

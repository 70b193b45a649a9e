//! WorkloadEntry and WorkloadGroup.

use super::gateway::is_unix;
use super::virtual_service::labels;
use super::{Check, Path, names};
use crate::networking::{WorkloadEntry, WorkloadGroup};
use crate::text;

pub(super) fn entry(it: &WorkloadEntry, check: &mut Check<'_>, at: &Path<'_>) {
    match it.address.as_deref() {
        None if it.network.is_none() => check.error(&at.key("address"), "`address` is missing"),
        None => {}
        Some(address) if address.parse::<std::net::IpAddr>().is_ok() => {}
        Some(address) if is_unix(address) && it.ports.is_empty() => {}
        Some(address) if is_unix(address) => check.error(&at.key("ports"), "a Unix socket has no ports"),
        Some(address) => check.accept(&at.key("address"), names::fqdn(address)),
    }
    fields(it, check, at);
}

/// What an entry says besides its address; the same for endpoints of a ServiceEntry.
pub(super) fn fields(it: &WorkloadEntry, check: &mut Check<'_>, at: &Path<'_>) {
    let ports = at.key("ports");
    for (name, number) in &it.ports {
        check.accept(&ports.key(name), names::port(*number));
        check.accept(&ports.key(name), names::port_name(name));
    }
    labels(&it.labels, check, &at.key("labels"));
    let is_locality = |text: &&str| text.split('/').count() <= 3 && !text.starts_with('/');
    if let Some(locality) = it.locality.as_deref().filter(|text| !is_locality(text)) {
        let message = format!("{} is not a locality", text::quoted(locality));
        check.error_hint(&at.key("locality"), message, "region/zone/subzone");
    }
}

pub(super) fn group(it: &WorkloadGroup, check: &mut Check<'_>, at: &Path<'_>) {
    if let Some(metadata) = &it.metadata {
        let metadata_at = at.key("metadata");
        labels(&metadata.labels, check, &metadata_at.key("labels"));
    }
    fields(&it.template, check, &at.key("template"));
}

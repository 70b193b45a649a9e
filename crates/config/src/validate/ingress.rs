//! Ingress: hosts, paths and backends, as an API server takes them.

use super::{Check, Path, code, names};
use crate::ingress::{Ingress, IngressBackend, IngressPath, PathType, named_class};
use crate::text;

pub(super) fn check(it: &Ingress, check: &mut Check<'_>, at: &Path<'_>) {
    let spec = &it.spec;
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        check.error(at, "a rule or a default backend is needed");
    }
    // Those of other controllers are nobody's business here.
    let ours = named_class(check.object, it).is_none_or(|class| &**class == "istio");
    if let Some(backend) = &spec.default_backend {
        let at = at.key("defaultBackend");
        self::backend(backend, check, &at);
        if ours {
            let message = "a default backend gets nothing, as in Istio";
            let hint = "write a rule without a host and with path / in its place";
            check.warn(code::NOT_IN_EFFECT, &at, message, Some(hint.into()));
        }
    }
    if !spec.tls.is_empty() && ours {
        let message = "port 443 is not opened yet: gateways open no TLS";
        check.warn(code::NOT_IN_EFFECT, &at.key("tls"), message, Some("port 80 serves its hosts".into()));
    }
    let rules = at.key("rules");
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = rules.index(index);
        if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
            self::host(host, check, &at.key("host"));
        }
        let http = at.key("http");
        let paths = http.key("paths");
        for (index, path) in rule.http.paths.iter().enumerate() {
            self::path(path, check, &paths.index(index));
        }
    }
}

fn host(host: &str, check: &mut Check<'_>, at: &Path<'_>) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        check.error_hint(at, format!("{} is an address", text::quoted(host)), "a name, or no host for all");
        return;
    }
    check.accept(at, names::wildcard_host(host));
}

fn path(it: &IngressPath, check: &mut Check<'_>, at: &Path<'_>) {
    let path = it.path.as_deref().unwrap_or_default();
    let needed = it.path_type != PathType::ImplementationSpecific;
    if (needed || !path.is_empty()) && !path.starts_with('/') {
        check.error(&at.key("path"), format!("path {} does not begin with /", text::quoted(path)));
    }
    let odd = ["//", "/./", "/../", "%2f", "%2F"].into_iter().find(|part| needed && path.contains(part));
    let odd = odd.or_else(|| ["/..", "/."].into_iter().find(|end| needed && path.ends_with(end)));
    if let Some(odd) = odd {
        check.error(&at.key("path"), format!("path {} has {odd:?} in it", text::quoted(path)));
    }
    backend(&it.backend, check, &at.key("backend"));
}

fn backend(it: &IngressBackend, check: &mut Check<'_>, at: &Path<'_>) {
    let Some(service) = &it.service else {
        match &it.resource {
            None => check.error(at, "a service is needed"),
            Some(_) => check.warn(
                code::NOT_IN_EFFECT,
                &at.key("resource"),
                "nothing leads to a resource that is no Service, as in Istio: the path is left out",
                None,
            ),
        }
        return;
    };
    if it.resource.is_some() {
        check.error(at, "service or resource, not both");
    }
    let at = at.key("service");
    if service.name.is_empty() {
        check.error(&at, "`name` is missing");
    }
    let named = service.port.name.as_deref().is_some_and(|name| !name.is_empty());
    match (service.port.number, named) {
        (0, false) => check.error(&at.key("port"), "a number or a name is needed"),
        (1.., true) => check.error(&at.key("port"), "number or name, not both"),
        _ => {}
    }
}

//! VirtualService.

use super::{Row, not_yet, works};

/// A test of what the pilot makes of fields.
macro_rules! test {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/virtual_service.rs::", $name)
    };
}

/// The same for what rules do beside sending on.
macro_rules! rule {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/rule.rs::", $name)
    };
}

/// The same for connections.
macro_rules! bytes {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/bytes.rs::", $name)
    };
}

pub(super) const ROWS: &[Row] = &[
    works(
        "hosts",
        "VS-001",
        "short names belong to the namespace of the resource; wildcards; `*` at gateways only",
        &[test!("hosts_choose_the_virtual_host"), test!("wildcard_hosts_cover_services")],
    ),
    works(
        "gateways",
        "VS-002",
        "`mesh` is the default; `name`, `ns/name`, `./name`",
        &[test!("gateways_unset_means_mesh")],
    ),
    works(
        "exportTo",
        "VS-006",
        "`.`, `*`, `~`, namespaces",
        &[test!("export_to_hides_from_other_namespaces")],
    ),
    works(
        "http",
        "VS-003",
        "in the order of the list; the first match wins; a route that takes everything ends the list",
        &[
            test!("routes_keep_their_order_and_end_at_a_catch_all"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works(
        "http[].name",
        "VS-010",
        "with the match's name: `%ROUTE_NAME%` of the access log",
        &[test!("names_of_route_and_match_are_joined")],
    ),
    works(
        "http[].match",
        "VS-011",
        "entries are alternatives, conditions within one all hold",
        &[
            test!("routes_keep_their_order_and_end_at_a_catch_all"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works("http[].match[].name", "VS-037", "", &[test!("names_of_route_and_match_are_joined")]),
    works(
        "http[].match[].uri",
        "VS-038, VS-086, VS-087, VS-088",
        "exact, prefix (not by segment), regex (RE2, whole path)",
        &[test!("uri_matches"), "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations"],
    ),
    works("http[].match[].scheme", "VS-039", "", &[test!("method_scheme_and_authority_match")]),
    works("http[].match[].method", "VS-040", "", &[test!("method_scheme_and_authority_match")]),
    works("http[].match[].authority", "VS-041", "", &[test!("method_scheme_and_authority_match")]),
    works(
        "http[].match[].headers",
        "VS-042",
        "`{}` or regex `*`: present. Claims (`@request.auth.claims`) not yet",
        &[
            test!("header_matches"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works(
        "http[].match[].port",
        "VS-043",
        "port of the listener",
        &[test!("port_source_and_gateway_conditions")],
    ),
    works("http[].match[].sourceLabels", "VS-044", "", &[test!("port_source_and_gateway_conditions")]),
    works(
        "http[].match[].gateways",
        "VS-045",
        "replaces the list of the resource; sourceLabels then have no effect, as in Istio",
        &[test!("port_source_and_gateway_conditions")],
    ),
    works("http[].match[].queryParams", "VS-046", "", &[test!("query_parameters_match")]),
    works("http[].match[].ignoreUriCase", "VS-047", "exact and prefix", &[test!("uri_matches")]),
    works("http[].match[].withoutHeaders", "VS-048", "", &[test!("headers_that_must_not_match")]),
    works("http[].match[].sourceNamespace", "VS-049", "", &[test!("port_source_and_gateway_conditions")]),
    works(
        "http[].match[].statPrefix",
        "VS-050",
        "`vhost.<host>.route.<prefix>.…`",
        &["crates/meltemi/tests/stats.rs::names_and_values_are_envoys"],
    ),
    works("http[].route", "VS-012, VS-051", "", &[test!("destinations_name_clusters")]),
    works(
        "http[].route[].destination.host",
        "VS-007",
        "unknown host: 503 NC",
        &[test!("destinations_name_clusters")],
    ),
    works(
        "http[].route[].destination.subset",
        "VS-008",
        "unknown subset: 503 NC",
        &[
            test!("destinations_name_clusters"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works(
        "http[].route[].destination.port",
        "VS-009, VS-117",
        "default: the service's only port, else the listener's",
        &[test!("destinations_name_clusters")],
    ),
    works(
        "http[].route[].weight",
        "VS-052",
        "relative; 0 is dropped beside others; ignored if alone",
        &[
            test!("weights_are_relative_and_zero_is_left_out"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works("http[].route[].headers", "VS-053", "", &[test!("header_changes_of_route_and_destination")]),
    works(
        "http[].redirect",
        "VS-013, VS-068, VS-069, VS-072, VS-074, VS-075",
        "uri, authority, port, scheme, redirectCode",
        &[test!("redirects")],
    ),
    works("http[].redirect.derivePort", "VS-070, VS-071, VS-073", "", &[test!("redirects")]),
    works("http[].redirect.prefixRewrite", "VS-076", "", &[test!("redirects")]),
    works(
        "http[].directResponse",
        "VS-014, VS-077, VS-078, VS-079, VS-080",
        "",
        &[test!("direct_responses")],
    ),
    works(
        "http[].delegate",
        "VS-015, VS-026, VS-027",
        "to one without hosts that is exported here; one level; what contradicts the rule is left out",
        &[
            rule!("a_rule_delegates_to_those_of_another_resource"),
            rule!("a_delegate_that_is_not_exported_is_left_out"),
        ],
    ),
    works(
        "http[].rewrite.uri",
        "VS-016, VS-081",
        "of a prefix match the prefix, else the whole path",
        &[test!("rewrites"), "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations"],
    ),
    works("http[].rewrite.authority", "VS-082", "", &[test!("rewrites")]),
    works("http[].rewrite.uriRegexRewrite", "VS-083, VS-084, VS-085", "", &[test!("rewrites")]),
    works(
        "http[].timeout",
        "VS-017",
        "default: none",
        &[test!("timeouts"), "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations"],
    ),
    works("http[].retries", "VS-018", "default: the mesh's, else two attempts", &[test!("retries")]),
    works("http[].retries.attempts", "VS-089", "", &[test!("retries")]),
    works("http[].retries.perTryTimeout", "VS-090", "", &[test!("retries")]),
    works("http[].retries.retryOn", "VS-091", "numbers are status codes", &[test!("retries")]),
    works(
        "http[].retries.retryRemoteLocalities",
        "VS-092",
        "priorities of earlier tries are left out",
        &[test!("retries"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    works("http[].retries.retryIgnorePreviousHosts", "VS-093", "", &[test!("retries")]),
    works(
        "http[].retries.backoff",
        "VS-094",
        "",
        &[test!("retries"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    works(
        "http[].fault",
        "VS-019",
        "",
        &[rule!("faults"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    works(
        "http[].fault.delay",
        "VS-105, VS-107, VS-108, VS-110",
        "",
        &[rule!("faults"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    not_yet("http[].fault.delay.exponentialDelay", "VS-109", "never implemented by Istio: no delay"),
    works(
        "http[].fault.abort",
        "VS-106, VS-111, VS-112, VS-114",
        "",
        &[rule!("faults"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    not_yet("http[].fault.abort.http2Error", "VS-113", "never implemented by Istio: no abort"),
    works(
        "http[].mirror",
        "VS-020",
        "",
        &[
            rule!("mirrors_and_their_shares"),
            "crates/proxy/src/http/tests/mirrors.rs::both_get_head_and_body",
        ],
    ),
    works(
        "http[].mirrors",
        "VS-021, VS-115, VS-116",
        "",
        &[
            rule!("mirrors_and_their_shares"),
            "crates/proxy/src/http/tests/mirrors.rs::both_get_head_and_body",
        ],
    ),
    works("http[].mirrorPercent", "VS-022", "deprecated", &[rule!("mirrors_and_their_shares")]),
    works(
        "http[].mirrorPercentage",
        "VS-023, VS-118",
        "unset: all; 0: none",
        &[
            rule!("mirrors_and_their_shares"),
            "crates/proxy/src/http/tests/mirrors.rs::both_get_head_and_body",
        ],
    ),
    works(
        "http[].corsPolicy",
        "VS-024, VS-095…VS-104",
        "",
        &[rule!("answers_to_other_origins"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    works(
        "http[].headers",
        "VS-025, VS-028, VS-029",
        "",
        &[test!("header_changes_of_route_and_destination")],
    ),
    works(
        "http[].headers.request.set",
        "VS-030",
        "`host` and `:authority` change the authority",
        &[test!("header_changes_of_route_and_destination")],
    ),
    works("http[].headers.request.add", "VS-031", "", &[test!("header_changes_of_route_and_destination")]),
    works("http[].headers.request.remove", "VS-032", "", &[test!("header_changes_of_route_and_destination")]),
    works("tls", "VS-004, VS-033, VS-034, VS-067", "", &[bytes!("tls_rules_go_by_server_name")]),
    works(
        "tls[].match[].sniHosts",
        "VS-062",
        "names and `*.name`; two alike: the first",
        &[
            bytes!("tls_rules_go_by_server_name"),
            "crates/pilot/tests/fields/gateway.rs::tls_passes_by_server_name",
        ],
    ),
    works("tls[].match[].destinationSubnets", "VS-063", "", &[bytes!("tls_rules_go_by_server_name")]),
    works("tls[].match[].port", "VS-064", "", &[bytes!("tls_rules_go_by_server_name")]),
    works("tls[].match[].sourceLabels", "VS-065", "", &[bytes!("tls_rules_go_by_server_name")]),
    works("tls[].match[].gateways", "VS-066", "", &[bytes!("tls_rules_go_by_server_name")]),
    works(
        "tcp",
        "VS-005, VS-035, VS-036, VS-057, VS-059, VS-060, VS-061",
        "the first rule whose conditions hold",
        &[test!("tcp_routes_to_weighted_destinations"), bytes!("tcp_rules_go_by_subnet_port_and_source")],
    ),
    works("tcp[].route", "VS-054, VS-055", "", &[bytes!("tcp_rules_go_by_subnet_port_and_source")]),
    works(
        "tcp[].match[].destinationSubnets",
        "VS-056",
        "",
        &[bytes!("tcp_rules_go_by_subnet_port_and_source")],
    ),
    not_yet("tcp[].match[].sourceSubnet", "VS-058", "never implemented by Istio: holds for all clients"),
];

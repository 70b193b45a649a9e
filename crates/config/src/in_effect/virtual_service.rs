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
        &[
            test!("hosts_choose_the_virtual_host"),
            test!("wildcard_hosts_cover_services"),
            call!("hosts", "in full with the port"),
            call!("precedence", "the closer wildcard's rule"),
            call!("scopes", "hosts of VirtualServices have no case"),
        ],
    ),
    works(
        "gateways",
        "VS-002",
        "`mesh` is the default; `name`, `ns/name`, `./name`",
        &[
            test!("gateways_unset_means_mesh"),
            call!("hosts", "a VirtualService for a gateway does not touch the mesh"),
            call!("gateways", "a VirtualService for the mesh is not for gateways"),
        ],
    ),
    works(
        "exportTo",
        "VS-006",
        "`.`, `*`, `~`, namespaces",
        &[
            test!("export_to_hides_from_other_namespaces"),
            call!("scopes", "what nobody may see"),
            call!("scopes", "what is exported to this namespace comes before what is public"),
        ],
    ),
    works(
        "http",
        "VS-003",
        "in the order of the list; the first match wins; a route that takes everything ends the list",
        &[
            test!("routes_keep_their_order_and_end_at_a_catch_all"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("http-match", "the first rule wins"),
            call!("http-match", "nothing comes after a rule that takes everything"),
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
            call!("match-corners", "the second alternative"),
            call!("match-corners", "conditions of different alternatives do not add up"),
            call!("http-match", "all but the parameter"),
        ],
    ),
    works("http[].match[].name", "VS-037", "", &[test!("names_of_route_and_match_are_joined")]),
    works(
        "http[].match[].uri",
        "VS-038, VS-086, VS-087, VS-088",
        "exact, prefix (not by segment), regex (RE2, whole path)",
        &[
            test!("uri_matches"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("http-match", "a prefix is not a segment"),
            call!("http-match", "a regex takes the whole path"),
            call!("match-corners", "alternatives of a path's regex take the whole path"),
        ],
    ),
    works(
        "http[].match[].scheme",
        "VS-039",
        "",
        &[
            test!("method_scheme_and_authority_match"),
            call!("http-match", "the scheme"),
            call!("match-corners", "a regex for schemes"),
        ],
    ),
    works(
        "http[].match[].method",
        "VS-040",
        "",
        &[
            test!("method_scheme_and_authority_match"),
            call!("http-match", "the method"),
            call!("match-corners", "methods have a case"),
        ],
    ),
    works(
        "http[].match[].authority",
        "VS-041",
        "",
        &[
            test!("method_scheme_and_authority_match"),
            call!("http-match", "the authority"),
            call!("match-corners", "an authority with its port"),
        ],
    ),
    works(
        "http[].match[].headers",
        "VS-042",
        "`{}` or regex `*`: present. Claims (`@request.auth.claims`) are conditions on metadata, which nobody leaves behind before tokens are looked at",
        &[
            test!("header_matches"),
            "crates/pilot/tests/fields/gateway.rs::claims_of_tokens_are_conditions_on_metadata",
            call!("claims", "a claim that is not there"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("http-match", "an exact header"),
            call!("match-corners", "regex * is presence"),
            call!("match-corners", "names that Istio ignores among headers"),
        ],
    ),
    works(
        "http[].match[].port",
        "VS-043",
        "port of the listener",
        &[
            test!("port_source_and_gateway_conditions"),
            call!("http-match", "the port of the listener"),
            call!("precedence", "a rule for the other port"),
        ],
    ),
    works(
        "http[].match[].sourceLabels",
        "VS-044",
        "",
        &[
            test!("port_source_and_gateway_conditions"),
            call!("clients", "a label of the caller"),
            call!("clients", "a caller without the label"),
        ],
    ),
    works(
        "http[].match[].gateways",
        "VS-045",
        "replaces the list of the resource; sourceLabels then have no effect, as in Istio",
        &[
            test!("port_source_and_gateway_conditions"),
            call!("match-corners", "labels and namespace do not count where gateways are named"),
            call!("gateways", "a match for this gateway"),
        ],
    ),
    works(
        "http[].match[].queryParams",
        "VS-046",
        "",
        &[
            test!("query_parameters_match"),
            call!("http-match", "both parameters"),
            call!("match-corners", "of two values the first"),
            call!("match-corners", "an absent parameter is not empty"),
        ],
    ),
    works(
        "http[].match[].ignoreUriCase",
        "VS-047",
        "exact and prefix",
        &[
            test!("uri_matches"),
            call!("http-match", "ignoreUriCase and exact"),
            call!("http-match", "ignoreUriCase and prefix"),
            call!("http-match", "ignoreUriCase leaves a regex alone"),
        ],
    ),
    works(
        "http[].match[].withoutHeaders",
        "VS-048",
        "",
        &[
            test!("headers_that_must_not_match"),
            call!("http-match", "without the header at all"),
            call!("match-corners", "no header where any value must not be"),
        ],
    ),
    works(
        "http[].match[].sourceNamespace",
        "VS-049",
        "",
        &[
            test!("port_source_and_gateway_conditions"),
            call!("clients", "the caller's namespace"),
            call!("clients", "a caller of another namespace"),
        ],
    ),
    works(
        "http[].match[].statPrefix",
        "VS-050",
        "`vhost.<host>.route.<prefix>.…`",
        &["crates/meltemi/tests/stats.rs::names_and_values_are_envoys"],
    ),
    works(
        "http[].route",
        "VS-012, VS-051",
        "",
        &[test!("destinations_name_clusters"), call!("destinations", "the default rule")],
    ),
    works(
        "http[].route[].destination.host",
        "VS-007",
        "unknown host: 503 NC",
        &[
            test!("destinations_name_clusters"),
            call!("destinations", "a host that nobody knows"),
            call!("scopes", "a name with a dot is taken as it is"),
        ],
    ),
    works(
        "http[].route[].destination.subset",
        "VS-008",
        "unknown subset: 503 NC",
        &[
            test!("destinations_name_clusters"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("destinations", "a subset that no rule knows"),
        ],
    ),
    works(
        "http[].route[].destination.port",
        "VS-009, VS-117",
        "default: the service's only port, else the listener's",
        &[
            test!("destinations_name_clusters"),
            call!("destinations", "the only port"),
            call!("destinations", "a given port"),
            call!("gateway-actions", "no port where the service has two"),
        ],
    ),
    works(
        "http[].route[].weight",
        "VS-052",
        "relative; 0 is dropped beside others; ignored if alone",
        &[
            test!("weights_are_relative_and_zero_is_left_out"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("destinations", "relative weights"),
            call!("destinations", "a weight of 0 beside others"),
        ],
    ),
    works(
        "http[].route[].headers",
        "VS-053",
        "",
        &[
            test!("header_changes_of_route_and_destination"),
            call!("http-actions", "the destination's operations on the request"),
            call!("action-corners", "a destination that was drawn"),
        ],
    ),
    works(
        "http[].redirect",
        "VS-013, VS-068, VS-069, VS-072, VS-074, VS-075",
        "uri, authority, port, scheme, redirectCode",
        &[
            test!("redirects"),
            call!("http-actions", "to another host and path"),
            call!("action-corners", "everything at once"),
            call!("action-corners", "port 443 of https is left out"),
        ],
    ),
    works(
        "http[].redirect.derivePort",
        "VS-070, VS-071, VS-073",
        "",
        &[
            test!("redirects"),
            call!("http-actions", "to the port of the scheme"),
            call!("http-actions", "to the port of the request"),
        ],
    ),
    works(
        "http[].redirect.prefixRewrite",
        "VS-076",
        "",
        &[test!("redirects"), call!("action-corners", "the prefix of a redirect")],
    ),
    works(
        "http[].directResponse",
        "VS-014, VS-077, VS-078, VS-079, VS-080",
        "",
        &[test!("direct_responses"), call!("http-actions", "a text"), call!("http-actions", "bytes")],
    ),
    works(
        "http[].delegate",
        "VS-015, VS-026, VS-027",
        "to one without hosts that is exported here; one level; what contradicts the rule is left out",
        &[
            rule!("a_rule_delegates_to_those_of_another_resource"),
            rule!("a_delegate_that_is_not_exported_is_left_out"),
            call!("delegates", "the delegate's rewrite wins"),
            call!("delegates", "a path below a root's regex is a contradiction"),
            call!("delegates", "a delegate that its namespace keeps"),
        ],
    ),
    works(
        "http[].rewrite.uri",
        "VS-016, VS-081",
        "of a prefix match the prefix, else the whole path",
        &[
            test!("rewrites"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("http-actions", "a prefix within a segment"),
            call!("action-corners", "an exact path to the root"),
        ],
    ),
    works(
        "http[].rewrite.authority",
        "VS-082",
        "",
        &[
            test!("rewrites"),
            call!("http-actions", "the host"),
            call!("action-corners", "a rewritten host is told to the upstream"),
        ],
    ),
    works(
        "http[].rewrite.uriRegexRewrite",
        "VS-083, VS-084, VS-085",
        "",
        &[
            test!("rewrites"),
            call!("http-actions", "by a pattern"),
            call!("action-corners", "a group that took no part is empty"),
        ],
    ),
    works(
        "http[].timeout",
        "VS-017",
        "default: none",
        &[
            test!("timeouts"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("resilience", "too late"),
            call!("retry-corners", "gRPC's deadline beyond the route's timeout"),
        ],
    ),
    works(
        "http[].retries",
        "VS-018",
        "default: the mesh's, else two attempts",
        &[
            test!("retries"),
            call!("resilience", "two failures of three tries"),
            call!("resilience", "no retries"),
        ],
    ),
    works(
        "http[].retries.attempts",
        "VS-089",
        "",
        &[
            test!("retries"),
            call!("retry-corners", "one retry are two tries"),
            call!("resilience", "no retries"),
        ],
    ),
    works(
        "http[].retries.perTryTimeout",
        "VS-090",
        "",
        &[test!("retries"), call!("retry-corners", "a try's timeout without a route's")],
    ),
    works(
        "http[].retries.retryOn",
        "VS-091",
        "numbers are status codes",
        &[
            test!("retries"),
            call!("retry-corners", "a code beside a word"),
            call!("retry-corners", "a code with a blank before it"),
            call!("retry-corners", "attempts without a reason have the default's"),
        ],
    ),
    works(
        "http[].retries.retryRemoteLocalities",
        "VS-092",
        "priorities of earlier tries are left out",
        &[test!("retries"), "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree"],
    ),
    works(
        "http[].retries.retryIgnorePreviousHosts",
        "VS-093",
        "",
        &[test!("retries"), call!("retry-corners", "half of the endpoints are gone and nobody sees it")],
    ),
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
        &[
            rule!("faults"),
            "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree",
            call!("retry-corners", "half of the requests"),
            call!("retry-corners", "headers do not steer faults"),
        ],
    ),
    works(
        "http[].fault.delay",
        "VS-105, VS-107, VS-108, VS-110",
        "",
        &[
            rule!("faults"),
            "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree",
            call!("resilience", "delayed"),
            call!("retry-corners", "a delay by the deprecated percent"),
        ],
    ),
    not_yet("http[].fault.delay.exponentialDelay", "VS-109", "never implemented by Istio: no delay"),
    works(
        "http[].fault.abort",
        "VS-106, VS-111, VS-112, VS-114",
        "",
        &[
            rule!("faults"),
            "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree",
            call!("resilience", "aborted"),
            call!("retry-corners", "an abort by gRPC's name"),
            call!("retry-corners", "an abort without percentage is for nobody"),
        ],
    ),
    not_yet("http[].fault.abort.http2Error", "VS-113", "never implemented by Istio: no abort"),
    works(
        "http[].mirror",
        "VS-020",
        "",
        &[
            rule!("mirrors_and_their_shares"),
            "crates/proxy/src/http/tests/mirrors.rs::both_get_head_and_body",
            call!("resilience", "a copy with a body"),
            call!("resilience", "the mirror is gone"),
        ],
    ),
    works(
        "http[].mirrors",
        "VS-021, VS-115, VS-116",
        "",
        &[
            rule!("mirrors_and_their_shares"),
            "crates/proxy/src/http/tests/mirrors.rs::both_get_head_and_body",
            call!("resilience", "one of two mirrors is gone"),
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
        &[
            rule!("answers_to_other_origins"),
            "crates/meltemi/tests/calls.rs::meltemi_and_envoy_agree",
            call!("cors", "a preflight that matches nothing is kept"),
            call!("cors", "any origin with credentials"),
        ],
    ),
    works(
        "http[].headers",
        "VS-025, VS-028, VS-029",
        "",
        &[
            test!("header_changes_of_route_and_destination"),
            call!("http-actions", "the route's operations on the request"),
            call!("action-corners", "headers on an answer of the proxy"),
        ],
    ),
    works(
        "http[].headers.request.set",
        "VS-030",
        "`host` and `:authority` change the authority",
        &[
            test!("header_changes_of_route_and_destination"),
            call!("http-actions", "the host as a header"),
            call!("action-corners", "the route's host wins over the destination's"),
        ],
    ),
    works(
        "http[].headers.request.add",
        "VS-031",
        "",
        &[
            test!("header_changes_of_route_and_destination"),
            call!("action-corners", "what is set and added has both"),
        ],
    ),
    works(
        "http[].headers.request.remove",
        "VS-032",
        "",
        &[test!("header_changes_of_route_and_destination"), call!("action-corners", "names in upper case")],
    ),
    works(
        "tls",
        "VS-004, VS-033, VS-034, VS-067",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("connections", "by server name"),
            call!("connections", "passed through by server name"),
        ],
    ),
    works(
        "tls[].match[].sniHosts",
        "VS-062",
        "names and `*.name`; two alike: the first",
        &[
            bytes!("tls_rules_go_by_server_name"),
            "crates/pilot/tests/fields/gateway.rs::tls_passes_by_server_name",
            call!("connections", "by a server name two labels below"),
            call!("bytes-corners", "a server name that two rules have is the first's"),
            call!("bytes-corners", "the closer wildcard"),
        ],
    ),
    works(
        "tls[].match[].destinationSubnets",
        "VS-063",
        "",
        &[bytes!("tls_rules_go_by_server_name"), call!("bytes-corners", "subnets are not asked at gateways")],
    ),
    works(
        "tls[].match[].port",
        "VS-064",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
        ],
    ),
    works(
        "tls[].match[].sourceLabels",
        "VS-065",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
        ],
    ),
    works(
        "tls[].match[].gateways",
        "VS-066",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
        ],
    ),
    works(
        "tcp",
        "VS-005, VS-035, VS-036, VS-057, VS-059, VS-060, VS-061",
        "the first rule whose conditions hold",
        &[
            test!("tcp_routes_to_weighted_destinations"),
            bytes!("tcp_rules_go_by_subnet_port_and_source"),
            call!("bytes-corners", "the first rule whose conditions hold"),
        ],
    ),
    works(
        "tcp[].route",
        "VS-054, VS-055",
        "",
        &[bytes!("tcp_rules_go_by_subnet_port_and_source"), call!("connections", "weights of connections")],
    ),
    works(
        "tcp[].match[].destinationSubnets",
        "VS-056",
        "",
        &[
            bytes!("tcp_rules_go_by_subnet_port_and_source"),
            call!("bytes-corners", "the first rule whose conditions hold"),
        ],
    ),
    not_yet("tcp[].match[].sourceSubnet", "VS-058", "never implemented by Istio: holds for all clients"),
];

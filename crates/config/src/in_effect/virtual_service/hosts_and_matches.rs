//! Whom a VirtualService is for, and which requests a rule takes. Part of [`super::ROWS`], in its order.

use super::super::{Row, works};

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
];

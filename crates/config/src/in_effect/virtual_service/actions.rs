//! What a rule does with the requests it takes. Part of [`super::ROWS`], in its order.

use super::super::{Row, not_yet, works};

pub(super) const ROWS: &[Row] = &[
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
];

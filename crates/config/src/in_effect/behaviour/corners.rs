//! What rules mean where several meet or one says nothing. Part of [`super::ROWS`], in its order.

use super::super::{Row, not_yet, partly, works};

pub(super) const ROWS: &[Row] = &[
    works(
        "Built-in retries (2 attempts) where a route says nothing",
        "SEM-036",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::retries",
            call!("retry-corners", "half of the endpoints are gone and nobody sees it"),
            call!("resilience", "Istio's default does not repeat a 500"),
        ],
    ),
    not_yet("Auto mTLS, PERMISSIVE, STRICT", "SEM-080…SEM-093", "traffic is in the clear"),
    not_yet("Authorization and tokens", "SEM-100…SEM-119", "nothing is denied"),
    works(
        "One host, several owners: a Kubernetes Service before ServiceEntries, the own namespace before others",
        "SEM-007",
        "",
        &[
            call!("scopes", "a ServiceEntry does not take a Service's host"),
            call!("scopes", "the own namespace's ServiceEntry"),
        ],
    ),
    works(
        "ServiceEntries for one host have their ports together",
        "SEM-008",
        "of one namespace, alike in resolution and visibility",
        &[
            call!("scopes", "ports of two ServiceEntries"),
            call!("scopes", "ports of two ServiceEntries together"),
        ],
    ),
    partly(
        "Resources of the root namespace are for all",
        "SEM-009",
        "DestinationRule, Sidecar and Telemetry; policies come with mutual TLS",
        &[
            call!("clients", "a DestinationRule of the root namespace is for all"),
            call!("clients", "the root namespace's Sidecar where there is none"),
            "crates/pilot/tests/fields/access_log.rs::the_closest_resource_says_which",
        ],
    ),
    works(
        "In the mesh the first of several VirtualServices has a host alone: private, then exported here, then public",
        "SEM-022",
        "",
        &[
            call!("scopes", "the second has nothing of it"),
            call!("scopes", "what the own namespace keeps comes before what is public"),
            call!("scopes", "what is exported to this namespace comes before what is public"),
        ],
    ),
    works(
        "A Sidecar lets in a VirtualService if either host is the wider one",
        "SEM-026",
        "",
        &[call!("clients", "a rule for a wildcard holds for the one host that is let in")],
    ),
    works(
        "A VirtualService for a host that no service has counts on port 80 only",
        "SEM-028",
        "",
        &[
            call!("hosts", "a host that is no service"),
            "crates/pilot/tests/fields/virtual_service.rs::hosts_choose_the_virtual_host",
        ],
    ),
    works(
        "A match that names gateways asks no labels and no namespace of the source; connections are asked for all of it",
        "SEM-032",
        "gateways ask the source of no connection",
        &[
            call!("match-corners", "labels and namespace do not count where gateways are named"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
            call!("bytes-corners", "nor is the client"),
        ],
    ),
    works(
        "No timeout by default; gRPC's deadline is heeded up to the route's timeout, and told to the upstream",
        "SEM-035",
        "",
        &[
            call!("resilience", "the default has no timeout"),
            call!("retry-corners", "gRPC's deadline"),
            call!("retry-corners", "gRPC's deadline beyond the route's timeout"),
            call!("retry-corners", "gRPC's deadline in hours"),
        ],
    ),
    works(
        "Header operations: set, add, remove; the route before the destination; rewrite.authority before headers",
        "SEM-038",
        "",
        &[
            call!("action-corners", "what is set and added has both"),
            call!("action-corners", "the destination comes after the route"),
            call!("action-corners", "the route's host wins over the destination's"),
            call!("http-actions", "the host"),
        ],
    ),
    works(
        "Redirects leave out the port of their scheme",
        "SEM-040",
        "",
        &[
            call!("action-corners", "port 443 of https is left out"),
            call!("action-corners", "port 80 of https is not"),
            call!("action-corners", "the request's port with another scheme"),
        ],
    ),
    works(
        "Fault and CORS of a rule hold together",
        "SEM-042",
        "in Istio one of them resets what other filters were told",
        &[call!("cors", "a fault comes before a preflight"), call!("cors", "a fault for another origin")],
    ),
    partly(
        "Claims of tokens as header conditions",
        "SEM-044",
        "conditions on what a token's check leaves behind; tokens are not looked at yet, so none holds",
        &["crates/pilot/tests/fields/gateway.rs::claims_of_tokens_are_conditions_on_metadata"],
    ),
];

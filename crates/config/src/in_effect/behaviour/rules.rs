//! Names, and which rule holds. Part of [`super::ROWS`], in its order.

use super::super::{Row, partly, works};

pub(super) const ROWS: &[Row] = &[
    works(
        "Short names belong to the namespace of the resource",
        "SEM-001",
        "",
        &[
            "crates/config/src/host/tests.rs::short_names_belong_to_the_namespace_of_the_object",
            call!("scopes", "a VirtualService of another namespace is for that namespace's service"),
        ],
    ),
    works(
        "Wildcard hosts: overlap and containment",
        "SEM-002",
        "",
        &[
            "crates/config/src/host/tests.rs::patterns_overlap_and_contain",
            "crates/config/src/host/tests.rs::patterns_agree_with_the_sets_they_mean",
            call!("hosts", "the wildcard's own domain is not below it"),
        ],
    ),
    works(
        "The most specific host wins",
        "SEM-003",
        "",
        &[
            "crates/config/src/host/tests.rs::the_most_specific_pattern_wins",
            call!("precedence", "the closer wildcard's rule"),
            call!("gateways", "the exact host wins over the wildcard"),
        ],
    ),
    works(
        "Conflicts: the oldest wins, then by namespace and name",
        "SEM-004",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::the_oldest_of_two_for_one_host_wins",
            call!("hosts", "the oldest of two for one host"),
        ],
    ),
    works(
        "exportTo: `*`, `.`, `~`, namespaces",
        "SEM-005",
        "",
        &[
            "crates/config/src/labels.rs::export_to_resolves_as_istio_does",
            call!("scopes", "what nobody may see"),
        ],
    ),
    works(
        "`gateways` unset means `mesh`",
        "SEM-020",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::gateways_unset_means_mesh",
            call!("gateways", "a VirtualService for the mesh is not for gateways"),
        ],
    ),
    works(
        "Names of gateways resolve",
        "SEM-021",
        "",
        &[
            "crates/pilot/src/snapshot/virtual_service.rs::gateway_names_resolve_as_istio_does",
            call!("gateways", "the second VirtualService of a host"),
        ],
    ),
    works(
        "A route that takes everything ends the list; order is list order",
        "SEM-024, SEM-025",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::routes_keep_their_order_and_end_at_a_catch_all",
            call!("http-match", "nothing comes after a rule that takes everything"),
            call!("precedence", "the longer prefix stands first"),
        ],
    ),
    works(
        "Destination port: given, else the only one, else the listener's",
        "SEM-030",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::destinations_name_clusters",
            call!("destinations", "the only port"),
            call!("precedence", "the destination's port is the listener's"),
        ],
    ),
    works(
        "Unknown destination: 503 NC",
        "SEM-031",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::destinations_name_clusters",
            call!("destinations", "a host that nobody knows"),
        ],
    ),
    works(
        "Delegates: conditions of both hold, the delegate's settings win, names are joined",
        "SEM-033",
        "",
        &[
            "crates/pilot/tests/fields/rule.rs::a_rule_delegates_to_those_of_another_resource",
            call!("delegates", "the delegate's headers win"),
            call!("delegates", "a value outside of the root's prefix"),
        ],
    ),
    works(
        "Routes to the workload are retried twice before it read anything, never where gRPC is declared",
        "SEM-037",
        "",
        &["crates/pilot/tests/fields/rule.rs::routes_to_the_workload_are_retried_before_it_read_anything"],
    ),
    works(
        "`retries: safe`: what is not idempotent is tried again only if the application cannot have seen it",
        "",
        "ours: annotation `meltemi.dev/retries: safe` of a VirtualService, or `MELTEMI_RETRIES: safe` in the mesh's \
         `defaultConfig.proxyMetadata`; Meltemi's proxies only",
        &[
            "crates/pilot/tests/fields/rule.rs::careful_retries_for_proxies_that_know_them",
            call!("safe-retries", "a POST that was answered is not"),
        ],
    ),
    works(
        "Weights are relative; 0 beside others is dropped",
        "SEM-039",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::weights_are_relative_and_zero_is_left_out",
            call!("destinations", "relative weights"),
        ],
    ),
    works(
        "Route names in the access log",
        "SEM-041",
        "`%ROUTE_NAME%`",
        &[
            "crates/proxy/src/access_log/tests.rs::istio_text_format_byte_by_byte",
            "crates/pilot/tests/fields/virtual_service.rs::names_of_route_and_match_are_joined",
        ],
    ),
    works(
        "Host `*` at the mesh is refused",
        "SEM-045",
        "",
        &["crates/config/tests/golden.rs::findings_are_as_written"],
    ),
    works(
        "At a gateway, several VirtualServices for one host merge; catch-alls go last",
        "SEM-023",
        "",
        &[
            "crates/pilot/tests/fields/gateway.rs::several_resources_for_one_host_merge",
            call!("scopes", "the second's rule at a gateway"),
            call!("scopes", "a rule behind another's catch-all"),
        ],
    ),
    works(
        "Gateway servers on one port: HTTP merges, TLS is told apart by name, of others the first has the port",
        "SEM-170, SEM-171, SEM-172, SEM-174",
        "",
        &[
            "crates/pilot/tests/fields/gateway.rs::servers_share_a_port_or_the_first_has_it",
            "crates/pilot/tests/fields/gateway.rs::http_servers_serve_the_hosts_that_both_name",
        ],
    ),
    works(
        "A gateway's port is that of its Service; ports below 1024 need the right to open them",
        "SEM-173",
        "",
        &["crates/pilot/tests/fields/gateway.rs::ports_are_those_of_services_and_may_need_a_right"],
    ),
    works(
        "Gateways that the Gateway API made keep to their namespace",
        "SEM-177, ENV-107",
        "label `gateway.istio.io/managed`",
        &["crates/pilot/tests/fields/gateway.rs::gateways_that_the_gateway_api_made_keep_to_their_namespace"],
    ),
    works(
        "Ports that are declared are not looked at, so that servers may speak first",
        "SEM-144",
        "",
        &["crates/pilot/tests/fields/sidecar.rs::declared_ports_are_not_looked_at"],
    ),
    works(
        "TLS passes gateways by server name",
        "SEM-175",
        "",
        &[
            "crates/pilot/tests/fields/gateway.rs::tls_passes_by_server_name",
            "crates/pilot/tests/fields/gateway.rs::auto_passthrough_goes_by_the_name_of_the_cluster",
            call!("connections", "passed through by server name"),
        ],
    ),
    partly(
        "proxyHeaders and gatewayTopology: server, request ids, attempts, x-forwarded-client-cert, header case",
        "SEM-157, SEM-158",
        "metadataExchangeHeaders does nothing",
        &["crates/pilot/tests/fields/gateway.rs::headers_of_connections_are_as_configured"],
    ),
];

//! Gateway.

use super::{Row, not_yet, partly, works};

/// A test of what the pilot makes of fields.
macro_rules! test {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/gateway.rs::", $name)
    };
}

pub(super) const ROWS: &[Row] = &[
    works(
        "selector",
        "GW-002",
        "proxies of any namespace",
        &[
            test!("the_selector_picks_proxies_of_any_namespace"),
            call!("gateways", "a Gateway for other proxies"),
        ],
    ),
    works(
        "servers",
        "GW-001, GW-003",
        "",
        &[
            test!("http_servers_serve_the_hosts_that_both_name"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works(
        "servers[].port.number",
        "GW-009",
        "",
        &[test!("ports_and_addresses_of_listeners"), call!("gateways", "another port of the gateway")],
    ),
    works(
        "servers[].port.protocol",
        "GW-010",
        "HTTP, HTTP2, GRPC, GRPC-WEB",
        &[test!("ports_and_addresses_of_listeners"), call!("gateways", "the host of both")],
    ),
    partly(
        "servers[].port.protocol=HTTPS",
        "GW-010",
        "with PASSTHROUGH only",
        &[test!("tls_passes_by_server_name")],
    ),
    partly(
        "servers[].port.protocol=TLS",
        "GW-010",
        "with PASSTHROUGH and AUTO_PASSTHROUGH",
        &[test!("tls_passes_by_server_name")],
    ),
    works(
        "servers[].port.protocol=TCP",
        "GW-010",
        "by the first TCP rule that holds",
        &[
            test!("servers_of_bytes_go_by_the_first_rule_that_holds"),
            call!("connections", "bytes through a gateway"),
        ],
    ),
    works(
        "servers[].port.protocol=MONGO",
        "GW-010",
        "as TCP",
        &[test!("servers_of_bytes_go_by_the_first_rule_that_holds")],
    ),
    works(
        "servers[].port.name",
        "GW-011",
        "for people only, as in Istio",
        &[test!("ports_and_addresses_of_listeners")],
    ),
    not_yet("servers[].port.targetPort", "GW-012", "deprecated: the port of the Service is found by number"),
    works(
        "servers[].bind",
        "GW-004",
        "",
        &[
            test!("ports_and_addresses_of_listeners"),
            test!("servers_with_addresses_of_their_own_share_a_port"),
        ],
    ),
    works(
        "servers[].hosts",
        "GW-005",
        "`ns/host`, `./host`, wildcards; bounds the VirtualServices that are served",
        &[
            test!("http_servers_serve_the_hosts_that_both_name"),
            test!("unknown_hosts_get_404"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
            call!("gateways", "the server wants a VirtualService of another namespace"),
            call!("precedence", "a wildcard bounded by the server"),
        ],
    ),
    works(
        "servers[].name",
        "GW-008",
        "for people only, as in Istio",
        &[test!("http_servers_serve_the_hosts_that_both_name")],
    ),
    partly("servers[].tls", "GW-006, GW-020", "see its fields", &[]),
    works(
        "servers[].tls.httpsRedirect",
        "GW-013",
        "",
        &[test!("https_redirect_asks_for_tls"), call!("gateways", "a redirect to https")],
    ),
    works(
        "servers[].tls.mode=PASSTHROUGH",
        "GW-014",
        "by server name, as the `tls` rules say",
        &[
            test!("tls_passes_by_server_name"),
            call!("connections", "passed through by a wildcard"),
            call!("bytes-corners", "weights by server name"),
        ],
    ),
    not_yet("servers[].tls.mode=SIMPLE", "GW-015", "the server is not opened"),
    not_yet("servers[].tls.mode=MUTUAL", "GW-016", "the server is not opened"),
    works(
        "servers[].tls.mode=AUTO_PASSTHROUGH",
        "GW-017",
        "by the name of the cluster; endpoints that take no mutual TLS are left out",
        &[test!("auto_passthrough_goes_by_the_name_of_the_cluster")],
    ),
    not_yet("servers[].tls.mode=ISTIO_MUTUAL", "GW-018", "the server is not opened"),
    not_yet("servers[].tls.mode=OPTIONAL_MUTUAL", "GW-019", "the server is not opened"),
    not_yet("(tls: certificates, versions, ciphers)", "GW-021…GW-044", "TLS is not opened"),
    not_yet("servers[].defaultEndpoint", "GW-007", "never implemented by Istio"),
];

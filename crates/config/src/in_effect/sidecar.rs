//! Sidecar.

use super::{Row, not_yet, works};

/// A test of what the pilot makes of fields.
macro_rules! test {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/sidecar.rs::", $name)
    };
}

pub(super) const ROWS: &[Row] = &[
    works(
        "workloadSelector",
        "SC-001, SC-016",
        "selected, else of the namespace, else of the root namespace",
        &[
            test!("a_workload_selector_bounds_the_proxies"),
            call!("clients", "the older of two that select the workload"),
            call!("clients", "the root namespace's Sidecar where there is none"),
        ],
    ),
    works(
        "ingress",
        "SC-002, SC-006…SC-009, SC-011",
        "port, bind, captureMode, defaultEndpoint (TCP and Unix sockets), connectionPool",
        &[
            test!("ingress_listeners_replace_those_of_services"),
            test!("ports_of_the_workload_are_limited"),
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
    not_yet("ingress[].tls", "SC-010", "TLS is not opened"),
    works(
        "inboundConnectionPool",
        "SC-004",
        "over that of a DestinationRule for the service",
        &[test!("ports_of_the_workload_are_limited")],
    ),
    works(
        "egress",
        "SC-003",
        "empty: everything",
        &[
            test!("egress_hosts_bound_what_is_seen"),
            call!("clients", "a Sidecar without egress lets everything through"),
        ],
    ),
    works(
        "egress[].hosts",
        "SC-015",
        "`ns/host` with `.`, `*`, `~`; `~ns/host` leaves out",
        &[
            test!("egress_hosts_bound_what_is_seen"),
            call!("clients", "what is left out"),
            call!("sidecar", "a host of another namespace that is not named"),
        ],
    ),
    works(
        "egress[].port",
        "SC-012, SC-024…SC-026",
        "HTTP_PROXY: all ports of the services, as the authority says",
        &[
            test!("egress_listeners_have_their_ports"),
            test!("an_http_proxy_takes_all_ports_of_its_services"),
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
    not_yet("egress[].port.targetPort", "SC-027", "never implemented by Istio"),
    works(
        "egress[].bind",
        "SC-013",
        "an address, or a Unix socket with port 0",
        &[
            test!("a_listener_without_port_opens_those_of_its_services"),
            test!("egress_listeners_may_be_unix_sockets"),
        ],
    ),
    works(
        "egress[].captureMode",
        "SC-014, SC-021…SC-023",
        "",
        &[test!("a_listener_without_port_opens_those_of_its_services")],
    ),
    works(
        "outboundTrafficPolicy.mode",
        "SC-005, SC-017…SC-019",
        "",
        &[test!("unknown_destinations_are_let_through_or_not"), call!("sidecar", "nobody's host")],
    ),
    works(
        "outboundTrafficPolicy.egressProxy",
        "SC-020",
        "a host that the Sidecar lets in",
        &[
            test!("an_egress_proxy_takes_what_nobody_knows"),
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
];

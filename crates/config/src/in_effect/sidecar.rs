//! Sidecar.

use super::{Row, not_yet, partly, works};

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
        &[test!("a_workload_selector_bounds_the_proxies")],
    ),
    partly(
        "ingress",
        "SC-002, SC-006…SC-009, SC-011",
        "port, bind, captureMode, defaultEndpoint, connectionPool",
        &[],
    ),
    not_yet("ingress[].tls", "SC-010", "TLS is not opened"),
    partly("inboundConnectionPool", "SC-004", "", &[]),
    works("egress", "SC-003", "empty: everything", &[test!("egress_hosts_bound_what_is_seen")]),
    works(
        "egress[].hosts",
        "SC-015",
        "`ns/host` with `.`, `*`, `~`; `~ns/host` leaves out",
        &[test!("egress_hosts_bound_what_is_seen")],
    ),
    partly("egress[].port", "SC-012, SC-024…SC-027", "", &[]),
    partly("egress[].bind", "SC-013", "", &[]),
    partly("egress[].captureMode", "SC-014, SC-021…SC-023", "", &[]),
    works(
        "outboundTrafficPolicy.mode",
        "SC-005, SC-017…SC-019",
        "",
        &[test!("unknown_destinations_are_let_through_or_not")],
    ),
    not_yet("outboundTrafficPolicy.egressProxy", "SC-020", "unknown traffic goes to where it was meant to"),
];

//! Sidecars, the ports of gateways, Ingress, logs. Part of [`super::ROWS`], in its order.

use super::super::{Row, not_yet, partly, works};

pub(super) const ROWS: &[Row] = &[
    works(
        "The first Sidecar that selects the workload, else the namespace's, else the root namespace's",
        "SEM-130",
        "",
        &[
            call!("clients", "the older of two that select the workload"),
            call!("clients", "the selected Sidecar does not add to the namespace's"),
            call!("clients", "the root namespace's Sidecar where there is none"),
        ],
    ),
    works("Gateways heed no Sidecar", "SEM-131", "", &[call!("clients", "a gateway heeds no Sidecar")]),
    works(
        "Destinations of a VirtualService that is let in come with it",
        "SEM-132",
        "",
        &[
            call!("sidecar", "the destination of a VirtualService is reached without being named"),
            call!("clients", "the destination of that rule comes with it"),
        ],
    ),
    works(
        "An egress listener with a port has that port alone",
        "SEM-133",
        "",
        &[
            call!("clients", "a port with a list of its own"),
            call!("clients", "the other list adds nothing to that port"),
        ],
    ),
    works(
        "`~namespace/host` leaves a host out",
        "SEM-134",
        "",
        &[call!("clients", "everything but what is left out"), call!("clients", "what is left out")],
    ),
    works(
        "Ingress listeners take the place of those that services would have",
        "SEM-135",
        "",
        &[
            call!("clients", "a listener of the Sidecar for HTTP"),
            "crates/pilot/tests/fields/sidecar.rs::ingress_listeners_replace_those_of_services",
        ],
    ),
    works(
        "A server's port is the Service's; the gateway listens at its target port, below 1024 only if it may",
        "SEM-173",
        "",
        &["crates/pilot/tests/fields/gateway.rs::ports_and_addresses_of_listeners"],
    ),
    not_yet("Keys for gateways of their own namespace", "SEM-176", "no TLS is opened"),
    partly(
        "Kubernetes Ingress: class `istio`, prefixes by segments",
        "SEM-178",
        "port 80; 443 waits for TLS, and addresses in the status for Kubernetes' adapter; explain, errors and describe name the Ingress and its line",
        &[
            call!("ingress", "a longer last segment is another one"),
            call!("ingress", "a Service that is not there"),
            "crates/pilot/tests/fields/ingress.rs::rules_know_the_ingress_and_the_line_that_they_are_from",
        ],
    ),
    works(
        "Access log: Istio's text and JSON, `-` or null for what is empty",
        "LOG-001…LOG-003",
        "",
        &[
            "crates/proxy/src/access_log/tests.rs::istio_text_format_byte_by_byte",
            "crates/proxy/src/access_log/tests.rs::json_keeps_types_and_sorts_keys",
            "crates/pilot/tests/fields/access_log.rs::the_mesh_names_a_file_and_its_form",
        ],
    ),
    works(
        "Response flags and details are Envoy's",
        "LOG-004",
        "and a reason that names the resource",
        &["crates/proxy/src/access_log/tests.rs::istio_text_format_byte_by_byte"],
    ),
    works(
        "Operators of log formats",
        "LOG-006",
        "all of Envoy 1.40; what needs TLS, tracing or filter state is empty",
        &[
            "crates/meltemi/tests/log_operators.rs::meltemi_logs_what_stands_in_the_table",
            "crates/meltemi/tests/log_operators.rs::envoy_logs_what_stands_in_the_table",
            "crates/meltemi/tests/log_operators.rs::what_is_refused_is_refused_by_name",
        ],
    ),
];

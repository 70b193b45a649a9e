//! ServiceEntry, WorkloadEntry, WorkloadGroup.

use super::{Row, not_yet, partly, works};

/// A test of what the pilot makes of Services and entries.
macro_rules! services {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/services.rs::", $name)
    };
}

/// A test of what the pilot makes of fields.
macro_rules! test {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/service_entry.rs::", $name)
    };
}

pub(super) const ROWS: &[Row] = &[
    works(
        "hosts",
        "SE-001",
        "",
        &[
            test!("hosts_and_addresses_become_domains"),
            call!("hosts", "below a wildcard"),
            call!("scopes", "hosts have no case"),
        ],
    ),
    works(
        "addresses",
        "SE-002",
        "without any, hosts are given one of 240.240.0.0/16 and one of 2001:2::/48 by their names, for proxies that capture DNS; \
         who meets another there makes way for the older, or the first by name",
        &[
            test!("hosts_and_addresses_become_domains"),
            services!("entries_without_addresses_are_given_some"),
            services!("who_gets_no_address"),
            call!("scopes", "a ServiceEntry by its address"),
        ],
    ),
    works(
        "ports",
        "SE-003, SE-017, SE-019",
        "",
        &[
            test!("static_endpoints_with_their_ports_and_weights"),
            call!("scopes", "ports of two ServiceEntries together"),
        ],
    ),
    works(
        "ports[].protocol",
        "SE-018",
        "empty: by name, else found out by looking",
        &[
            test!("static_endpoints_with_their_ports_and_weights"),
            call!("bytes-corners", "HTTP that nobody declared"),
            call!("bytes-corners", "bytes that nobody declared"),
        ],
    ),
    works(
        "ports[].targetPort",
        "SE-020",
        "",
        &[
            test!("static_endpoints_with_their_ports_and_weights"),
            call!("services", "a ServiceEntry that selects a WorkloadEntry"),
        ],
    ),
    partly("location", "SE-004, SE-005, SE-006", "makes no difference until there is mutual TLS", &[]),
    works("resolution=NONE", "SE-007, SE-012", "the address the client asked for", &[test!("resolutions")]),
    works("resolution=STATIC", "SE-008", "", &[test!("static_endpoints_with_their_ports_and_weights")]),
    works(
        "resolution=DNS",
        "SE-009",
        "all addresses of the name",
        &[test!("resolutions"), call!("services", "a ServiceEntry whose endpoints DNS knows")],
    ),
    works("resolution=DNS_ROUND_ROBIN", "SE-010", "one address at a time", &[test!("resolutions")]),
    works(
        "resolution=DYNAMIC_DNS",
        "SE-011",
        "the name in the request, or in the ClientHello",
        &[services!("dynamic_dns_looks_up_what_clients_ask_for")],
    ),
    works(
        "endpoints",
        "SE-013",
        "as WorkloadEntry below",
        &[test!("static_endpoints_with_their_ports_and_weights"), call!("services", "weights of endpoints")],
    ),
    works(
        "workloadSelector",
        "SE-014",
        "Pods and WorkloadEntries of the namespace",
        &[
            test!("a_selector_takes_pods_and_workload_entries"),
            call!("services", "a ServiceEntry that selects a WorkloadEntry"),
        ],
    ),
    works(
        "exportTo",
        "SE-015",
        "",
        &[
            test!("export_to_hides_from_other_namespaces"),
            call!("hosts", "visible in named namespaces"),
            call!("hosts", "visible in its own namespace only"),
        ],
    ),
    works(
        "(status.addresses)",
        "SE-024…SE-026",
        "what a host has been given stays its own, and nobody else is given it; files are never written",
        &[
            services!("addresses_in_the_status_hold"),
            call!("given", "the address that the status keeps for a host"),
            "crates/pilot/src/registry/automatic.rs::reserved_places_are_given_to_nobody",
        ],
    ),
    works(
        "(status.conditions)",
        "SE-021",
        "those that are false are findings of `meltemi analyze` (IST0171); files are never written",
        &["crates/config/tests/analysis.rs::findings_are_as_written"],
    ),
    not_yet(
        "(status.validationMessages, status.observedGeneration)",
        "SE-022, SE-023",
        "notes of a controller to itself: `meltemi analyze` says what holds of the files now",
    ),
    partly(
        "subjectAltNames",
        "SE-016",
        "on Envoys; where the rule asks for TLS and names none; Meltemi's proxy refuses TLS to endpoints so far",
        &[services!("names_of_an_entrys_certificates_are_asked_for_where_the_rule_names_none")],
    ),
];

/// A test of what the pilot makes of networks.
macro_rules! networks {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/networks.rs::", $name)
    };
}

pub(super) const WORKLOAD_ENTRY: &[Row] = &[
    works(
        "address",
        "WE-001",
        "address or name; without one, behind gateways of its network only",
        &[
            test!("static_endpoints_with_their_ports_and_weights"),
            call!("networks", "what has no address is never called"),
        ],
    ),
    works("ports", "WE-002", "", &[test!("static_endpoints_with_their_ports_and_weights")]),
    works(
        "labels",
        "WE-003",
        "those of the metadata win",
        &[test!("a_selector_takes_pods_and_workload_entries")],
    ),
    works(
        "network",
        "WE-004",
        "else the label `topology.istio.io/network`, else MeshNetworks; of a network with gateways: behind those where a rule asks for mutual TLS (ISTIO_MUTUAL), else left out",
        &[
            call!("networks", "the endpoint of the own network"),
            call!("networks", "all of another network"),
            call!("networks", "a network that nobody described"),
            networks!("endpoints_of_other_networks_are_behind_their_gateways"),
        ],
    ),
    works("locality", "WE-005", "", &[services!("localities_are_the_workloads_own_or_their_nodes")]),
    works(
        "weight",
        "WE-006",
        "",
        &[test!("static_endpoints_with_their_ports_and_weights"), call!("services", "weights of endpoints")],
    ),
    partly("serviceAccount", "WE-007", "no part in identity until there is mutual TLS", &[]),
];

pub(super) const WORKLOAD_GROUP: &[Row] =
    &[not_yet("", "WG-001…WG-026", "workloads do not register themselves; write WorkloadEntries")];

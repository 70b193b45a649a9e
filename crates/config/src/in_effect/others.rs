//! Kinds of security, telemetry and extension, Kubernetes objects, our own kind, the mesh's settings.

use super::{Row, not_yet, partly, works};

pub(super) const ENVOY_FILTER: &[Row] = &[not_yet("", "EF-001…EF-085", "nothing is patched")];

pub(super) const PROXY_CONFIG: &[Row] = &[not_yet("", "PX-001…PX-005", "proxies keep their settings")];

pub(super) const PEER_AUTHENTICATION: &[Row] =
    &[not_yet("", "PA-001…PA-008", "there is no mutual TLS yet: traffic is in the clear")];

pub(super) const REQUEST_AUTHENTICATION: &[Row] = &[not_yet("", "RA-001…RA-021", "tokens are not looked at")];

pub(super) const AUTHORIZATION_POLICY: &[Row] = &[not_yet("", "AP-001…AP-041", "nothing is denied")];

/// A test of what the pilot makes of access logs.
macro_rules! logs {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/access_log.rs::", $name)
    };
}

pub(super) const TELEMETRY: &[Row] = &[
    works(
        "selector",
        "TL-001",
        "root namespace, namespace, workload: the closest says which providers",
        &[logs!("the_closest_resource_says_which")],
    ),
    partly("targetRefs", "TL-002, TL-003", "Gateways of the Gateway API", &[logs!("gateways_are_clients")]),
    partly("targetRef", "TL-002, TL-003", "Gateways of the Gateway API", &[logs!("gateways_are_clients")]),
    works(
        "accessLogging",
        "TL-006, TL-007, TL-026, TL-054…TL-057, LOG-005",
        "",
        &[logs!("resources_name_providers"), logs!("the_closest_resource_says_which")],
    ),
    works(
        "accessLogging[].filter",
        "TL-058, TL-059",
        "CEL as Envoy builds it: no comprehensions, no joining of texts",
        &[
            logs!("resources_name_providers"),
            logs!("providers_become_envoys_loggers"),
            "crates/meltemi/tests/log_operators.rs::meltemi_logs_what_stands_in_the_table",
            "crates/meltemi/tests/log_operators.rs::envoy_logs_what_stands_in_the_table",
        ],
    ),
    not_yet("tracing", "TL-004, TL-008…TL-025", "nothing is traced"),
    not_yet("metrics", "TL-005, TL-027…TL-053", "metrics are Envoy's"),
];

pub(super) const WASM_PLUGIN: &[Row] = &[not_yet("", "WP-001…WP-034", "no module is loaded")];

/// A test of what the pilot makes of Services.
macro_rules! services {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/services.rs::", $name)
    };
}

pub(super) const SERVICE: &[Row] = &[
    works(
        "spec.ports",
        "SEM-140",
        "protocol by appProtocol or name; targetPort by number or name",
        &[
            services!("ports_go_to_target_ports_by_number_and_by_name"),
            "crates/config/src/port.rs::service_ports_get_their_protocol",
        ],
    ),
    works(
        "spec.selector",
        "SEM-153",
        "WorkloadEntries and Pods; with EndpointSlices, those instead of Pods",
        &[
            services!("selectors_take_the_pods_that_have_all_labels"),
            services!("services_and_entries_select_each_others_workloads"),
        ],
    ),
    works(
        "spec.clusterIP",
        "SEM-145",
        "virtual hosts by name and address",
        &[
            services!("virtual_addresses_find_services"),
            services!("clients_of_headless_services_pick_endpoints"),
        ],
    ),
    works("spec.clusterIPs", "SEM-145", "", &[services!("virtual_addresses_find_services")]),
    works(
        "spec.type",
        "SEM-147",
        "ExternalName: another name of the service it names",
        &[services!("an_external_name_is_another_name_of_a_service")],
    ),
    works(
        "spec.externalName",
        "SEM-147",
        "",
        &[
            services!("a_destination_that_is_an_external_name_is_its_service"),
            services!("tls_is_found_by_its_external_names"),
        ],
    ),
    works(
        "spec.internalTrafficPolicy",
        "SEM-155",
        "the client's node is what it says as NODE_NAME, else that of the Pod at its address",
        &[services!("internal_traffic_policy_local_keeps_to_the_clients_node")],
    ),
    works(
        "spec.publishNotReadyAddresses",
        "SEM-154",
        "",
        &[services!("slices_say_which_endpoints_there_are_and_how_they_are")],
    ),
];

pub(super) const ENDPOINT_SLICE: &[Row] = &[works(
    "endpoints",
    "SEM-154",
    "not ready: sent as unhealthy, and never used, not even when no other is there; terminating: not sent",
    &[services!("slices_say_which_endpoints_there_are_and_how_they_are")],
)];

pub(super) const POD: &[Row] = &[
    works(
        "status.podIP",
        "SEM-153",
        "an endpoint of the Services that select it",
        &[services!("selectors_take_the_pods_that_have_all_labels")],
    ),
    works(
        "spec.nodeName",
        "SEM-155, SEM-156",
        "its locality, unless a label says another",
        &[services!("localities_are_the_workloads_own_or_their_nodes")],
    ),
];

pub(super) const NODE: &[Row] = &[works(
    "",
    "SEM-156",
    "labels of region, zone and subzone: where its Pods are",
    &[services!("localities_are_the_workloads_own_or_their_nodes")],
)];

/// A test of what the pilot makes of the mesh's settings.
macro_rules! mesh {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/mesh.rs::", $name)
    };
}

pub(super) const NAMESPACE: &[Row] = &[works(
    "(metadata.labels)",
    "SEM-010",
    "by which `discoverySelectors` take namespaces; one that no document describes has its name (`kubernetes.io/metadata.name`); the root namespace's `topology.istio.io/network`",
    &[
        call!("discovery-selectors", "a namespace by its labels"),
        call!("discovery-selectors", "a namespace with one label of two"),
        mesh!("namespaces_come_and_go_by_their_labels"),
    ],
)];

pub(super) const DEPLOYMENT: &[Row] = &[partly("", "", "read, for analysis later", &[])];

/// Kinds that `meltemi analyze` alone reads.
pub(super) const FOR_ANALYSIS: &[Row] = &[partly("", "", "read by `meltemi analyze`", &[])];

/// The guide that a newcomer follows with processes of their own, done as it says.
const GUIDES: &str = "crates/meltemi/tests/guides.rs::guides_do_what_they_say";

pub(super) const PROCESS: &[Row] = &[
    works("command", "", "a local command with a sidecar", &[GUIDES]),
    works("ports", "", "the command finds them in its environment", &[GUIDES]),
    works("env", "", "", &[GUIDES]),
    works("service", "", "unset: its own name", &[GUIDES]),
    works("labels", "", "", &[GUIDES]),
    works(
        "replicas",
        "",
        "",
        &["crates/meltemi/src/mesh/plan/tests.rs::a_process_without_a_service_gets_one"],
    ),
];

/// A test of what the pilot makes of networks.
macro_rules! networks {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/networks.rs::", $name)
    };
}

/// What the pilot reads of the mesh's settings; everything else keeps its default.
pub(super) const MESH_CONFIG: &[Row] = &[
    works(
        "proxyListenPort, proxyInboundListenPort",
        "MC-001, MC-002",
        "",
        &[mesh!("the_ports_of_redirected_connections")],
    ),
    works(
        "connectTimeout, tcpKeepalive",
        "MC-004, MC-007",
        "",
        &[mesh!("connections_are_made_in_time_and_probed")],
    ),
    works(
        "protocolDetectionTimeout",
        "MC-006",
        "default 0: for ever",
        &[mesh!("bytes_that_tell_the_protocol_are_waited_for")],
    ),
    works(
        "accessLogFile, accessLogFormat, accessLogEncoding, disableEnvoyListenerLog",
        "MC-018…MC-022, MC-024",
        "",
        &[logs!("the_mesh_names_a_file_and_its_form"), logs!("listeners_log_what_no_chain_takes")],
    ),
    works(
        "defaultProviders.accessLogging, extensionProviders[].envoyFileAccessLog",
        "MC-086, MC-150…MC-154, MC-205, MC-206",
        "",
        &[
            logs!("the_meshs_file_and_default_providers_hold_where_nobody_says_more"),
            logs!("resources_name_providers"),
        ],
    ),
    works(
        "extensionProviders[].envoyHttpAls, envoyTcpAls, envoyOtelAls",
        "MC-087…MC-089, MC-155…MC-171",
        "the service must be reached without TLS; of filter state there is nothing to log",
        &[
            logs!("providers_become_envoys_loggers"),
            "crates/meltemi/tests/log_services.rs::services_get_the_same_from_both",
            "crates/meltemi/tests/log_services.rs::what_nobody_takes_is_dropped_and_counted",
        ],
    ),
    works(
        "proxyHttpPort",
        "MC-003",
        "",
        &["crates/pilot/tests/fields/sidecar.rs::the_mesh_may_have_an_http_proxy_at_every_sidecar"],
    ),
    works(
        "outboundTrafficPolicy.mode",
        "MC-026…MC-029, MC-031",
        "ALLOW_ANY_DYNAMIC_DNS: requests; other bytes go to where the client meant them",
        &[
            "crates/pilot/tests/fields/sidecar.rs::unknown_destinations_are_let_through_or_not",
            services!("allow_any_dynamic_dns_looks_up_unknown_hosts"),
        ],
    ),
    partly(
        "outboundTrafficPolicy.tls",
        "MC-030",
        "on Envoys; with ALLOW_ANY_DYNAMIC_DNS",
        &[services!("unknown_hosts_may_be_called_over_tls")],
    ),
    works(
        "inboundTrafficPolicy",
        "MC-032…MC-035",
        "",
        &[mesh!("the_workload_is_reached_at_the_address_asked_for_or_locally")],
    ),
    partly("trustDomain, rootNamespace", "MC-038, MC-048", "names only", &[]),
    works(
        "defaultServiceExportTo, defaultVirtualServiceExportTo, defaultDestinationRuleExportTo",
        "MC-045…MC-047",
        "",
        &[mesh!("resources_without_export_to_are_seen_as_the_mesh_says")],
    ),
    works(
        "discoverySelectors",
        "MC-207, MC-229…MC-233",
        "",
        &[
            call!("discovery-selectors", "a namespace by its labels"),
            mesh!("namespaces_come_and_go_by_their_labels"),
        ],
    ),
    works("localityLbSetting", "MC-049", "", &[mesh!("the_mesh_says_where_endpoints_are_preferred")]),
    works("dnsRefreshRate", "MC-051", "", &[mesh!("names_are_resolved_again")]),
    works("h2UpgradePolicy", "MC-052…MC-054", "", &[mesh!("http1_becomes_http2_where_the_mesh_says_so")]),
    works(
        "pathNormalization",
        "MC-208…MC-214",
        "",
        &[mesh!("paths_are_made_regular"), call!("mesh-settings", "slashes are merged")],
    ),
    works(
        "defaultHttpRetryPolicy, defaultInboundHttpRetryPolicy",
        "MC-215, MC-248",
        "",
        &[
            mesh!("routes_that_say_nothing_are_retried_as_the_mesh_says"),
            mesh!("routes_to_the_workload_are_retried_as_the_mesh_says"),
        ],
    ),
    works(
        "ingressControllerMode, ingressClass, ingressService, ingressSelector",
        "MC-008…MC-014",
        "",
        &[
            call!("ingress-modes", "no class in mode DEFAULT"),
            call!("ingress-modes", "the mesh's own class"),
            "crates/config/src/ingress.rs::classes_and_modes_decide_which_ingresses_count",
            "crates/pilot/tests/fields/ingress.rs::the_gateway_is_found_by_its_label",
        ],
    ),
    works("defaultTrafficPolicy", "MC-224…MC-226", "", &[mesh!("policies_under_all_rules")]),
    works(
        "inboundClusterStatName, outboundClusterStatName",
        "MC-055, MC-056",
        "of clusters",
        &[mesh!("clusters_are_called_by_a_pattern_in_statistics")],
    ),
    works(
        "zoneAwareLbSetting",
        "MC-050",
        "",
        &[call!("zones", "the mesh's word"), call!("zones", "fewer hosts than the mesh asks for")],
    ),
    works(
        "(MeshNetworks) networks{}.endpoints",
        "MN-001…MN-003, MN-009",
        "fromCidr, fromRegistry `Kubernetes` and `External`; given by `--mesh-networks`; proxies say theirs as ISTIO_META_NETWORK",
        &[
            networks!("the_network_of_an_endpoint_is_found_by_label_registry_and_address"),
            call!("networks", "the network by the range of addresses"),
        ],
    ),
    works(
        "(MeshNetworks) networks{}.gateways",
        "MN-004…MN-006, MN-008",
        "addresses, and Services by the addresses of their balancers; names of gateways are not looked up; Services labelled `topology.istio.io/network` are gateways too",
        &[
            networks!("endpoints_of_other_networks_are_behind_their_gateways"),
            networks!("services_are_gateways_at_the_addresses_of_their_balancers"),
            call!("networks", "all of another network"),
        ],
    ),
    works(
        "(MeshNetworks) networks{}.gateways[].locality",
        "MN-007",
        "means nothing, as in Istio: a gateway is where the endpoints behind it are",
        &[networks!("places_of_endpoints_stay_those_of_their_gateways")],
    ),
    not_yet(
        "(all others)",
        "MC-005, MC-015…MC-017, MC-023, MC-025, MC-036, MC-037, MC-039…MC-044, MC-057…MC-085, MC-090…MC-149, MC-172…MC-204, MC-216…MC-223, MC-227, MC-228, MC-234…MC-247, PC-001…PC-154",
        "read and checked; the defaults hold",
    ),
];

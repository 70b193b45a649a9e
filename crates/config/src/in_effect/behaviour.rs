//! What people rely on beyond single fields: names, order, visibility, reading.

use super::{Row, not_yet, partly, works};

pub(super) const ROWS: &[Row] = &[
    works(
        "API versions v1, v1beta1, v1alpha3 mean the same",
        "",
        "",
        &["crates/config/src/load/tests.rs::all_versions_mean_the_same"],
    ),
    works(
        "Kubernetes objects get an API server's defaults",
        "",
        "targetPort = port, protocol TCP, type ClusterIP",
        &["crates/config/src/load/tests.rs::services_get_an_api_servers_defaults"],
    ),
    works(
        "Unknown fields, wrong types and broken rules are refused, each with its place",
        "SEM-034",
        "the tables of Istio's validation as far as traffic goes",
        &["crates/config/tests/golden.rs::findings_are_as_written"],
    ),
    works(
        "`meltemi analyze`: Istio's analysis messages, each as published",
        "CTL-001",
        "those that files can show; list in docs/analyze.md",
        &[
            "crates/config/tests/analysis.rs::findings_are_as_written",
            "crates/config/tests/analysis.rs::every_message_is_shown",
            "crates/config/tests/analysis.rs::samples_have_no_findings",
        ],
    ),
    works(
        "A wrong resource is left out, the others stay",
        "",
        "",
        &[
            "crates/config/tests/golden.rs::findings_are_as_written",
            "crates/config/src/tree/tests.rs::a_syntax_error_costs_one_document",
        ],
    ),
    works(
        "Short names belong to the namespace of the resource",
        "SEM-001",
        "",
        &["crates/config/src/host/tests.rs::short_names_belong_to_the_namespace_of_the_object"],
    ),
    works(
        "Wildcard hosts: overlap and containment",
        "SEM-002",
        "",
        &[
            "crates/config/src/host/tests.rs::patterns_overlap_and_contain",
            "crates/config/src/host/tests.rs::patterns_agree_with_the_sets_they_mean",
        ],
    ),
    works(
        "The most specific host wins",
        "SEM-003",
        "",
        &["crates/config/src/host/tests.rs::the_most_specific_pattern_wins"],
    ),
    works(
        "Conflicts: the oldest wins, then by namespace and name",
        "SEM-004",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::the_oldest_of_two_for_one_host_wins"],
    ),
    works(
        "exportTo: `*`, `.`, `~`, namespaces",
        "SEM-005",
        "",
        &["crates/config/src/labels.rs::export_to_resolves_as_istio_does"],
    ),
    works(
        "`gateways` unset means `mesh`",
        "SEM-020",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::gateways_unset_means_mesh"],
    ),
    works(
        "Names of gateways resolve",
        "SEM-021",
        "",
        &["crates/pilot/src/snapshot/virtual_service.rs::gateway_names_resolve_as_istio_does"],
    ),
    works(
        "A route that takes everything ends the list; order is list order",
        "SEM-024, SEM-025",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::routes_keep_their_order_and_end_at_a_catch_all"],
    ),
    works(
        "Destination port: given, else the only one, else the listener's",
        "SEM-030",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::destinations_name_clusters"],
    ),
    works(
        "Unknown destination: 503 NC",
        "SEM-031",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::destinations_name_clusters"],
    ),
    works(
        "Delegates: conditions of both hold, the delegate's settings win, names are joined",
        "SEM-033",
        "",
        &["crates/pilot/tests/fields/rule.rs::a_rule_delegates_to_those_of_another_resource"],
    ),
    works(
        "Routes to the workload are retried twice before it read anything, never where gRPC is declared",
        "SEM-037",
        "",
        &["crates/pilot/tests/fields/rule.rs::routes_to_the_workload_are_retried_before_it_read_anything"],
    ),
    partly(
        "`retries: safe`: what is not idempotent is tried again only if the application cannot have seen it",
        "",
        "ours: annotation `meltemi.dev/retries: safe` of a VirtualService, or `MELTEMI_RETRIES: safe` in the mesh's \
         `defaultConfig.proxyMetadata`; told to proxies that know it",
        &["crates/pilot/tests/fields/rule.rs::careful_retries_for_proxies_that_know_them"],
    ),
    works(
        "Weights are relative; 0 beside others is dropped",
        "SEM-039",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::weights_are_relative_and_zero_is_left_out"],
    ),
    partly(
        "Route names in the access log",
        "SEM-041",
        "sent to proxies; see `%ROUTE_NAME%`",
        &["crates/pilot/tests/fields/virtual_service.rs::names_of_route_and_match_are_joined"],
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
        &["crates/pilot/tests/fields/gateway.rs::several_resources_for_one_host_merge"],
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
        "TLS passes gateways by server name",
        "SEM-175",
        "",
        &[
            "crates/pilot/tests/fields/gateway.rs::tls_passes_by_server_name",
            "crates/pilot/tests/fields/gateway.rs::auto_passthrough_goes_by_the_name_of_the_cluster",
        ],
    ),
    partly(
        "proxyHeaders and gatewayTopology: server, request ids, attempts, x-forwarded-client-cert, header case",
        "SEM-157, SEM-158",
        "metadataExchangeHeaders does nothing",
        &["crates/pilot/tests/fields/gateway.rs::headers_of_connections_are_as_configured"],
    ),
    works(
        "DestinationRules of one host merge; subsets override by block, ports replace",
        "SEM-051, SEM-054, SEM-055",
        "",
        &[
            "crates/pilot/tests/fields/destination_rule.rs::rules_of_one_host_merge",
            "crates/pilot/tests/fields/destination_rule.rs::subsets_select_by_label_and_override_by_block",
            "crates/pilot/tests/fields/destination_rule.rs::settings_of_a_port_replace_the_others",
        ],
    ),
    works(
        "Locality: outlier detection turns failover on; distribute leaves out what it does not name",
        "SEM-064, SEM-065, SEM-067",
        "trafficDistribution and zone-aware settings do not matter yet (SEM-066)",
        &[
            "crates/pilot/tests/fields/upstream.rs::outlier_detection_turns_failover_by_locality_on",
            "crates/pilot/tests/fields/upstream.rs::localities_get_the_shares_that_are_distributed",
            "crates/pilot/tests/fields/upstream.rs::failover_by_labels",
        ],
    ),
    works(
        "The mesh's defaultTrafficPolicy fills blocks that no rule gives",
        "SEM-057",
        "",
        &["crates/pilot/tests/fields/upstream.rs::the_meshs_policy_fills_blocks_that_no_rule_gives"],
    ),
    works(
        "Default balancing is LEAST_REQUEST; limits default to none",
        "SEM-059, SEM-062",
        "",
        &[
            "crates/pilot/tests/fields/destination_rule.rs::simple_balancers",
            "crates/pilot/tests/fields/destination_rule.rs::connection_pools",
        ],
    ),
    works(
        "REGISTRY_ONLY and ALLOW_ANY",
        "SEM-136",
        "",
        &["crates/pilot/tests/fields/sidecar.rs::unknown_destinations_are_let_through_or_not"],
    ),
    works(
        "Hosts of Sidecar egress are `namespace/dnsName`",
        "SEM-137",
        "",
        &["crates/config/src/validate/names.rs::scoped_hosts"],
    ),
    works(
        "Protocol by appProtocol, by port name, by number",
        "SEM-140",
        "",
        &["crates/config/src/port.rs::service_ports_get_their_protocol"],
    ),
    works(
        "Undeclared ports are looked at; HTTP and TCP on one port are told apart; Mongo and MySQL share with nobody",
        "SEM-141, SEM-142, SEM-143",
        "",
        &[
            "crates/pilot/tests/fields/bytes.rs::undeclared_ports_are_looked_at",
            "crates/pilot/tests/fields/bytes.rs::http_and_bytes_share_a_port_by_looking",
            "crates/pilot/tests/fields/bytes.rs::where_the_server_speaks_first_nothing_is_looked_at",
        ],
    ),
    works(
        "Detection listens to both sides: a server that speaks first on an undeclared port is heard at once",
        "SEM-144",
        "Istio waits for protocolDetectionTimeout, by default for ever; \
         logs say what was found as `%FILTER_STATE(meltemi.detected_protocol)%`",
        &[
            "crates/proxy/src/worker/tests.rs::a_server_that_speaks_first_is_heard_at_once_and_a_client_keeps_its_choice",
            "crates/proxy/src/worker/tests.rs::a_client_that_speaks_first_chooses_and_costs_one_early_connection_at_most",
        ],
    ),
    works(
        "TCP and TLS rules: the first that holds; of two alike the first",
        "SEM-029, SEM-043",
        "",
        &[
            "crates/pilot/tests/fields/bytes.rs::tls_rules_go_by_server_name",
            "crates/pilot/tests/fields/bytes.rs::tcp_rules_go_by_subnet_port_and_source",
        ],
    ),
    works(
        "Headless services: listeners of single endpoints, names of single endpoints",
        "SEM-146",
        "",
        &[
            "crates/pilot/tests/fields/bytes.rs::headless_services_have_a_listener_for_each_endpoint_but_the_own_one",
            "crates/pilot/tests/fields/services.rs::clients_of_headless_services_pick_endpoints",
        ],
    ),
    works(
        "A service without address listens everywhere; ranges are conditions; addresses are given to entries that have none",
        "SEM-152",
        "",
        &[
            "crates/pilot/tests/fields/bytes.rs::ranges_share_a_listener_on_all_addresses",
            "crates/pilot/tests/fields/services.rs::entries_without_addresses_are_given_some",
        ],
    ),
    works(
        "Names under which a service is found (virtual host domains); ExternalName Services are more of them",
        "SEM-145, SEM-147",
        "chains are followed, loops are nobody; without a service for the name in the end the host is unknown",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::services_are_found_by_all_their_names",
            "crates/pilot/tests/fields/services.rs::an_external_name_is_another_name_of_a_service",
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
    works(
        "A VirtualService for a host that no service has counts on port 80; a pattern, where it covers no service",
        "SEM-028",
        "",
        &["crates/pilot/tests/fields/services.rs::a_pattern_of_a_rule_is_for_the_services_below_it_alone"],
    ),
    works(
        "Of VirtualServices for patterns the most specific holds for a service",
        "SEM-027",
        "",
        &[
            "crates/pilot/tests/fields/virtual_service.rs::the_most_specific_pattern_alone_is_for_a_service",
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
    works(
        "Of several Services with one port of a workload the oldest says what is spoken there",
        "SEM-148",
        "",
        &["crates/pilot/tests/fields/services.rs::of_services_with_one_port_the_oldest_says_what_is_spoken"],
    ),
    works(
        "To the workload: the address that the client meant, or localhost, from 127.0.0.6 or ::6",
        "SEM-149",
        "",
        &["crates/pilot/tests/fields/services.rs::traffic_comes_in_to_the_address_that_clients_meant"],
    ),
    works(
        "Calls to oneself go out and come back in; the proxy's own ports lead nowhere",
        "SEM-150, SEM-159",
        "",
        &[
            "crates/pilot/tests/fields/services.rs::calls_to_itself_go_out_and_come_back_in",
            "crates/pilot/tests/fields/services.rs::ports_of_the_proxy_itself_are_not_listened_at",
        ],
    ),
    works(
        "ServiceEntry's resolutions",
        "SEM-151",
        "",
        &[
            "crates/pilot/tests/fields/service_entry.rs::resolutions",
            "crates/pilot/tests/fields/services.rs::dynamic_dns_looks_up_what_clients_ask_for",
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
    works(
        "Services select WorkloadEntries, ServiceEntries select Pods",
        "SEM-153",
        "",
        &["crates/pilot/tests/fields/services.rs::services_and_entries_select_each_others_workloads"],
    ),
    works(
        "Endpoints that are not ready are sent as such and get nothing",
        "SEM-154",
        "",
        &[
            "crates/pilot/tests/fields/services.rs::slices_say_which_endpoints_there_are_and_how_they_are",
            "crates/pilot/tests/fields/services.rs::endpoints_that_are_not_ready_are_sent_as_the_switches_say",
        ],
    ),
    works(
        "internalTrafficPolicy: Local; subsets filter endpoints",
        "SEM-155",
        "",
        &["crates/pilot/tests/fields/services.rs::internal_traffic_policy_local_keeps_to_the_clients_node"],
    ),
    works(
        "Locality: of the workload's label, else of its Node",
        "SEM-156",
        "",
        &["crates/pilot/tests/fields/services.rs::localities_are_the_workloads_own_or_their_nodes"],
    ),
    works(
        "Who sees a Service: the annotation `networking.istio.io/exportTo`",
        "SEM-006",
        "",
        &["crates/pilot/tests/fields/services.rs::services_say_who_sees_them"],
    ),
    works(
        "istiod's switches in the environment of the control plane, of `translate` and of `analyze`",
        "ENV-006, ENV-007, ENV-043, ENV-044, ENV-058, ENV-059, ENV-073, ENV-135, ENV-136, ENV-146",
        "the others have their defaults",
        &[
            "crates/pilot/tests/fields/switches.rs::gateways_may_be_for_proxies_of_their_own_namespace_only",
            "crates/pilot/tests/fields/switches.rs::selectors_may_leave_out_the_other_kind_of_workload",
            "crates/pilot/tests/fields/switches.rs::http10_and_the_clients_address_at_sidecars",
        ],
    ),
    partly(
        "Built-in retries (2 attempts) where a route says nothing",
        "SEM-036",
        "",
        &["crates/pilot/tests/fields/virtual_service.rs::retries"],
    ),
    not_yet("Auto mTLS, PERMISSIVE, STRICT", "SEM-080…SEM-093", "traffic is in the clear"),
    not_yet("Authorization and tokens", "SEM-100…SEM-119", "nothing is denied"),
];

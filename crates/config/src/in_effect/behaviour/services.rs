//! Services, endpoints and what is spoken with them. Part of [`super::ROWS`], in its order.

use super::super::{Row, works};

pub(super) const ROWS: &[Row] = &[
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
        &[
            "crates/pilot/tests/fields/sidecar.rs::unknown_destinations_are_let_through_or_not",
            call!("hosts", "nobody's host"),
        ],
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
            call!("bytes-corners", "a server name that two rules have is the first's"),
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
];

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
        "`meltemi explain`: what would happen to one request or connection and why, down to file and line",
        "",
        "docs/explain.md; of files, a running proxy (Envoys too) or a saved config dump",
        &[
            "crates/meltemi/tests/explain.rs::whatever_the_gateway_answers_itself_is_foretold",
            "crates/meltemi/tests/live.rs::a_running_mesh_can_be_asked",
            "crates/meltemi/tests/routing.rs::three_ways_agree",
        ],
    ),
    works(
        "Answers of the proxy's own name the resource at fault",
        "",
        "`%LOCAL_REPLY_REASON%`, and on request a response header (`MELTEMI_REASON_HEADER`); Meltemi's proxies only",
        &[
            "crates/meltemi/tests/routing.rs::three_ways_agree",
            "crates/proxy/src/http/tests/reasons.rs::each_way_to_fail_has_a_reason",
            "crates/meltemi/tests/live.rs::a_running_mesh_can_be_asked",
        ],
    ),
    works(
        "`meltemi proxy-config`: a proxy's clusters, listeners, routes, endpoints, bootstrap, log levels",
        "CTL-004, CTL-005",
        "istioctl's tables and filters; of secrets the names",
        &["crates/meltemi/tests/live.rs::a_running_mesh_can_be_asked"],
    ),
    partly(
        "`meltemi proxy-status`",
        "CTL-003",
        "no comparison of a proxy's configuration with the control plane's",
        &["crates/meltemi/tests/live.rs::a_running_mesh_can_be_asked"],
    ),
    partly(
        "`meltemi describe`: what applies to a workload or a service",
        "CTL-016",
        "mutual TLS and authorization come with identity",
        &["crates/meltemi/tests/describe.rs::what_applies_is_listed_with_its_places"],
    ),
    works(
        "`meltemi completion`: bash, zsh, fish",
        "CTL-022",
        "",
        &["crates/meltemi/tests/command_line.rs::completions_know_every_command"],
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
    partly(
        "Operators of log formats",
        "LOG-006",
        "those that are not known are refused by name; CEL is not",
        &[
            "crates/proxy/src/access_log/tests.rs::operators_and_their_arguments",
            "crates/proxy/src/access_log/tests.rs::what_is_unknown_is_refused_by_name",
        ],
    ),
];

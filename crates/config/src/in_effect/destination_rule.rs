//! DestinationRule.

use super::{Row, not_yet, partly, works};

/// A test of what the pilot makes of fields.
macro_rules! test {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/destination_rule.rs::", $name)
    };
}

/// The same for what concerns endpoints and connections to them.
macro_rules! upstream {
    ($name:literal) => {
        concat!("crates/pilot/tests/fields/upstream.rs::", $name)
    };
}

pub(super) const ROWS: &[Row] = &[
    works(
        "host",
        "DR-001",
        "short names belong to the namespace of the rule; wildcards; the most specific wins",
        &[test!("host_and_namespace_choose_the_rule"), test!("wildcards_hold_and_the_most_specific_wins")],
    ),
    works("exportTo", "DR-004", "", &[test!("export_to_hides_from_other_namespaces")]),
    works("workloadSelector", "DR-005", "", &[test!("a_workload_selector_bounds_the_clients")]),
    works(
        "subsets",
        "DR-003, DR-028",
        "rules of one host merge; the first subset of a name holds",
        &[test!("subsets_select_by_label_and_override_by_block"), test!("rules_of_one_host_merge")],
    ),
    works(
        "subsets[].labels",
        "DR-029",
        "",
        &[
            test!("subsets_select_by_label_and_override_by_block"),
            "crates/meltemi/tests/bookinfo.rs::meltemis_proxies_meet_the_expectations",
        ],
    ),
    works(
        "subsets[].trafficPolicy",
        "DR-030",
        "replaces the rule's, block by block",
        &[test!("subsets_select_by_label_and_override_by_block")],
    ),
    works("trafficPolicy", "DR-002", "", &[test!("subsets_select_by_label_and_override_by_block")]),
    works(
        "trafficPolicy.loadBalancer",
        "DR-006, DR-051",
        "default LEAST_REQUEST",
        &[test!("simple_balancers")],
    ),
    works("trafficPolicy.loadBalancer.simple=ROUND_ROBIN", "DR-034", "", &[test!("simple_balancers")]),
    works(
        "trafficPolicy.loadBalancer.simple=LEAST_REQUEST",
        "DR-031, DR-035",
        "of two; LEAST_CONN is the same",
        &[test!("simple_balancers")],
    ),
    works("trafficPolicy.loadBalancer.simple=RANDOM", "DR-032", "", &[test!("simple_balancers")]),
    works(
        "trafficPolicy.loadBalancer.simple=PASSTHROUGH",
        "DR-033",
        "the address the client asked for",
        &[test!("simple_balancers")],
    ),
    works("trafficPolicy.connectionPool", "DR-007, DR-082, DR-083", "", &[test!("connection_pools")]),
    works(
        "trafficPolicy.connectionPool.tcp.maxConnections",
        "DR-063",
        "requests wait for a connection, in order",
        &[test!("connection_pools"), "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits"],
    ),
    works(
        "trafficPolicy.connectionPool.tcp.connectTimeout",
        "DR-064",
        "default 10s",
        &[test!("connection_pools")],
    ),
    works(
        "trafficPolicy.connectionPool.tcp.tcpKeepalive",
        "DR-060…DR-062, DR-065",
        "",
        &[test!("connection_pools")],
    ),
    works(
        "trafficPolicy.connectionPool.tcp.maxConnectionDuration",
        "DR-066",
        "",
        &[test!("connection_pool_of_http")],
    ),
    works("trafficPolicy.connectionPool.tcp.idleTimeout", "DR-067", "", &[test!("connection_pool_of_http")]),
    works(
        "trafficPolicy.connectionPool.http.http1MaxPendingRequests",
        "DR-068",
        "",
        &[test!("connection_pools"), "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits"],
    ),
    works("trafficPolicy.connectionPool.http.http2MaxRequests", "DR-069", "", &[test!("connection_pools")]),
    works(
        "trafficPolicy.connectionPool.http.maxRequestsPerConnection",
        "DR-070",
        "",
        &[test!("connection_pool_of_http"), "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits"],
    ),
    works(
        "trafficPolicy.connectionPool.http.maxRetries",
        "DR-071",
        "",
        &[test!("connection_pools"), "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits"],
    ),
    works("trafficPolicy.connectionPool.http.idleTimeout", "DR-072", "", &[test!("connection_pool_of_http")]),
    works(
        "trafficPolicy.connectionPool.http.h2UpgradePolicy",
        "DR-073…DR-076",
        "",
        &[test!("connection_pool_of_http")],
    ),
    works(
        "trafficPolicy.connectionPool.http.useClientProtocol",
        "DR-077",
        "",
        &[test!("connection_pool_of_http")],
    ),
    works(
        "trafficPolicy.connectionPool.http.maxConcurrentStreams",
        "DR-078",
        "",
        &[test!("connection_pool_of_http")],
    ),
    works(
        "trafficPolicy.portLevelSettings",
        "DR-010…DR-015",
        "",
        &[test!("settings_of_a_port_replace_the_others")],
    ),
    works(
        "trafficPolicy.loadBalancer.consistentHash",
        "DR-036…DR-050, DR-052",
        "header, cookie, client, query parameter; ring of 1024 or Maglev of 65537",
        &[test!("hashes_pick_endpoints")],
    ),
    works(
        "trafficPolicy.loadBalancer.localityLbSetting",
        "DR-053, DR-107…DR-114",
        "priorities with outlierDetection only; the mesh's where the rule says nothing",
        &[
            upstream!("outlier_detection_turns_failover_by_locality_on"),
            upstream!("localities_get_the_shares_that_are_distributed"),
            upstream!("failover_by_labels"),
        ],
    ),
    works(
        "trafficPolicy.loadBalancer.zoneAwareLbSetting",
        "DR-054, DR-115…DR-120",
        "the zone is what the workload's labels (topology.istio.io/locality, topology.kubernetes.io/zone) or the agent's --locality say; of several Services of the workload the oldest counts; without zone or Service all zones are alike, as in Istio",
        &[
            call!("zones", "half of the hosts for two thirds of the clients"),
            call!("zones", "half of the hosts for a third of the clients"),
            call!("zones", "zones that the rule says do not count"),
            test!("zones_are_preferred_by_the_proxy_itself"),
        ],
    ),
    works(
        "trafficPolicy.loadBalancer.warmupDurationSecs",
        "DR-055",
        "",
        &[upstream!("new_endpoints_warm_up")],
    ),
    works("trafficPolicy.loadBalancer.warmup", "DR-056…DR-059", "", &[upstream!("new_endpoints_warm_up")]),
    not_yet("trafficPolicy.loadBalancer.backendUtilization", "DR-121", "reported use does not matter"),
    works(
        "trafficPolicy.connectionPool.http.http2KeepAlive",
        "DR-079…DR-081",
        "",
        &[
            upstream!("http2_connections_are_probed"),
            "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits",
        ],
    ),
    works(
        "trafficPolicy.outlierDetection",
        "DR-008, DR-085…DR-092",
        "",
        &[test!("outlier_detection"), "crates/meltemi/tests/routing.rs::three_ways_agree"],
    ),
    not_yet("trafficPolicy.outlierDetection.consecutiveErrors", "DR-084", "removed by Istio"),
    not_yet(
        "trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
        "DR-093",
        "5xx count, whatever the list says",
    ),
    partly(
        "trafficPolicy.tls",
        "DR-009, DR-094…DR-106",
        "on Envoys; Meltemi's proxy refuses the cluster, so that nothing goes in the clear",
        &[
            upstream!("tls_with_files_and_with_the_meshs_own"),
            upstream!("tls_with_a_credential_is_for_gateways_and_selected_sidecars"),
        ],
    ),
    works(
        "trafficPolicy.tunnel",
        "DR-016…DR-019",
        "of bytes only, as in Istio",
        &[
            "crates/pilot/tests/fields/bytes.rs::connections_follow_the_rule_of_their_service",
            "crates/meltemi/tests/conversations.rs::meltemi_holds_every_conversation",
        ],
    ),
    works(
        "trafficPolicy.proxyProtocol",
        "DR-020…DR-023",
        "",
        &[
            upstream!("the_proxy_protocol_wraps_connections"),
            "crates/meltemi/tests/conversations.rs::meltemi_holds_every_conversation",
        ],
    ),
    works(
        "trafficPolicy.retryBudget",
        "DR-024…DR-027",
        "",
        &[
            upstream!("retry_budgets"),
            "crates/meltemi/tests/routing.rs::three_ways_agree",
            "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits",
        ],
    ),
    works(
        "trafficPolicy.portLevelSettings[].loadBalancer.consistentHash",
        "DR-036…DR-050, DR-052",
        "header, cookie, client, query parameter; ring of 1024 or Maglev of 65537",
        &[test!("hashes_pick_endpoints")],
    ),
    works(
        "trafficPolicy.portLevelSettings[].loadBalancer.localityLbSetting",
        "DR-053, DR-107…DR-114",
        "priorities with outlierDetection only; the mesh's where the rule says nothing",
        &[
            upstream!("outlier_detection_turns_failover_by_locality_on"),
            upstream!("localities_get_the_shares_that_are_distributed"),
            upstream!("failover_by_labels"),
        ],
    ),
    works(
        "trafficPolicy.portLevelSettings[].loadBalancer.zoneAwareLbSetting",
        "DR-054, DR-115…DR-120",
        "",
        &[call!("zones", "of one port")],
    ),
    works(
        "trafficPolicy.portLevelSettings[].loadBalancer.warmupDurationSecs",
        "DR-055",
        "",
        &[upstream!("new_endpoints_warm_up")],
    ),
    works(
        "trafficPolicy.portLevelSettings[].loadBalancer.warmup",
        "DR-056…DR-059",
        "",
        &[upstream!("new_endpoints_warm_up")],
    ),
    not_yet(
        "trafficPolicy.portLevelSettings[].loadBalancer.backendUtilization",
        "DR-121",
        "reported use does not matter",
    ),
    works(
        "trafficPolicy.portLevelSettings[].connectionPool.http.http2KeepAlive",
        "DR-079…DR-081",
        "",
        &[
            upstream!("http2_connections_are_probed"),
            "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits",
        ],
    ),
    works(
        "trafficPolicy.portLevelSettings[].outlierDetection",
        "DR-008, DR-085…DR-092",
        "",
        &[test!("outlier_detection"), "crates/meltemi/tests/routing.rs::three_ways_agree"],
    ),
    not_yet(
        "trafficPolicy.portLevelSettings[].outlierDetection.consecutiveErrors",
        "DR-084",
        "removed by Istio",
    ),
    not_yet(
        "trafficPolicy.portLevelSettings[].outlierDetection.outlierDetectionHttpErrorCodes",
        "DR-093",
        "5xx count, whatever the list says",
    ),
    partly(
        "trafficPolicy.portLevelSettings[].tls",
        "DR-009, DR-094…DR-106",
        "on Envoys; Meltemi's proxy refuses the cluster, so that nothing goes in the clear",
        &[
            upstream!("tls_with_files_and_with_the_meshs_own"),
            upstream!("tls_with_a_credential_is_for_gateways_and_selected_sidecars"),
        ],
    ),
    works(
        "subsets[].trafficPolicy.loadBalancer.consistentHash",
        "DR-036…DR-050, DR-052",
        "header, cookie, client, query parameter; ring of 1024 or Maglev of 65537",
        &[test!("hashes_pick_endpoints")],
    ),
    works(
        "subsets[].trafficPolicy.loadBalancer.localityLbSetting",
        "DR-053, DR-107…DR-114",
        "priorities with outlierDetection only; the mesh's where the rule says nothing",
        &[
            upstream!("outlier_detection_turns_failover_by_locality_on"),
            upstream!("localities_get_the_shares_that_are_distributed"),
            upstream!("failover_by_labels"),
        ],
    ),
    works(
        "subsets[].trafficPolicy.loadBalancer.zoneAwareLbSetting",
        "DR-054, DR-115…DR-120",
        "",
        &[call!("zones", "of a subset")],
    ),
    works(
        "subsets[].trafficPolicy.loadBalancer.warmupDurationSecs",
        "DR-055",
        "",
        &[upstream!("new_endpoints_warm_up")],
    ),
    works(
        "subsets[].trafficPolicy.loadBalancer.warmup",
        "DR-056…DR-059",
        "",
        &[upstream!("new_endpoints_warm_up")],
    ),
    not_yet(
        "subsets[].trafficPolicy.loadBalancer.backendUtilization",
        "DR-121",
        "reported use does not matter",
    ),
    works(
        "subsets[].trafficPolicy.connectionPool.http.http2KeepAlive",
        "DR-079…DR-081",
        "",
        &[
            upstream!("http2_connections_are_probed"),
            "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits",
        ],
    ),
    works(
        "subsets[].trafficPolicy.outlierDetection",
        "DR-008, DR-085…DR-092",
        "",
        &[test!("outlier_detection"), "crates/meltemi/tests/routing.rs::three_ways_agree"],
    ),
    not_yet("subsets[].trafficPolicy.outlierDetection.consecutiveErrors", "DR-084", "removed by Istio"),
    not_yet(
        "subsets[].trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
        "DR-093",
        "5xx count, whatever the list says",
    ),
    partly(
        "subsets[].trafficPolicy.tls",
        "DR-009, DR-094…DR-106",
        "on Envoys; Meltemi's proxy refuses the cluster, so that nothing goes in the clear",
        &[
            upstream!("tls_with_files_and_with_the_meshs_own"),
            upstream!("tls_with_a_credential_is_for_gateways_and_selected_sidecars"),
        ],
    ),
    works(
        "subsets[].trafficPolicy.tunnel",
        "DR-016…DR-019",
        "of bytes only, as in Istio",
        &[
            "crates/pilot/tests/fields/bytes.rs::connections_follow_the_rule_of_their_service",
            "crates/meltemi/tests/conversations.rs::meltemi_holds_every_conversation",
        ],
    ),
    works(
        "subsets[].trafficPolicy.proxyProtocol",
        "DR-020…DR-023",
        "",
        &[
            upstream!("the_proxy_protocol_wraps_connections"),
            "crates/meltemi/tests/conversations.rs::meltemi_holds_every_conversation",
        ],
    ),
    works(
        "subsets[].trafficPolicy.retryBudget",
        "DR-024…DR-027",
        "",
        &[
            upstream!("retry_budgets"),
            "crates/meltemi/tests/routing.rs::three_ways_agree",
            "crates/meltemi/tests/limits.rs::meltemi_keeps_to_its_limits",
        ],
    ),
];

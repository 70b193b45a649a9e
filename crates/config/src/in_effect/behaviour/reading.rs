//! Reading resources, and the commands that tell about them. Part of [`super::ROWS`], in its order.

use super::super::{Row, partly, works};

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
];

//! Rules for connections: TLS and TCP. Part of [`super::ROWS`], in its order.

use super::super::{Row, not_yet, works};

pub(super) const ROWS: &[Row] = &[
    works(
        "tls",
        "VS-004, VS-033, VS-034, VS-067",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("connections", "by server name"),
            call!("connections", "passed through by server name"),
        ],
    ),
    works(
        "tls[].match[].sniHosts",
        "VS-062",
        "names and `*.name`; two alike: the first",
        &[
            bytes!("tls_rules_go_by_server_name"),
            "crates/pilot/tests/fields/gateway.rs::tls_passes_by_server_name",
            call!("connections", "by a server name two labels below"),
            call!("bytes-corners", "a server name that two rules have is the first's"),
            call!("bytes-corners", "the closer wildcard"),
        ],
    ),
    works(
        "tls[].match[].destinationSubnets",
        "VS-063",
        "",
        &[bytes!("tls_rules_go_by_server_name"), call!("bytes-corners", "subnets are not asked at gateways")],
    ),
    works(
        "tls[].match[].port",
        "VS-064",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
        ],
    ),
    works(
        "tls[].match[].sourceLabels",
        "VS-065",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
        ],
    ),
    works(
        "tls[].match[].gateways",
        "VS-066",
        "",
        &[
            bytes!("tls_rules_go_by_server_name"),
            call!("bytes-corners", "rules for other ports and clients are passed over"),
        ],
    ),
    works(
        "tcp",
        "VS-005, VS-035, VS-036, VS-057, VS-059, VS-060, VS-061",
        "the first rule whose conditions hold",
        &[
            test!("tcp_routes_to_weighted_destinations"),
            bytes!("tcp_rules_go_by_subnet_port_and_source"),
            call!("bytes-corners", "the first rule whose conditions hold"),
        ],
    ),
    works(
        "tcp[].route",
        "VS-054, VS-055",
        "",
        &[bytes!("tcp_rules_go_by_subnet_port_and_source"), call!("connections", "weights of connections")],
    ),
    works(
        "tcp[].match[].destinationSubnets",
        "VS-056",
        "",
        &[
            bytes!("tcp_rules_go_by_subnet_port_and_source"),
            call!("bytes-corners", "the first rule whose conditions hold"),
        ],
    ),
    not_yet("tcp[].match[].sourceSubnet", "VS-058", "never implemented by Istio: holds for all clients"),
];

//! Gateway.

use super::{Row, not_yet, works};

pub(super) const ROWS: &[Row] = &[
    works("selector", "GW-002", "proxies of any namespace", &[]),
    works("servers", "GW-001, GW-003", "", &[]),
    works("servers[].port.number", "GW-009", "", &[]),
    works("servers[].port.protocol=HTTP", "GW-010", "HTTP, HTTP2, GRPC", &[]),
    not_yet("servers[].port.protocol=HTTPS", "GW-010", "the server is not opened"),
    not_yet("servers[].port.protocol=TLS", "GW-010", "the server is not opened"),
    not_yet("servers[].port.protocol=TCP", "GW-010", "the server is not opened"),
    not_yet("servers[].port.protocol=MONGO", "GW-010", "the server is not opened"),
    works("servers[].port.name", "GW-011", "", &[]),
    not_yet("servers[].port.targetPort", "GW-012", "deprecated: the port of the Service is found by number"),
    not_yet("servers[].bind", "GW-004", "the server listens at all addresses"),
    works(
        "servers[].hosts",
        "GW-005",
        "`ns/host`, `./host`, wildcards; bounds the VirtualServices that are served",
        &[],
    ),
    works("servers[].name", "GW-008", "for people only, as in Istio", &[]),
    not_yet("servers[].tls", "GW-006, GW-013…GW-044", "TLS is not opened, http is not redirected to https"),
    not_yet("servers[].defaultEndpoint", "GW-007", "never implemented by Istio"),
];

//! ServiceEntry, WorkloadEntry, WorkloadGroup.

use super::{Row, not_yet, partly, works};

pub(super) const ROWS: &[Row] = &[
    works("hosts", "SE-001", "", &[]),
    works("addresses", "SE-002", "virtual addresses; none are allocated by themselves yet", &[]),
    works("ports", "SE-003, SE-017, SE-019", "", &[]),
    works("ports[].protocol", "SE-018", "empty: found out by looking", &[]),
    works("ports[].targetPort", "SE-020", "", &[]),
    partly("location", "SE-004, SE-005, SE-006", "makes no difference until there is mutual TLS", &[]),
    works("resolution=NONE", "SE-007, SE-012", "the address the client asked for", &[]),
    works("resolution=STATIC", "SE-008", "", &[]),
    works("resolution=DNS", "SE-009", "all addresses of the name", &[]),
    works("resolution=DNS_ROUND_ROBIN", "SE-010", "one address at a time", &[]),
    not_yet("resolution=DYNAMIC_DNS", "SE-011", "requests get no endpoint"),
    works("endpoints", "SE-013", "as WorkloadEntry below", &[]),
    works("workloadSelector", "SE-014", "Pods and WorkloadEntries of the namespace", &[]),
    works("exportTo", "SE-015", "", &[]),
    not_yet("(status)", "SE-021…SE-026", "nothing is written into the status"),
    not_yet("subjectAltNames", "SE-016", "names of certificates are not checked"),
];

pub(super) const WORKLOAD_ENTRY: &[Row] = &[
    works("address", "WE-001", "address or name; Unix sockets not yet", &[]),
    works("ports", "WE-002", "", &[]),
    works("labels", "WE-003", "those of the metadata win", &[]),
    not_yet("network", "WE-004", "all endpoints are taken to be in one network"),
    partly("locality", "WE-005", "sent to proxies; balancing does not look at it", &[]),
    works("weight", "WE-006", "", &[]),
    partly("serviceAccount", "WE-007", "no part in identity until there is mutual TLS", &[]),
];

pub(super) const WORKLOAD_GROUP: &[Row] =
    &[not_yet("", "WG-001…WG-026", "workloads do not register themselves; write WorkloadEntries")];

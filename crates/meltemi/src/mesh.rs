//! A mesh of local processes: what `meltemi up` and `meltemi demo` run.
//!
//! [`plan`] says, from the user's files, which workloads there are and where each listens ([`addresses`]);
//! [`resources`] says the same to the control plane in mesh resources; [`run`] starts, watches and ends it all.
//!
//! Invariant: the user's files are read and never written; what is generated lives in a folder of the run.

pub(crate) mod addresses;
pub(crate) mod folder;
pub(crate) mod plan;
pub(crate) mod resources;
pub(crate) mod run;
pub(crate) mod workload;

/// Namespace of the gateways that a mesh gets by itself, and of mesh-wide resources: Istio's root namespace.
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";

/// Domain of service names.
pub(crate) const DOMAIN: &str = "cluster.local";

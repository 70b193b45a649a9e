//! A mesh of local processes: what `meltemi up` and `meltemi demo` run.
//!
//! [`plan`] says, from the user's files, which workloads there are and where each listens ([`seats`], [`addresses`]);
//! [`resources`] says the same to the control plane in mesh resources; [`start`] starts one thing; [`run`] does it all, again
//! whenever [`files`] says that the user's files have changed.
//!
//! Invariant: the user's files are read and never written; what is generated lives in a folder of the run.

pub(crate) mod addresses;
mod files;
pub(crate) mod folder;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod resources;
pub(crate) mod run;
mod seats;
mod start;
pub(crate) mod workload;

/// Namespace of the gateways that a mesh gets by itself, and of mesh-wide resources: Istio's root namespace.
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";

/// Domain of service names.
pub(crate) const DOMAIN: &str = "cluster.local";

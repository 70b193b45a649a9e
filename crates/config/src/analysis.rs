//! Findings across resources: what each one says is legal, and together they do not do what was meant. Used by `meltemi
//! analyze`.
//!
//! An analyzer is a pure function over [`Mesh`], an immutable view of everything that was read; the table [`ANALYZERS`] lists
//! them, [`messages`] what they say. None may panic, whatever was read.

use crate::mesh::MeshConfig;
use crate::{Diagnostic, Loaded, Object, Severity, Str};

mod annotations;
mod authorization;
mod conditions;
mod defaults;
mod deployments;
mod deprecations;
mod destination_rules;
mod destinations;
mod envoy_filters;
pub(crate) mod evidence;
mod external_control_plane;
mod gateway_api;
mod gateways;
mod index;
mod ingresses;
mod injection;
mod jwt;
mod mesh_networks;
pub mod messages;
mod mtls;
mod regexes;
mod report;
mod retries;
mod scopes;
mod service_entries;
mod service_ports;
mod sidecars;
mod suppress;
mod telemetry;
mod view;
mod virtual_services;
mod webhooks;
mod workloads;

use messages::Message;
use report::Report;
use view::Mesh;

/// What the mesh is set to, besides its resources.
#[derive(Debug, Clone)]
pub struct Settings {
    /// MeshConfig.
    pub mesh: MeshConfig,
    /// MeshNetworks, as an object with places.
    pub networks: Option<Object>,
    /// Namespace whose resources hold everywhere.
    pub root_namespace: Str,
    /// Whether to assume what a cluster has by default: an ingress gateway with its Service.
    pub defaults: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            mesh: MeshConfig::default(),
            networks: None,
            root_namespace: "istio-system".into(),
            defaults: true,
        }
    }
}

/// An analyzer, as the table lists it.
pub struct Analyzer {
    /// Name.
    pub name: &'static str,
    /// What it looks at.
    pub about: &'static str,
    /// What it may say.
    pub says: &'static [&'static Message],
    run: fn(&Mesh<'_>, &mut Report),
}

/// All analyzers.
pub const ANALYZERS: &[Analyzer] = &[
    annotations::ANALYZER,
    authorization::ANALYZER,
    conditions::ANALYZER,
    deployments::ANALYZER,
    deprecations::ANALYZER,
    destination_rules::ANALYZER,
    destinations::ANALYZER,
    envoy_filters::ANALYZER,
    external_control_plane::ANALYZER,
    gateway_api::ANALYZER,
    gateways::ANALYZER,
    ingresses::ANALYZER,
    injection::ANALYZER,
    jwt::ANALYZER,
    mesh_networks::ANALYZER,
    mtls::ANALYZER,
    regexes::ANALYZER,
    retries::ANALYZER,
    scopes::ANALYZER,
    service_entries::ANALYZER,
    service_ports::ANALYZER,
    sidecars::ANALYZER,
    telemetry::ANALYZER,
    virtual_services::ANALYZER,
    webhooks::ANALYZER,
];

/// All findings: those of reading (faults of syntax, schema and single resources) and those across resources, sorted.
/// Fields without effect yet are left to `validate`. Suppressed findings are left out.
pub fn analyze(loaded: &Loaded, settings: &Settings) -> Vec<Diagnostic> {
    measured(loaded, settings).0
}

/// The same, and how many things were looked at for it: what must grow with the mesh and not with its square.
pub fn measured(loaded: &Loaded, settings: &Settings) -> (Vec<Diagnostic>, u64) {
    let assumed = if settings.defaults { defaults::objects(loaded, settings) } else { Vec::new() };
    let mesh = Mesh::new(loaded, &assumed, settings);
    let mut report = Report::default();
    for analyzer in ANALYZERS {
        (analyzer.run)(&mesh, &mut report);
    }
    let mut findings = report.findings;
    let about_meaning = |finding: &&Diagnostic| finding.code != crate::diagnostic::code::NOT_IN_EFFECT;
    findings.extend(loaded.diagnostics.iter().filter(about_meaning).cloned());
    suppress::apply(&mut findings, loaded);
    report::add_snippets(&mut findings, loaded);
    Diagnostic::sort(&mut findings);
    (findings, mesh.looked())
}

/// Whether a finding is at least that bad.
pub fn at_least(finding: &Diagnostic, severity: Severity) -> bool {
    finding.severity >= severity
}

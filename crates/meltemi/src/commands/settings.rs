//! Flags that several commands share: the namespace of documents that name none, the mesh's settings, its networks, the root
//! namespace, the domain of names. They mean the same everywhere.
//!
//! Invariant: what a flag says wins over what the files say, and that over the defaults.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use meltemi_config::kubernetes::ConfigMap;
use meltemi_config::mesh::{MeshConfig, MeshNetworks, Switches};
use meltemi_config::{Diagnostic, Loaded, Object, Str};
use meltemi_pilot::source::Given;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Namespace of documents that name none
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// File with the mesh's settings (MeshConfig), laid over the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// File with the mesh's networks (MeshNetworks)
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_networks: Option<PathBuf>,
    /// Namespace whose resources hold everywhere; unset: the mesh's settings say, else istio-system
    #[arg(long, value_name = "NS")]
    pub(crate) root_namespace: Option<String>,
    /// Domain of the names of services, which short names are completed with [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
}

/// What the flags say.
pub(crate) struct Read {
    /// Settings, with the root namespace in them if one was given.
    pub(crate) mesh: MeshConfig,
    /// Networks, with places.
    pub(crate) networks: Option<Object>,
    /// Namespace whose resources hold everywhere.
    pub(crate) root_namespace: Str,
    /// What is wrong with the settings.
    pub(crate) findings: Vec<Diagnostic>,
}

impl Flags {
    /// What holds whatever a file says: the root namespace, and istiod's switches from the environment.
    pub(crate) fn given(&self) -> Given {
        Given {
            root_namespace: self.root_namespace.as_deref().map(Str::from),
            domain: self.domain.as_deref().map(Str::from),
            switches: Switches::read(|name| std::env::var(name).ok()),
        }
    }

    /// Reads the files that the flags name. Without them a ConfigMap `istio` of the root namespace in `loaded` is taken, as
    /// istiod does.
    pub(crate) fn read(&self, loaded: Option<&Loaded>) -> Result<Read> {
        let mut findings = Vec::new();
        let root = self.root_namespace.as_deref().unwrap_or("istio-system");
        let map = loaded.and_then(|loaded| config_map(loaded, root));
        let given = |key: &str| map.and_then(|(object, map)| Some((object, map.data.get(key)?.0.clone())));
        let mut mesh = MeshConfig::default();
        let mut take = |name: &str, text: &str| {
            let (read, found) = meltemi_config::load::mesh_config(name, text);
            findings.extend(found);
            mesh = read;
        };
        match (&self.mesh_config, given("mesh")) {
            (Some(file), _) => take(&file.to_string_lossy(), &text(file)?),
            (None, Some((object, text))) => take(&object.source.file, &text),
            (None, None) => {}
        }
        self.given().lay_over(&mut mesh);
        let root_namespace: Str = mesh.root_namespace().into();
        let networks = match (&self.mesh_networks, given("meshNetworks")) {
            (Some(file), _) => Some((file.to_string_lossy().into_owned(), text(file)?)),
            (None, Some((object, text))) => Some((object.source.file.to_string(), text.to_string())),
            (None, None) => None,
        };
        let networks = networks.map(|(name, text)| {
            let (object, found) = meltemi_config::load::mesh_networks_object(&name, &text, &root_namespace);
            findings.extend(found);
            if let Some(networks) = object.spec_as::<MeshNetworks>() {
                mesh.networks = MeshNetworks::clone(networks);
            }
            object
        });
        Ok(Read { mesh, networks, root_namespace, findings })
    }
}

fn config_map<'a>(loaded: &'a Loaded, root: &str) -> Option<(&'a Object, &'a ConfigMap)> {
    let is_settings = |object: &&Object| **object.name() == *"istio" && **object.namespace() == *root;
    let object = loaded
        .objects
        .iter()
        .find(|object| is_settings(object) && object.spec_as::<ConfigMap>().is_some())?;
    Some((object, object.spec_as::<ConfigMap>()?))
}

fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A duration of istiod's in the environment, such as `100ms`; what is none counts as not given.
pub(crate) fn duration(name: &str) -> Option<std::time::Duration> {
    std::env::var(name).ok()?.parse::<meltemi_config::Duration>().ok().map(|duration| duration.0)
}

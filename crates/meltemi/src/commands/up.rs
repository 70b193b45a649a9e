//! `meltemi up`: a mesh of local processes, each beside a sidecar, with a control plane and gateways.
//!
//! Invariant: it ends with everything that it started; see [`crate::mesh::run`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::failure::Failure;
use crate::mesh::folder::Folder;
use crate::mesh::{options::Options, run};

/// The files, and where things listen.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with processes, services and mesh resources; edits are in force at once
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "PATH")]
    filename: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

/// What `up` and `demo` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct MeshArgs {
    /// Where the ingress gateway listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,

    /// Where the dashboard listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:20001")]
    dashboard: SocketAddr,

    /// Where the control plane serves xDS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    xds: SocketAddr,

    /// Where the control plane serves metrics and debug pages
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15014")]
    monitoring: SocketAddr,

    /// The proxies: `meltemi`, `envoy`, or a path to an Envoy
    #[arg(long, value_name = "PROGRAM", default_value = "meltemi")]
    proxy_binary: String,

    /// What the proxies log
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = ["trace", "debug", "info", "warn", "error"])]
    proxy_log_level: String,

    /// File with the mesh's settings (MeshConfig), laid over the defaults; edits are in force at once
    #[arg(long, value_name = "FILE")]
    mesh_config: Option<PathBuf>,

    /// Namespace of documents that name none
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: String,
}

impl MeshArgs {
    /// The run of these files; `page` is shown as a path of the gateway.
    pub(crate) fn options(self, paths: Vec<PathBuf>, page: &'static str) -> Options {
        Options {
            paths,
            gateway: self.gateway,
            dashboard: self.dashboard,
            xds: self.xds,
            monitoring: self.monitoring,
            proxy_binary: self.proxy_binary,
            proxy_log: self.proxy_log_level,
            mesh_config: self.mesh_config,
            namespace: self.namespace,
            page,
        }
    }
}

/// Runs the mesh until Ctrl-C or SIGTERM.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if let Some(missing) = args.filename.iter().find(|path| !path.exists()) {
        return Err(Failure::usage(format!("no file or folder {}", missing.display()), "").into());
    }
    let folder = Folder::create()?;
    let result = run::run(args.mesh.options(args.filename, "/"), &folder);
    folder.remove()?;
    result.map(|()| ExitCode::SUCCESS)
}

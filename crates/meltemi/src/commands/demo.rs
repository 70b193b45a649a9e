//! `meltemi demo`: Bookinfo on this machine, from files that are part of the binary.
//!
//! Invariant: the files are the sample's, unchanged; a user edits copies, in the run's folder or in one of their own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::up::MeshArgs;
use crate::mesh::folder::Folder;
use crate::mesh::run;

/// The demo's mesh.
const FILES: [(&str, &str); 3] = [
    ("bookinfo.yaml", include_str!("../../../../samples/bookinfo/bookinfo.yaml")),
    ("bookinfo-gateway.yaml", include_str!("../../../../samples/bookinfo/networking/bookinfo-gateway.yaml")),
    (
        "destination-rule-all.yaml",
        include_str!("../../../../samples/bookinfo/networking/destination-rule-all.yaml"),
    ),
];

/// Where things listen, and where the files are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to keep the demo's files in and to read them from; default: a temporary one
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,

    #[command(flatten)]
    mesh: MeshArgs,
}

/// Runs Bookinfo until Ctrl-C or SIGTERM.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let folder = Folder::create()?;
    let config = args.config.unwrap_or_else(|| folder.config());
    let result =
        unpack(&config).and_then(|()| run::run(args.mesh.options(vec![config], "/productpage"), &folder));
    folder.remove()?;
    result.map(|()| ExitCode::SUCCESS)
}

/// Writes the demo's files into a folder that has no mesh resources yet; one that has is used as it is.
fn unpack(folder: &Path) -> Result<()> {
    let used = || -> std::io::Result<bool> {
        std::fs::create_dir_all(folder)?;
        let mut entries = std::fs::read_dir(folder)?;
        Ok(entries.any(|entry| entry.is_ok_and(|entry| is_resource(&entry.path()))))
    };
    if used().with_context(|| format!("cannot use {}", folder.display()))? {
        return Ok(());
    }
    for (name, text) in FILES {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn is_resource(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

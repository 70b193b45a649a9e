//! Names the sources that the proxy is made of, so that `meltemi` hands a bootstrap only to a `meltemi-proxy` of the same.
//!
//! Invariant: the same files give the same name, wherever and whenever they are compiled.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    for root in ["src", "../xds/src", "../../Cargo.lock"] {
        println!("cargo:rerun-if-changed={root}");
        let mut files = BTreeSet::new();
        collect(Path::new(root), &mut files)?;
        for file in files {
            file.hash(&mut hasher);
            fs::read(&file)?.hash(&mut hasher);
        }
    }
    println!("cargo:rustc-env=MELTEMI_PROXY_SOURCES={:016x}", hasher.finish());
    Ok(())
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    fs::read_dir(path)?.try_for_each(|entry| collect(&entry?.path(), files))
}

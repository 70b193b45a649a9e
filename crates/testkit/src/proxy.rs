//! A proxy with a bootstrap of its own: ours, or a real Envoy with the same file. All tests that run a proxy by itself start it
//! here.
//!
//! Invariant: what [`Proxy::start`] gives back is ready and ends when dropped.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{peers, ports, process::Process, raw};

/// How long anything may take; a loaded machine is slow, a broken proxy ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Ours.
    Meltemi,
    /// The real one; ask [`peers::require`] first.
    Envoy,
}

impl Proxy {
    /// Its command line without a bootstrap, with one worker. `meltemi` is our program: `env!("CARGO_BIN_EXE_meltemi")`.
    ///
    /// # Panics
    /// When there is no Envoy.
    pub fn command(self, meltemi: &str) -> Command {
        match self {
            Self::Meltemi => {
                let mut command = Command::new(meltemi);
                command.args(["proxy", "--workers", "1"]);
                command
            }
            Self::Envoy => {
                let mut command = Command::new(peers::find("envoy").expect("an Envoy"));
                // Nothing is shared with other Envoys and left behind in memory. The log is flushed often, for those who
                // wait for a line of it.
                command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warn"]);
                command.args(["--file-flush-interval-msec", "100"]);
                command
            }
        }
    }

    /// Starts it with `bootstrap` (YAML), which must not have an `admin`: that is added. Comes back once it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time, with what it said.
    pub async fn start(self, meltemi: &str, bootstrap: &str, folder: &Path) -> Running {
        self.start_with(meltemi, bootstrap, folder, &[]).await
    }

    /// The same with variables in its environment.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_with(
        self,
        meltemi: &str,
        bootstrap: &str,
        folder: &Path,
        environment: &[(&str, &str)],
    ) -> Running {
        let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let file = folder.join(format!("bootstrap-{}.yaml", admin.port()));
        let address = format!("{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}", admin.port());
        std::fs::write(&file, format!("admin: {{address: {address}}}\n{bootstrap}"))
            .expect("a file is written");
        let mut command = self.command(meltemi);
        Running::start(command.envs(environment.iter().copied()).arg("-c").arg(&file), admin).await
    }
}

/// A proxy that was ready; it ends when dropped.
pub struct Running {
    /// The child.
    pub process: Process,
    /// Where its admin interface listens.
    pub admin: SocketAddr,
}

impl Running {
    /// Runs a command whose bootstrap has `admin` at that address, until it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time, with what it said.
    pub async fn start(command: &mut Command, admin: SocketAddr) -> Self {
        let mut process = Process::start(command);
        let deadline = Instant::now() + PATIENCE;
        while !raw::get(admin, "/ready", PATIENCE).await.is_ok_and(|answer| answer.status == 200) {
            let gone = process.wait(Duration::ZERO).is_some();
            assert!(!gone && Instant::now() < deadline, "not ready:\n{}", process.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { process, admin }
    }

    /// What admin says to a GET.
    ///
    /// # Panics
    /// When it says nothing.
    pub async fn get(&self, path: &str) -> raw::Answer {
        let answer = raw::get(self.admin, path, PATIENCE).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}; it said:\n{}", self.process.said()))
    }

    /// Counters and gauges whose names begin with `prefix`, without it.
    ///
    /// # Panics
    /// When admin says nothing.
    pub async fn stats(&self, prefix: &str) -> BTreeMap<String, i64> {
        let answer = self.get(&format!("/stats?filter=%5E{}", prefix.replace('.', "%5C."))).await;
        let lines = answer.body.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once(": "));
        lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// A counter or gauge; 0 where there is none.
    ///
    /// # Panics
    /// When admin says nothing.
    pub async fn stat(&self, name: &str) -> i64 {
        self.stats(name).await.get("").copied().unwrap_or_default()
    }

    /// Waits until a counter or gauge has come to a value or beyond.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until(&self, name: &str, wanted: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.stat(name).await;
            if value >= wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{name} stays at {value}, {wanted} wanted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

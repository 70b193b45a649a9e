//! A proxy with a bootstrap of its own: ours, or a real Envoy with the same file. What runs a table on both starts here.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{peers, ports, process::Process, raw};

/// How long a proxy may take until it is ready; a loaded machine is slow, a broken proxy ends by itself.
const PATIENCE: Duration = Duration::from_secs(20);

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
                // The log is flushed often, for those who wait for a line of it.
                command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "warn"]);
                command.args(["--file-flush-interval-msec", "100"]);
                command
            }
        }
    }

    /// Starts it with `bootstrap`, which must not have an `admin`: that is added, and its address comes back once it says that
    /// the proxy is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time, with what it said.
    pub async fn start(self, meltemi: &str, bootstrap: &str, folder: &Path) -> (Process, SocketAddr) {
        let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let file = folder.join("bootstrap.yaml");
        let address = format!("{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}", admin.port());
        std::fs::write(&file, format!("admin: {{address: {address}}}\n{bootstrap}"))
            .expect("a file is written");
        let mut process = Process::start(self.command(meltemi).arg("-c").arg(&file));
        let deadline = Instant::now() + PATIENCE;
        let request = b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
        while !raw::exchange(admin, request, PATIENCE).await.is_ok_and(|answer| answer.status == 200) {
            let gone = process.wait(Duration::ZERO).is_some();
            assert!(!gone && Instant::now() < deadline, "not ready:\n{}", process.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (process, admin)
    }
}

//! A running `meltemi demo` whose files the test edits.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use meltemi_testkit::process::Process;
use meltemi_testkit::{peers, ports};

/// The demo, with its configuration in a folder of its own.
pub(crate) struct Mesh {
    pub(crate) process: Process,
    pub(crate) gateway: String,
    monitoring: String,
    folder: PathBuf,
}

impl Mesh {
    /// Starts it and waits for `ready`.
    pub(crate) fn start(proxy_binary: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("meltemi-bookinfo-{}-{}", std::process::id(), ports::free()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(sample("bookinfo.yaml"), folder.join("bookinfo.yaml")).expect("a copy");
        fs::copy(sample("networking/bookinfo-gateway.yaml"), folder.join("gateway.yaml")).expect("a copy");
        fs::copy(sample("networking/destination-rule-all.yaml"), folder.join("subsets.yaml"))
            .expect("a copy");
        let gateway = format!("{}:{}", Ipv4Addr::LOCALHOST, ports::free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command
            .args(["demo", "--gateway", &gateway, "--proxy-binary", proxy_binary, "--config"])
            .arg(&folder);
        for flag in ["--dashboard", "--xds", "--monitoring"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        let process = Process::start(&mut command);
        process.wait_for("ready (", Duration::from_secs(120));
        let line = process.wait_for("control plane", Duration::from_secs(30));
        let monitoring = line.rsplit_once("//").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
        Self { process, gateway, monitoring: monitoring.expect("an address"), folder }
    }

    /// Puts a sample file in force as the mesh's gateway.
    pub(crate) fn gateway_file(&self, name: &str) {
        self.replace("gateway.yaml", &fs::read_to_string(sample(name)).expect("a sample"));
    }

    /// Puts a sample file in force as the mesh's routes.
    pub(crate) fn routes_file(&self, name: &str) {
        self.replace("routes.yaml", &fs::read_to_string(sample(name)).expect("a sample"));
    }

    /// Adds the processes of a sample file to the mesh.
    pub(crate) fn more_processes(&self, name: &str) {
        self.replace("more.yaml", &fs::read_to_string(sample(name)).expect("a sample"));
    }

    /// Puts a text in force, as an editor does: a new file that takes the old one's place.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let draft = self.folder.join(format!("{name}.draft"));
        fs::write(&draft, text).expect("a draft");
        fs::rename(&draft, self.folder.join(name)).expect("the file");
    }

    /// What `meltemi proxy-status` prints; panics unless it ends well.
    pub(crate) fn proxy_status(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        let output =
            command.args(["proxy-status", "--address", &self.monitoring]).output().expect("meltemi runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Where the control plane serves metrics and debug pages.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn monitoring(&self) -> &str {
        &self.monitoring
    }

    /// Process ids of everything that the demo started.
    pub(crate) fn children(&self) -> Vec<u32> {
        let text =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.id())).expect("children");
        text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if self.process.wait(Duration::ZERO).is_none() {
            self.process.signal("TERM");
            self.process.wait(Duration::from_secs(15));
        }
        let _kept_if_it_cannot_be_removed = fs::remove_dir_all(&self.folder);
    }
}

/// Waits until none of these processes runs any more.
pub(crate) fn gone(processes: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let alive =
        |id: &&u32| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while let Some(left) = processes.iter().find(alive) {
        assert!(Instant::now() < deadline, "process {left} is still there");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn sample(name: &str) -> PathBuf {
    let file = peers::repository().join("samples/bookinfo").join(name);
    assert!(Path::new(&file).is_file(), "no sample {}", file.display());
    file
}

//! A small process that ends everything when `meltemi up` is killed outright and cannot do it itself.
//! `up` starts it ([`Reaper::start`]) and tells it each process group; `meltemi agent reaper` is it ([`run`]).
//!
//! Invariant: it acts when its standard input closes, which the kernel does however its parent ends.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::group::signal;

/// The way to tell the reaper; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reaper(Option<Arc<Mutex<ChildStdin>>>);

impl Reaper {
    /// Starts `executable agent reaper`, which also removes `folder` in the end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(executable: &Path, folder: &Path) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(executable);
        command.args(["agent", "reaper"]).arg(folder);
        // A group of its own: Ctrl-C in the terminal is for `up`, which ends things in order.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().map(|stdin| Arc::new(Mutex::new(stdin)));
        std::thread::Builder::new().name("reaper".to_owned()).spawn(move || child.wait())?;
        Ok(Self(stdin))
    }

    /// No reaper: for tests, and where something else sees to it.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A process group that must not outlive us.
    pub fn add(&self, group: u32) {
        self.tell(&format!("+{group}\n"));
    }

    /// The group is gone; its number may be given to others.
    pub fn remove(&self, group: u32) {
        self.tell(&format!("-{group}\n"));
    }

    fn tell(&self, text: &str) {
        let Some(stdin) = &self.0 else { return };
        let Ok(mut stdin) = stdin.lock() else { return };
        if let Err(error) = stdin.write_all(text.as_bytes()) {
            tracing::warn!("the reaper is gone: {error}");
        }
    }
}

/// The reaper's own life: learns groups until its input ends, then kills what is left and removes `folder`.
///
/// # Errors
/// When its input cannot be read or the folder cannot be removed.
pub fn run(input: impl BufRead, folder: Option<PathBuf>) -> std::io::Result<()> {
    let mut groups = BTreeSet::new();
    for line in input.lines() {
        learn(&mut groups, &line?);
    }
    for group in groups {
        signal(group, Signal::KILL);
    }
    match folder.map(std::fs::remove_dir_all) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn learn(groups: &mut BTreeSet<u32>, line: &str) {
    let (sign, number) = line.split_at(line.len().min(1));
    match (sign, number.parse()) {
        ("+", Ok(group)) => drop(groups.insert(group)),
        ("-", Ok(group)) => drop(groups.remove(&group)),
        _ => tracing::warn!("reaper: not understood: {line:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_that_are_left_are_killed() {
        use std::os::unix::process::{CommandExt, ExitStatusExt};
        let mut left = Command::new("sleep").arg("60").process_group(0).spawn().expect("sleep");
        let mut other = Command::new("sleep").arg("60").process_group(0).spawn().expect("sleep");
        let input = format!("+{}\n+{}\n-{}\n", left.id(), other.id(), other.id());
        run(input.as_bytes(), None).expect("reaped");
        assert_eq!(left.wait().expect("status").signal(), Some(9));
        assert!(other.try_wait().expect("status").is_none());
        other.kill().expect("kill");
        other.wait().expect("status");
    }
}

//! What the kernel says of a process: CPU time, resident memory; and the guard that ends it.
//!
//! Invariant: a [`Guard`] owns exactly one child, kills it by id and reaps it when dropped.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Clock ticks per second in /proc (USER_HZ, which Linux fixes at 100).
const TICKS: f64 = 100.0;

/// A child that does not outlive this value.
pub(super) struct Guard(Child);

impl Guard {
    /// Starts the command; what it says goes to `output` (appended errors as well) or nowhere.
    pub(super) fn start(command: &mut Command, output: Option<fs::File>) -> anyhow::Result<Self> {
        let out = output.as_ref().map(fs::File::try_clone).transpose()?;
        command.stdin(Stdio::null());
        command.stdout(out.map_or_else(Stdio::null, Stdio::from));
        command.stderr(output.map_or_else(Stdio::null, Stdio::from));
        Ok(Self(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    /// The process id; taskset(1) becomes the program, so it is the program's.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// An error if the child has ended.
    pub(super) fn alive(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("ended by itself: {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Already gone is fine: the point is that nothing stays.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds that all threads of a process have used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) kernel: f64,
}

impl Cpu {
    /// Used up to now, from /proc/PID/stat.
    pub(super) fn of(id: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
        Self::parse(&text).with_context(|| format!("/proc/{id}/stat is not as expected"))
    }

    /// Fields 14 and 15 of proc_pid_stat(5); the program's name (field 2) may hold spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
        Some(Self { user: seconds()?, kernel: seconds()? })
    }

    /// Used since an earlier reading.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, kernel: self.kernel - earlier.kernel }
    }
}

/// Resident memory now, KiB (`VmRSS`).
pub(super) fn resident(id: u32) -> anyhow::Result<f64> {
    status(id, "VmRSS:")
}

/// What of that is in no file, KiB (`RssAnon`).
pub(super) fn own(id: u32) -> anyhow::Result<f64> {
    status(id, "RssAnon:")
}

/// The most that was ever resident, KiB (`VmHWM`).
pub(super) fn peak(id: u32) -> anyhow::Result<f64> {
    status(id, "VmHWM:")
}

fn status(id: u32, key: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} of {id}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Gives a proxy time to hand memory back.
pub(super) fn settle() {
    thread::sleep(Duration::from_millis(500));
}

/// Lets this process and its children open enough files for 2,000 connections on both sides.
pub(super) fn allow_many_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < 8192) {
        limit.current = Some(8192);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_behind_an_odd_name() {
        let text = "77 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1";
        assert_eq!(Cpu::parse(text), Some(Cpu { user: 1.5, kernel: 0.5 }));
        assert_eq!(Cpu::parse("77 (a) S 1"), None);
    }
}

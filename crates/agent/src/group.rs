//! Process groups: a program and all that it starts are signalled together. Called by the supervisor and the reaper.

use rustix::process::{Pid, Signal, kill_process_group};

/// Signals a process group; one that is gone already is fine.
pub(crate) fn signal(group: u32, signal: Signal) {
    let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
    match kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!("cannot signal process group {group}: {error}"),
    }
}

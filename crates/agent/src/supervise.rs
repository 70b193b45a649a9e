//! The life of one program: start, pass its output on, start again when it ends, end it. Used for proxies and apps alike.
//!
//! Invariant: each program is a process group of its own; when [`Running::end`] returns, the group is gone.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::group::signal;
use crate::output::{Line, Stream, read};
use crate::reaper::Reaper;

/// First wait before a restart.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
const BACKOFF_LAST: Duration = Duration::from_secs(10);
/// A program that ran this long has recovered: its next restart waits [`BACKOFF_FIRST`] again.
const RECOVERED: Duration = Duration::from_secs(10);
/// How long to read on when a program has ended, for what its pipes still hold.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A program to run.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name in the mesh, shown with its output.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// More environment; what this process has is inherited.
    pub env: Vec<(String, String)>,
    /// Working directory; unset: this process's.
    pub working_dir: Option<PathBuf>,
    /// How long it may take to end after SIGTERM before it is killed.
    pub grace: Duration,
}

/// Where a program is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// About to be started, for the first time or again.
    Starting,
    /// Running under this process id.
    Running(u32),
    /// Ended by itself; will be started again.
    BackingOff,
    /// Ended on our word.
    Ended,
}

/// A program under supervision.
#[derive(Debug)]
pub struct Running {
    name: Arc<str>,
    stop: watch::Sender<bool>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts supervising. `sink` gets every line; `reaper` gets to know every process group.
    #[must_use]
    pub fn start(spec: Spec, sink: mpsc::Sender<Line>, reaper: Reaper) -> Self {
        let name: Arc<str> = spec.name.as_str().into();
        let (stop, stopped) = watch::channel(false);
        let (publish, state) = watch::channel(State::Starting);
        let life = Life { spec, name: name.clone(), sink, reaper, state: publish, stop: stopped };
        Self { name, stop, state, task: tokio::spawn(life.run()) }
    }

    /// The program's name in the mesh.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Follows the program's state.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Sends SIGTERM, waits for the grace time, kills what is left. Returns when the program is gone.
    pub async fn end(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!("supervising {}: {error}", self.name);
        }
    }
}

struct Life {
    spec: Spec,
    name: Arc<str>,
    sink: mpsc::Sender<Line>,
    reaper: Reaper,
    state: watch::Sender<State>,
    stop: watch::Receiver<bool>,
}

impl Life {
    async fn run(mut self) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            self.state.send_replace(State::Starting);
            let started = Instant::now();
            let Some(reason) = self.once().await else { break };
            if started.elapsed() >= RECOVERED {
                backoff = BACKOFF_FIRST;
            }
            self.state.send_replace(State::BackingOff);
            self.note(format!("{reason}; starting it again in {} ms", backoff.as_millis())).await;
            if tokio::time::timeout(backoff, asked(&mut self.stop)).await.is_ok() {
                break;
            }
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
        self.state.send_replace(State::Ended);
    }

    /// Runs the program once; why it ended by itself, or nothing when it was told to.
    async fn once(&mut self) -> Option<String> {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => return Some(format!("cannot start {}: {error}", self.spec.program.display())),
        };
        let group = child.id();
        if let Some(id) = group {
            self.reaper.add(id);
            self.state.send_replace(State::Running(id));
        }
        let mut output = self.read_output(&mut child);
        let ended = tokio::select! {
            status = child.wait() => Some(describe(status)),
            () = asked(&mut self.stop) => None,
        };
        if ended.is_none() {
            self.terminate(&mut child, group).await;
        }
        if let Some(id) = group {
            // Whatever the program left behind goes with it.
            signal(id, Signal::KILL);
            self.reaper.remove(id);
        }
        let _pipe_may_be_held_open =
            tokio::time::timeout(LAST_WORDS, async { while output.join_next().await.is_some() {} }).await;
        ended
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.args).envs(self.spec.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.spec.working_dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn()
    }

    fn read_output(&self, child: &mut Child) -> JoinSet<()> {
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(read(self.name.clone(), Stream::Out, stdout, self.sink.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(read(self.name.clone(), Stream::Err, stderr, self.sink.clone()));
        }
        output
    }

    async fn terminate(&self, child: &mut Child, group: Option<u32>) {
        let Some(id) = group else { return };
        signal(id, Signal::TERM);
        if tokio::time::timeout(self.spec.grace, child.wait()).await.is_err() {
            self.note(format!("did not end within {} s, killing it", self.spec.grace.as_secs())).await;
            signal(id, Signal::KILL);
            if let Err(error) = child.wait().await {
                tracing::warn!("{}: {error}", self.name);
            }
        }
    }

    async fn note(&self, text: String) {
        let line = Line { from: self.name.clone(), stream: Stream::Note, text };
        let _nobody_listens_any_more = self.sink.send(line).await;
    }
}

/// Resolves when the end is asked for, or when nobody is left who could ask.
async fn asked(stop: &mut watch::Receiver<bool>) {
    let _dropped_is_a_stop_too = stop.wait_for(|stop| *stop).await.map(|_| ());
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended by itself ({status})"),
        Err(error) => format!("lost ({error})"),
    }
}

#[cfg(test)]
mod tests;

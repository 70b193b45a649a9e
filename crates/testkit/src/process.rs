//! Child processes of a test: their output kept for the failure message, ended when the guard is dropped.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// A running child. Dropping it kills and reaps it; a panicking test prints what it said.
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts the command with its output captured.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let said = Arc::new(Mutex::new(Vec::new()));
        let out = child.stdout.take().expect("invariant: stdout is piped");
        let err = child.stderr.take().expect("invariant: stderr is piped");
        read(out, sender.clone(), Arc::clone(&said));
        read(err, sender, Arc::clone(&said));
        Self { child, lines, said }
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line (of those not yet waited for) that contains `text`; panics after `patience` or at the child's end.
    pub fn wait_for(&self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("never said {text:?} ({error}); it said:\n{}", self.said()),
            }
        }
    }

    /// All it has said so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join("\n")
    }

    /// Sends a signal by name, as kill(1) spells it (`TERM`, `HUP`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send SIG{name} to {}", self.id());
    }

    /// Waits for its end, up to `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::park_timeout(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("── process {} said:\n{}", self.id(), self.said());
        }
        // Already gone is fine: the point is that nothing stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, to: mpsc::Sender<String>, said: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line.clone());
            if to.send(line).is_err() {
                // Nobody waits any more; go on reading so that the child never blocks on a full pipe.
            }
        }
    });
}

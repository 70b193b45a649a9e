//! Files that log lines go to: a buffer per worker, one writer thread for all.
//!
//! Workers append to their own buffer; the writer takes the buffers once a second, or sooner when one is large.
//! Invariant: a worker never waits for a file; what a stuck file cannot take is dropped and counted.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The writer comes by that often (Envoy's default flush interval).
const INTERVAL: Duration = Duration::from_secs(1);
/// A buffer of this size has the writer come at once.
const LARGE: usize = 64 * 1024;
/// A buffer takes no more than this while the file is stuck.
const MOST: usize = 4 * 1024 * 1024;
/// Buffers per file; workers beyond share.
const SHARDS: usize = 16;

static SINKS: LazyLock<Sinks> = LazyLock::new(Sinks::default);

/// Every open sink by path, so that two logs into one file do not tear each other's lines.
#[derive(Default)]
struct Sinks {
    open: Mutex<(HashMap<String, Weak<FileSink>>, bool)>,
    /// True when a buffer has grown large.
    wake: (Mutex<bool>, Condvar),
}

/// One file.
#[derive(Debug)]
pub(super) struct FileSink {
    path: String,
    shards: [Mutex<Vec<u8>>; SHARDS],
    file: Mutex<File>,
    dropped: AtomicU64,
}

impl FileSink {
    /// The sink of a path; opened for appending when it is new.
    pub(super) fn open(path: &str) -> io::Result<Arc<Self>> {
        let mut open = lock(&SINKS.open);
        if let Some(sink) = open.0.get(path).and_then(Weak::upgrade) {
            return Ok(sink);
        }
        let sink = Arc::new(Self {
            path: path.to_owned(),
            shards: Default::default(),
            file: Mutex::new(open_file(path)?),
            dropped: AtomicU64::new(0),
        });
        open.0.insert(path.to_owned(), Arc::downgrade(&sink));
        if !open.1 {
            std::thread::Builder::new()
                .name("access-log".into())
                .stack_size(128 * 1024)
                .spawn(write_forever)?;
            open.1 = true;
        }
        Ok(sink)
    }

    /// Has `write` append one line to the buffer of a worker.
    pub(super) fn append(&self, shard: usize, write: impl FnOnce(&mut Vec<u8>)) {
        // Only the writer ever wants the same buffer, once a second and for as long as swapping takes.
        let mut buffer = lock(&self.shards[shard % SHARDS]);
        if buffer.len() > MOST {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = buffer.len();
        write(&mut buffer);
        if before < LARGE && buffer.len() >= LARGE {
            drop(buffer);
            *lock(&SINKS.wake.0) = true;
            SINKS.wake.1.notify_one();
        }
    }

    /// Writes what the buffers hold.
    fn flush(&self, spare: &mut Vec<u8>) {
        let mut file = lock(&self.file);
        for shard in &self.shards {
            std::mem::swap(&mut *lock(shard), spare);
            if let Err(error) = file.write_all(spare) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "access log lines were lost");
            }
            spare.clear();
        }
    }
}

/// Opened for appending, made when it is not there.
fn open_file(path: &str) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.flush(&mut Vec::new());
    }
}

/// Writes everything that is buffered now: before the process ends.
pub fn flush() {
    let mut spare = Vec::new();
    sinks().iter().for_each(|sink| sink.flush(&mut spare));
}

/// Goes on in files of the same names, after they were renamed: `/reopen_logs` and SIGUSR1. What is buffered goes to the new
/// file; a file that cannot be opened goes on as it is.
pub fn reopen() -> Result<(), String> {
    let mut problems = Vec::new();
    for sink in sinks() {
        match open_file(&sink.path) {
            Ok(file) => *lock(&sink.file) = file,
            Err(error) => problems.push(format!("{}: {error}\n", sink.path)),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.concat()) }
}

fn sinks() -> Vec<Arc<FileSink>> {
    let mut open = lock(&SINKS.open);
    open.0.retain(|_, sink| sink.strong_count() > 0);
    open.0.values().filter_map(Weak::upgrade).collect()
}

fn write_forever() {
    let mut spare = Vec::new();
    loop {
        let wake = lock(&SINKS.wake.0);
        let waited = SINKS.wake.1.wait_timeout_while(wake, INTERVAL, |wanted| !*wanted);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
        sinks().iter().for_each(|sink| sink.flush(&mut spare));
    }
}

/// A panic while a buffer was held loses at most a line; the log goes on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

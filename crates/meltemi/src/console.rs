//! How the binary looks on a terminal: the log's form and the colours. Every command prints through here.
//!
//! Invariant: colour only where standard error (or output) is a terminal that wants it (`NO_COLOR`, `TERM=dumb`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `filter` is the `--log` option; a bad one falls back to `info` and says so.
pub(crate) fn start_log(filter: &str) {
    let (filter, bad) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours_on_stderr())
        .with_target(false)
        .init();
    if let Some(error) = bad {
        tracing::warn!("--log is not understood, using info: {error}");
    }
}

/// Whether standard error takes colours.
pub(crate) fn colours_on_stderr() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !plain
}

/// Waits for Ctrl-C or SIGTERM, the two ways in which a user or a supervisor ends a command.
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

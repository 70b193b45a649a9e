//! Errors as a user reads them: what failed, why, what to do. Used by every command, printed by `main`.
//!
//! Invariant: the exit status is decided here and nowhere else.

use std::fmt;
use std::process::ExitCode;

use owo_colors::{OwoColorize, Style};

/// An error with a hint; `anyhow` carries it, [`report`] finds it in the chain.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: String,
    status: u8,
}

impl Failure {
    /// The thing asked about is wrong (status 1).
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), status: 1 }
    }

    /// The command was asked in a wrong way (status 2).
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), status: 2 }
    }
}

#[cfg(test)]
impl Failure {
    /// What is advised.
    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints the error with its causes and its hint; gives the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    if error.chain().find_map(io) == Some(std::io::ErrorKind::BrokenPipe) {
        // Who reads no more has what they wanted: `meltemi translate … | head`.
        return ExitCode::SUCCESS;
    }
    anstream::eprintln!("{} {}", "error:".style(Style::new().red().bold()), chain(error));
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    if let Some(failure) = failure.filter(|failure| !failure.hint.is_empty()) {
        anstream::eprintln!("{} {}", "hint:".style(Style::new().cyan().bold()), failure.hint);
    }
    ExitCode::from(failure.map_or(1, |failure| failure.status))
}

/// `outer: inner: innermost`, without repeating a cause that its wrapper already prints.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

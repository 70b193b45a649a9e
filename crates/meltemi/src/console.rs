//! How the binary looks on a terminal: the log's form, colours, the lines of many programs. Every command prints through
//! here.
//!
//! Invariant: colour only where the stream is a terminal that wants it (`NO_COLOR`, `TERM=dumb`).

use std::collections::HashMap;
use std::fmt;
use std::io::Write;

use meltemi_agent::{Line, Stream};
use meltemi_proxy::logs::wants_colour;
use owo_colors::{AnsiColors, OwoColorize, Style};
use tokio::sync::mpsc;

/// Colours of the prefixes, one program after the other; red is for trouble.
const COLOURS: [AnsiColors; 6] = [
    AnsiColors::Cyan,
    AnsiColors::Yellow,
    AnsiColors::Green,
    AnsiColors::Magenta,
    AnsiColors::Blue,
    AnsiColors::BrightCyan,
];

/// Prints a line to standard output, as `println!` does; who reads no more ends the command in silence.
macro_rules! outln {
    () => { $crate::console::line(format_args!("")) };
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}
pub(crate) use outln;

/// Prints a line; see [`outln`].
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let Err(error) = writeln!(anstream::stdout().lock(), "{text}") else { return };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    eprintln!("error: cannot write: {error}");
    std::process::exit(1);
}

/// Whether standard error takes colours.
pub(crate) fn colour_on_stderr() -> bool {
    wants_colour(&std::io::stderr())
}

/// Says on standard output that what was asked for is up. Scripts wait for a line that begins with `ready`.
pub(crate) fn ready(what: &str) {
    anstream::println!("{} ({what})", "ready".style(Style::new().green().bold()));
}

/// A labelled address or path, on standard output.
pub(crate) fn url(label: &str, url: &str) {
    anstream::println!("  {label:<22} {}", url.style(Style::new().underline()));
}

/// The lines of many programs, each behind its owner's name.
#[derive(Debug)]
pub(crate) struct Console {
    prefixes: HashMap<String, String>,
    width: usize,
    trouble: Style,
}

impl Console {
    /// A console for programs of these names: aligned, and coloured where standard error takes colours.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let coloured = wants_colour(&std::io::stderr());
        let width = names.iter().map(String::len).max().unwrap_or_default();
        let prefix = |(at, name): (usize, String)| {
            let style = if coloured { Style::new().color(COLOURS[at % COLOURS.len()]) } else { Style::new() };
            let prefix = format!("{}", format!("{name:<width$} |").style(style));
            (name, prefix)
        };
        let trouble = if coloured { Style::new().red() } else { Style::new() };
        Self { prefixes: names.into_iter().enumerate().map(prefix).collect(), width, trouble }
    }

    /// Prints lines to standard error until their source is gone.
    pub(crate) async fn show(self, mut lines: mpsc::Receiver<Line>) {
        while let Some(line) = lines.recv().await {
            let text = self.format(&line);
            if std::io::stderr().write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn format(&self, line: &Line) -> String {
        // A program that came later has no colour of its own.
        let plain = || format!("{:<width$} |", &*line.from, width = self.width);
        let prefix = self.prefixes.get(&*line.from).cloned().unwrap_or_else(plain);
        match line.stream {
            Stream::Note => format!("{prefix} {}\n", line.text.style(self.trouble)),
            Stream::Out | Stream::Err => format!("{prefix} {}\n", line.text),
        }
    }
}

/// Waits for Ctrl-C or SIGTERM, the two ways in which a user or a supervisor ends a command.
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_aligned() {
        let console = Console::new(vec!["a".to_owned(), "longer".to_owned()]);
        let line = |from: &str| Line { from: from.into(), stream: Stream::Out, text: "text".to_owned() };
        assert_eq!(console.format(&line("a")), "a      | text\n");
        assert_eq!(console.format(&line("longer")), "longer | text\n");
    }
}

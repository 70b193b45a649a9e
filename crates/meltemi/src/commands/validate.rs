//! `meltemi validate`: what is wrong with mesh resources, each finding with file, line and column, a code and a hint.
//!
//! The JSON is a contract (see the command-line contract): an array of findings, sorted; exit status 1 if one is an error.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use meltemi_config::diagnostic::{Diagnostic, render, summary};
use meltemi_config::{Loaded, Options, Severity, load};

use super::settings;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources and Kubernetes objects, YAML or JSON
    #[arg(required_unless_present = "more", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The same, as other commands take them
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    more: Vec<PathBuf>,
    #[command(flatten)]
    settings: settings::Flags,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// An array of findings
    Json,
    /// The same as YAML
    Yaml,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let paths: Vec<PathBuf> = args.paths.iter().chain(&args.more).cloned().collect();
    let mut loaded = load(&paths, &Options::in_namespace(&args.settings.namespace));
    loaded.diagnostics.extend(args.settings.read(None)?.findings);
    Diagnostic::sort(&mut loaded.diagnostics);
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => text(&loaded, &mut out)?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&loaded.diagnostics)?)?,
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(&loaded.diagnostics)?)?,
    }
    Ok(if loaded.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes the findings for people, and a line that sums them up.
fn text(loaded: &Loaded, out: &mut impl Write) -> Result<()> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = std::io::stdout().is_terminal() && !plain;
    for finding in &loaded.diagnostics {
        writeln!(out, "{}", render(finding, color))?;
    }
    let read = loaded.objects.len() + loaded.rejected.len();
    let resources = if read == 1 { "resource" } else { "resources" };
    let unread = loaded.unreadable.len();
    let unreadable = match unread {
        0 => String::new(),
        1 => ", 1 document could not be read".to_owned(),
        n => format!(", {n} documents could not be read"),
    };
    writeln!(out, "{read} {resources}{unreadable}: {}", summary(&loaded.diagnostics))?;
    let worst = loaded.diagnostics.iter().map(|finding| finding.severity).max();
    if worst == Some(Severity::Error) && !loaded.rejected.is_empty() {
        let count = loaded.rejected.len();
        let are = if count == 1 { "resource is" } else { "resources are" };
        writeln!(out, "{count} {are} left out until mended")?;
    }
    Ok(())
}

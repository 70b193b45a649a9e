//! `meltemi analyze`: findings across resources, with Istio's codes, a request that shows each, and a fix.
//!
//! The JSON is a contract (see the command-line contract): an array of findings, sorted; exit status 1 if one is an error.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use meltemi_config::analysis::{self, ANALYZERS, Settings};
use meltemi_config::diagnostic::{Diagnostic, code, render, summary};
use meltemi_config::{Loaded, Options, Severity, load};

use super::settings;

/// What to analyze.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders with mesh resources and Kubernetes objects, YAML or JSON
    #[arg(required_unless_present_any = ["filename", "list_analyzers"], value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The same, as other commands take them
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    settings: settings::Flags,
    /// Leave out what a cluster has by default: an ingress gateway (istio: ingressgateway) and its Service
    #[arg(long)]
    no_defaults: bool,
    /// Leave out findings: CODE=KIND NAME.NAMESPACE, with * in the name, such as "IST0102=Namespace *"
    #[arg(short = 'S', long, value_name = "CODE=RESOURCE")]
    suppress: Vec<String>,
    /// The least severity that is shown
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Threshold::Info, ignore_case = true)]
    output_threshold: Threshold,
    /// The least severity that makes the exit status 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Threshold::Error, ignore_case = true)]
    failure_threshold: Threshold,
    /// List the analyzers and the codes each may give
    #[arg(short = 'L', long)]
    list_analyzers: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Severities, as a flag takes them.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Threshold {
    Info,
    Warning,
    Error,
}

impl Threshold {
    fn severity(self) -> Severity {
        match self {
            Threshold::Info => Severity::Info,
            Threshold::Warning => Severity::Warning,
            Threshold::Error => Severity::Error,
        }
    }
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    #[value(alias = "log")]
    Text,
    /// An array of findings
    Json,
    /// The same as YAML
    Yaml,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if args.list_analyzers {
        list(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let paths: Vec<PathBuf> = args.paths.iter().chain(&args.filename).cloned().collect();
    let options = Options { namespace: args.settings.namespace.as_str().into(), analysis: true };
    let loaded = load(&paths, &options);
    let read = args.settings.read(Some(&loaded))?;
    let settings = Settings {
        mesh: read.mesh,
        networks: read.networks,
        root_namespace: read.root_namespace,
        defaults: !args.no_defaults,
    };
    let mut findings = analysis::analyze(&loaded, &settings);
    findings.extend(read.findings);
    findings.retain(|finding| !args.suppress.iter().any(|rule| is_suppressed(rule, finding)));
    Diagnostic::sort(&mut findings);
    let failed = findings.iter().any(|finding| finding.severity >= args.failure_threshold.severity());
    findings.retain(|finding| finding.severity >= args.output_threshold.severity());
    match args.output {
        Output::Text => text(&loaded, &findings, &mut out)?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?,
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(&findings)?)?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether `CODE=KIND NAME.NAMESPACE` means a finding; `*` in the name stands for anything.
fn is_suppressed(rule: &str, finding: &Diagnostic) -> bool {
    let Some((code, wanted)) = rule.split_once('=') else { return rule == finding.code };
    let Some(resource) = finding.resource.as_ref().filter(|_| code == finding.code) else { return false };
    let name = match &*resource.namespace {
        "" => format!("{} {}", resource.kind, resource.name),
        namespace => format!("{} {}.{namespace}", resource.kind, resource.name),
    };
    let mut rest = &*name;
    let mut parts = wanted.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Writes the findings for people, and a line that sums them up.
fn text(loaded: &Loaded, findings: &[Diagnostic], out: &mut impl Write) -> Result<()> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = std::io::stdout().is_terminal() && !plain;
    for finding in findings {
        writeln!(out, "{}", render(finding, color))?;
    }
    let count = loaded.objects.len() + loaded.rejected.len();
    let resources = if count == 1 { "resource" } else { "resources" };
    writeln!(out, "{count} {resources} analyzed: {}", summary(findings))?;
    let waiting = loaded.diagnostics.iter().filter(|finding| finding.code == code::NOT_IN_EFFECT).count();
    if waiting > 0 {
        let parts = if waiting == 1 { "1 part is" } else { &format!("{waiting} parts are") };
        writeln!(out, "{parts} not in effect yet: `meltemi validate` shows where")?;
    }
    Ok(())
}

fn list(out: &mut impl Write) -> Result<()> {
    for analyzer in ANALYZERS {
        let codes: Vec<&str> = analyzer.says.iter().map(|message| message.code).collect();
        writeln!(out, "{:24} {}\n{:24} {}", analyzer.name, analyzer.about, "", codes.join(" "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use meltemi_config::{Kind, ResourceId};

    use super::*;

    #[test]
    fn suppression_is_by_code_and_resource() {
        let finding = Diagnostic {
            resource: Some(ResourceId { kind: Kind::Gateway, namespace: "ns".into(), name: "web".into() }),
            path: String::new(),
            place: None,
            code: "IST0101",
            severity: Severity::Error,
            message: String::new(),
            hint: None,
            snippet: None,
        };
        for (rule, wanted) in [
            ("IST0101=Gateway web.ns", true),
            ("IST0101=Gateway *.ns", true),
            ("IST0101=Gateway *", true),
            ("IST0102=Gateway web.ns", false),
            ("IST0101=Gateway web", false),
            ("IST0101", true),
        ] {
            assert_eq!(is_suppressed(rule, &finding), wanted, "{rule}");
        }
    }
}

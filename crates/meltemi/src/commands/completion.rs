//! `meltemi completion`: a script that completes commands and flags in a shell.
//!
//! Invariant: it is made from the table of commands itself, so it knows exactly what that knows.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  source <(meltemi completion bash)                              this bash session
  meltemi completion bash > /etc/bash_completion.d/meltemi       every one
  meltemi completion zsh > \"${fpath[1]}/_meltemi\"
  meltemi completion fish > ~/.config/fish/completions/meltemi.fish";

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    clap_complete::generate(args.shell, &mut super::Cli::command(), "meltemi", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

//! `cargo xtask test`: the one command that says whether a change may land.

use crate::{peers, run};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave peers as they are: tests that need a missing one say so and skip (in CI they fail).
    #[arg(long)]
    no_peers: bool,
    /// Only formatting, lints and tests whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Peers, format, lints, tests; stops at the first of these that fails, and tells all tests that did.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if !args.no_peers {
        peers::install()?;
    }
    run::step("format", run::cargo().args(["fmt", "--all", "--check"]))?;
    run::step(
        "lints",
        run::cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )?;
    let mut tests = run::cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    tests.args(&args.only);
    run::step("tests", &mut tests)
}

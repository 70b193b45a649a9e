//! `cargo xtask bless`: golden tests rewrite what they expect.

use crate::run;

/// Runs the tests with `BLESS=1`; golden runners then write instead of compare.
pub(crate) fn run() -> anyhow::Result<()> {
    run::step("golden files", run::cargo().args(["test", "--workspace", "golden"]).env("BLESS", "1"))?;
    eprintln!("Now read the diff: git diff -- '*/tests/golden/*'");
    Ok(())
}

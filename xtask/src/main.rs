//! Verbs for people who work on this repository: `cargo xtask --help`.
//!
//! Each verb is a file of this folder. Nothing here ships to users.

mod bench;
mod bless;
mod fuzz;
mod peers;
mod run;
mod test;

use clap::{Parser, Subcommand};

/// Work on Meltemi.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything that must hold before a change lands: peers, format, lints, tests.
    Test(test::Args),
    /// Install (or only look for) the real programs that tests and benchmarks talk to.
    Peers(peers::Args),
    /// Compare the proxy with Envoy, nginx and HAProxy: CPU, latency, memory, start; see bench/README.md.
    Bench(Box<bench::Args>),
    /// Feed every parser with made-up input for a while.
    Fuzz(fuzz::Args),
    /// What `bench` measures as the least a proxy can cost: bytes from one socket to another, nothing read.
    #[command(hide = true)]
    Relay(bench::relay::Args),
    /// Rewrite golden files from what the code prints now; read the diff before you commit it.
    Bless,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Test(args) => test::run(&args),
        Verb::Peers(args) => peers::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Relay(args) => bench::relay::run(&args),
        Verb::Bless => bless::run(),
    }
}

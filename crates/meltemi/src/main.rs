//! The one binary: parses the command line, runs one command, turns its result into an exit status.
//!
//! Invariant: standard output belongs to the command; everything about failure goes to standard error, with a hint
//! where one is known. Status 0: done; 1: the thing asked about is wrong; 2: wrong usage.

mod commands;
mod console;
mod dashboard;
mod failure;
mod mesh;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use meltemi_proxy::{
    logs,
    prepared::{self, Prepared},
};

/// Freed memory goes back sooner, and small allocations are cheaper, than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match prepared::take() {
        Some(prepared) => serve(prepared),
        None => {
            let cli = commands::Cli::parse();
            logs::start(&cli.log);
            commands::run(cli)
        }
    };
    done.unwrap_or_else(|error| failure::report(&error))
}

/// The second life of `meltemi proxy` where there is no `meltemi-proxy` beside it: no command line, no text to read.
fn serve(prepared: std::io::Result<Prepared>) -> anyhow::Result<ExitCode> {
    let prepared = prepared.context("cannot read what was prepared")?;
    logs::start(&prepared.log);
    commands::proxy::serve(&prepared)
}

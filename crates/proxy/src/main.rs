//! `meltemi-proxy`: the program that `meltemi proxy` goes on as once it has read its bootstrap.
//!
//! Small, because it has no command line and reads no text: what it holds idle is what it serves with.
//! Invariant: it serves what `meltemi` prepared, and nothing that anybody typed.

use std::process::ExitCode;

use meltemi_proxy::{
    logs,
    prepared::{self, Prepared},
    run,
};

/// Freed memory goes back sooner, and small allocations are cheaper, than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match prepared::take_as_server() {
        Some(Ok(prepared)) => serve(prepared),
        Some(Err(error)) => fail(&format!("cannot read what was prepared: {error}"), ""),
        None => {
            fail("this program serves what `meltemi proxy` prepared", "start it as `meltemi proxy -c FILE`");
            ExitCode::from(2)
        }
    }
}

fn serve(prepared: Prepared) -> ExitCode {
    logs::start(&prepared.log);
    match run::run(&prepared.options, prepared.bootstrap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.hint()),
    }
}

/// As every command of `meltemi` says it.
fn fail(error: &str, hint: &str) -> ExitCode {
    let (red, cyan, off) = match logs::wants_colour(&std::io::stderr()) {
        true => ("\x1b[31;1m", "\x1b[36;1m", "\x1b[0m"),
        false => ("", "", ""),
    };
    eprintln!("{red}error:{off} {error}");
    if !hint.is_empty() {
        eprintln!("{cyan}hint:{off} {hint}");
    }
    ExitCode::FAILURE
}

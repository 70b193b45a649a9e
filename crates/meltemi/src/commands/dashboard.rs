//! `meltemi dashboard`: finds the dashboard of a running control plane and opens it in the browser.
//!
//! Invariant: the URL is on standard output whatever becomes of the browser.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;
use http::{Method, StatusCode};
use meltemi_agent::admin;

use crate::console::outln;
use crate::failure::Failure;

/// Programs that open a URL, by system.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// Where the dashboard is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the dashboard listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:20001")]
    address: SocketAddr,

    /// Only print the URL
    #[arg(long)]
    no_browser: bool,
}

/// Prints the URL, and opens it where there is a terminal and a browser.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(admin::request(args.address, Method::GET, "/"));
    if !answer.is_ok_and(|answer| answer.status == StatusCode::OK) {
        let hint = "`meltemi demo`, `up` and `control-plane --dashboard ADDR` serve it; say where with --address ADDR";
        return Err(Failure::new(format!("no dashboard at {}", args.address), hint).into());
    }
    let url = format!("http://{}/", args.address);
    outln!("{url}");
    if !args.no_browser && std::io::stdout().is_terminal() {
        open(&url);
    }
    Ok(ExitCode::SUCCESS)
}

fn open(url: &str) {
    let opens = |program: &&str| {
        let quiet = Command::new(program)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        quiet.is_ok_and(|status| status.success())
    };
    if !OPENERS.iter().any(opens) {
        eprintln!("no browser could be opened here");
    }
}

//! `meltemi bookinfo SERVICE`: one service of the sample, so that `demo` needs this binary only. Hidden from help.
//!
//! Invariant: it behaves as a stranger's program would: told by environment and options, ended by SIGTERM.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::console::outln;
use crate::failure::Failure;

/// Which service, which version, where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// productpage, details, reviews or ratings
    service: String,

    /// Version of the service; reviews has v1, v2, v3, ratings has v1, v-faulty, v-delayed
    #[arg(long = "service-version", default_value = "v1", value_name = "VERSION")]
    service_version: String,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,

    /// Port to listen on; default: the environment's PORT, else 9080
    #[arg(long)]
    port: Option<u16>,
}

/// Runs the service until SIGTERM or Ctrl-C.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let kind = bookinfo::Kind::from_name(&args.service).ok_or_else(|| {
        Failure::usage(
            format!("no Bookinfo service `{}`", args.service),
            "productpage, details, reviews or ratings",
        )
    })?;
    let listen = SocketAddr::new(args.address, port(&args)?);
    let pod =
        std::env::var("POD_NAME").unwrap_or_else(|_| format!("{}-{}", args.service, args.service_version));
    let options = bookinfo::Options { kind, version: args.service_version, pod, listen };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options))
}

fn port(args: &Args) -> Result<u16> {
    match (args.port, std::env::var("PORT")) {
        (Some(port), _) => Ok(port),
        (None, Ok(port)) => port.parse().with_context(|| format!("PORT is `{port}`, which is no port")),
        (None, Err(_)) => Ok(9080),
    }
}

async fn serve(options: bookinfo::Options) -> Result<ExitCode> {
    let listen = options.listen;
    let running = bookinfo::start(options).await.with_context(|| format!("cannot listen on {listen}"))?;
    outln!("listening on {}", running.address());
    crate::console::asked_to_end().await?;
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

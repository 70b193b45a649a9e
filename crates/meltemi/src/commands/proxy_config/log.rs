//! `meltemi proxy-config log`: what a running proxy logs, shown or changed.

use anyhow::Result;

use super::From;
use crate::console::outln;
use crate::failure::Failure;

/// Levels, as Envoy has them.
const LEVELS: [&str; 8] = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"];

/// Which levels.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,

    /// The level of all loggers (`debug`), or of some (`http:debug,router:trace`)
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,

    /// Back to the level that the proxy has by default in a mesh: warning
    #[arg(short, long, conflicts_with = "level")]
    reset: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let source = args.from.source()?;
    let level = if args.reset { Some("warning") } else { args.level.as_deref() };
    let path = match level {
        None => "/logging".to_owned(),
        Some(level) => path(level)?,
    };
    let said = source.post(&path)?;
    outln!("{}", said.trim_end());
    Ok(())
}

/// The admin path that sets a level, or levels of loggers.
fn path(level: &str) -> Result<String> {
    let known = |level: &str| {
        let hint = format!("levels are: {}", LEVELS.join(", "));
        match LEVELS.contains(&level) {
            true => Ok(()),
            false => Err(Failure::usage(format!("{level:?} is no level"), hint)),
        }
    };
    let pairs: Vec<(&str, &str)> = level.split(',').filter_map(|pair| pair.split_once(':')).collect();
    if pairs.is_empty() {
        known(level)?;
        return Ok(format!("/logging?level={level}"));
    }
    for (_, level) in &pairs {
        known(level)?;
    }
    let pairs: Vec<String> = pairs.iter().map(|(name, level)| format!("{name}:{level}")).collect();
    Ok(format!("/logging?paths={}", pairs.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_all_or_of_some() {
        assert_eq!(path("debug").unwrap(), "/logging?level=debug");
        assert_eq!(path("http:debug,router:trace").unwrap(), "/logging?paths=http:debug,router:trace");
        assert!(path("loud").is_err() && path("http:loud").is_err());
    }
}

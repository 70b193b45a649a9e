//! What the process says of itself, by component: levels that can be changed while it runs.
//!
//! The program calls [`start`] first of all; `/logging` reads and changes levels.
//! Invariant: a change that is refused changes nothing.

use std::{
    io::IsTerminal,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::EnvFilter;

/// Puts a filter in force, given in the words of `tracing_subscriber::EnvFilter`.
type Apply = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

static APPLY: OnceLock<Apply> = OnceLock::new();
static LEVELS: Mutex<Levels> = Mutex::new([DEFAULT; COMPONENTS.len()]);

/// What nobody asked to change.
const DEFAULT: Level = Level::Info;

/// Envoy's names of what we have, and the modules behind each; `main` is all the rest.
const COMPONENTS: [(&str, &str); 12] = [
    ("access_log", "meltemi_proxy::access_log"),
    ("admin", "meltemi_proxy::admin"),
    ("config", "meltemi_proxy::xds"),
    ("conn_handler", "meltemi_proxy::worker"),
    ("dns", "meltemi_proxy::cluster::dns"),
    ("filter", "meltemi_proxy::tcp_proxy"),
    ("grpc", "meltemi_xds"),
    ("http", "meltemi_proxy::http"),
    ("http2", "meltemi_proxy::http::h2"),
    ("main", ""),
    ("router", "meltemi_proxy::http::router"),
    ("upstream", "meltemi_proxy::upstream"),
];

type Levels = [Level; COMPONENTS.len()];

/// Envoy's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warning`
    Warning,
    /// `error`, and `critical`, which is none of ours.
    Error,
    /// `off`
    Off,
}

impl Level {
    /// By Envoy's name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warning" | "warn" => Self::Warning,
            "error" | "critical" => Self::Error,
            "off" => Self::Off,
            _ => return None,
        })
    }

    /// Envoy's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Off => "off",
        }
    }

    const fn directive(self) -> &'static str {
        match self {
            Self::Warning => "warn",
            other => other.name(),
        }
    }
}

/// Why levels stay as they are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// No such component.
    #[error("error: unknown logger name")]
    Name,
    /// No such level.
    #[error("error: unknown logger level")]
    Level,
    /// Nobody said how, or it failed.
    #[error("error: {0}")]
    Other(String),
}

/// Starts logging to standard error. `words` is the `--log` option; a bad one falls back to `info` and says so.
pub fn start(words: &str) {
    let (filter, bad) = match EnvFilter::try_new(words) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(wants_colour(&std::io::stderr()))
        .with_target(false)
        .with_filter_reloading();
    let in_force = log.reload_handle();
    log.init();
    let level = words.split(',').find_map(Level::named).unwrap_or(DEFAULT);
    *LEVELS.lock().unwrap_or_else(PoisonError::into_inner) = [level; COMPONENTS.len()];
    // The first caller is heard.
    let _ = APPLY.set(Box::new(move |filter| {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        in_force.reload(filter).map_err(|error| error.to_string())
    }));
    if let Some(error) = bad {
        tracing::warn!("--log is not understood, using info: {error}");
    }
}

/// Whether a stream takes colours: a terminal that was not told otherwise (`NO_COLOR`, `TERM=dumb`).
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !plain
}

/// Components with their levels.
pub fn levels() -> Vec<(&'static str, Level)> {
    let levels = LEVELS.lock().unwrap_or_else(PoisonError::into_inner);
    COMPONENTS.iter().zip(*levels).map(|((name, _), level)| (*name, level)).collect()
}

/// Changes components' levels, all or none; the name `level` means every component.
pub fn change(changes: &[(String, String)]) -> Result<(), Refused> {
    let mut levels = LEVELS.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = changed(*levels, changes)?;
    let Some(apply) = APPLY.get() else { return Err(Refused::Other("nobody set up logging".into())) };
    apply(&filter(&changed)).map_err(Refused::Other)?;
    *levels = changed;
    Ok(())
}

fn changed(mut levels: Levels, changes: &[(String, String)]) -> Result<Levels, Refused> {
    for (name, level) in changes {
        let level = Level::named(level).ok_or(Refused::Level)?;
        if name == "level" {
            levels = [level; COMPONENTS.len()];
            continue;
        }
        let at = COMPONENTS.iter().position(|(known, _)| known == name).ok_or(Refused::Name)?;
        levels[at] = level;
    }
    Ok(levels)
}

/// The longest module path that fits decides, whatever the order.
fn filter(levels: &Levels) -> String {
    let directives = COMPONENTS.iter().zip(levels).map(|((_, module), level)| match *module {
        "" => level.directive().to_owned(),
        module => format!("{module}={}", level.directive()),
    });
    directives.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(changes: &[(&str, &str)]) -> Result<Levels, Refused> {
        let changes: Vec<_> = changes.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect();
        changed([Level::Info; COMPONENTS.len()], &changes)
    }

    #[test]
    fn changes_are_all_or_none_and_make_a_filter() {
        assert_eq!(change(&[("http", "debug"), ("nosuch", "info")]), Err(Refused::Name));
        assert_eq!(change(&[("http", "loud")]), Err(Refused::Level));
        let levels = change(&[("level", "warning"), ("http", "debug")]).unwrap();
        let filter = filter(&levels);
        assert!(filter.contains("meltemi_proxy::http=debug,meltemi_proxy::http::h2=warn,warn,"), "{filter}");
    }
}

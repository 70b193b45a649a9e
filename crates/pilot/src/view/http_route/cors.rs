//! Answers to other origins (VS-095…VS-104).

use meltemi_config::Str;
use meltemi_config::networking::virtual_service::{CorsPolicy, UnmatchedPreflights};

use super::condition;
use crate::model::route::{Cors, TextMatch};

/// A policy.
pub(super) fn cors(config: &CorsPolicy) -> Cors {
    let origins = match &config.allow_origins[..] {
        [] => config.allow_origin.iter().map(|origin| TextMatch::Exact(origin.clone())).collect(),
        some => some.iter().map(condition::text).collect(),
    };
    let joined = |words: &[Str]| words.iter().map(|word| &**word).collect::<Vec<_>>().join(",");
    Cors {
        origins,
        methods: joined(&config.allow_methods),
        headers: joined(&config.allow_headers),
        expose: joined(&config.expose_headers),
        max_age: config.max_age.map(|age| age.0.as_secs()),
        credentials: config.allow_credentials,
        forward_unmatched: config.unmatched_preflights != UnmatchedPreflights::Ignore,
    }
}

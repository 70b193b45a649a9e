//! What stands beside a proxy: who it is ([`node`]), its [`bootstrap`], the program that runs ([`binary`]), and its life
//! ([`supervise`], [`agent`]). Called by `meltemi agent` and, for every workload, by `meltemi up`.
//!
//! Invariant: nothing that an agent starts outlives it ([`reaper`] sees to the case where it is killed outright).

pub mod admin;
pub mod agent;
pub mod binary;
pub mod bootstrap;
mod group;
pub mod node;
pub mod output;
pub mod reaper;
pub mod supervise;

pub use agent::{Agent, AgentOptions};
pub use binary::Binary;
pub use node::{Node, Role};
pub use output::{Line, Stream};
pub use reaper::Reaper;
pub use supervise::{Running, Spec, State};

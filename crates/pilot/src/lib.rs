//! Mesh resources and services in, xDS out.
//!
//! `source` reads objects, `registry` turns them into services and endpoints, `snapshot` holds the whole mesh at a version,
//! `view` resolves it for one proxy into the plain `model`, `translate` maps the model to Envoy's messages, `discovery` serves
//! them. Translation is pure; nothing here knows a Kubernetes client.

pub mod discovery;
pub mod model;
pub mod names;
pub mod node;
pub mod offline;
pub mod registry;
pub mod shared;
pub mod snapshot;
pub mod source;
pub mod translate;
pub mod view;

//! The registry, built from YAML as users write it.

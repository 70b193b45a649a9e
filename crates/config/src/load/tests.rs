//! Reading files and texts: see crates/config/tests for whole documents.

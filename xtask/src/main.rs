//! Verbs for people who work on this repository.
fn main() {}

//! For tests only: real peers, child processes that never outlive a test, free ports, golden folders.
//!
//! Called from the `tests/` folders of the other crates; nothing that ships depends on it.

pub mod client;
pub mod echo;
pub mod golden;
pub mod load;
pub mod peers;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod table;
pub mod tcp;

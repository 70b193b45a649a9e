//! Real clients against a running pilot are in `tests/`; here is what needs no network.

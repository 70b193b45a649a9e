//! Listeners, clusters and routes as they come over the wire: compiled or refused, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::{bootstrap, xds::plane};

fuzz_target!(|data: &[u8]| {
    let encoded = data.to_vec().into();
    if let Ok(bootstrap) = bootstrap::compile(encoded, &bootstrap::Overrides::default()) {
        let _ = plane::validate(bootstrap);
    }
});

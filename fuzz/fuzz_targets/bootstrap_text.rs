//! A bootstrap as text: no panic, and what is read prints and reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_proxy::{bootstrap, xds::plane};
use meltemi_xds::json;

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(wire) = json::wire_from_text(BOOTSTRAP, text) else { return };
    let Some(value) = json::value_from_wire(BOOTSTRAP, &wire) else { return };
    let again = json::wire_from_value(BOOTSTRAP, &value).expect("what is printed can be read");
    assert_eq!(json::value_from_wire(BOOTSTRAP, &again), Some(value));
    if let Ok(bootstrap) = bootstrap::from_text(text, &bootstrap::Overrides::default()) {
        let _ = plane::validate(bootstrap);
    }
});

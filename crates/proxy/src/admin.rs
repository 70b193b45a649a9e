//! Admin server under Envoy's paths.

//! Envoy's xDS v3: messages, their JSON form, and both ends of the discovery protocol.

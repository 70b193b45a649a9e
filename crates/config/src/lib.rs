//! Mesh resources: types, YAML with places, validation.

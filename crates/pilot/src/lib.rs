//! Mesh resources and services in, xDS out.

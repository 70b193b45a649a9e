//! Shutting down without losing a request.

//! Check, quota and report. Nothing lives here yet.

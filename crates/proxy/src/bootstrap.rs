//! The bootstrap file: decoded, checked, turned into settings.

//! The Bookinfo sample: four small services that call each other.

//! Resources through the configuration plane: warming, removal, what is refused.

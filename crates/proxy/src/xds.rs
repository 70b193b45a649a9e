//! xDS resources in: decoded, validated, compiled, published.

//! The routes of a virtual host, in order, behind an index that finds the first match without trying all.

/// Routes with their conditions.
#[derive(Debug, Default)]
pub struct RouteIndex {}

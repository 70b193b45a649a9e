//! `filter_disabled`: the destinations whose connections a listener filter leaves alone.
//!
//! Inspection asks it when a filter's turn comes, so that a destination restored by an earlier filter counts.
//! Invariant: pure, and as deep as the configuration said, which the compiler bounds.

use std::{net::SocketAddr, ops::Range};

use crate::listener::ListenerFilter;

/// `ListenerFilterChainMatchPredicate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationMatch {
    /// `any_match`.
    Any,
    /// `or_match`: at least one holds.
    Or(Vec<Self>),
    /// `and_match`: all hold.
    And(Vec<Self>),
    /// `not_match`.
    Not(Box<Self>),
    /// `destination_port_range`: the first port, and the one after the last; holds for every Unix socket, as in Envoy.
    Ports(Range<u32>),
}

impl DestinationMatch {
    /// True when a connection to `destination` is meant; `None` is a Unix socket.
    pub fn holds(&self, destination: Option<SocketAddr>) -> bool {
        match self {
            Self::Any => true,
            Self::Or(conditions) => conditions.iter().any(|condition| condition.holds(destination)),
            Self::And(conditions) => conditions.iter().all(|condition| condition.holds(destination)),
            Self::Not(condition) => !condition.holds(destination),
            Self::Ports(ports) => destination.is_none_or(|address| ports.contains(&address.port().into())),
        }
    }
}

/// A listener filter with the connections that it leaves alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFilter {
    /// What it does.
    pub filter: ListenerFilter,
    /// `filter_disabled`.
    pub disabled: Option<Box<DestinationMatch>>,
}

impl InstalledFilter {
    /// True when it looks at connections to `destination`.
    pub fn looks_at(&self, destination: Option<SocketAddr>) -> bool {
        self.disabled.as_ref().is_none_or(|disabled| !disabled.holds(destination))
    }
}

impl From<ListenerFilter> for InstalledFilter {
    fn from(filter: ListenerFilter) -> Self {
        Self { filter, disabled: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_their_combinations() {
        let ports = DestinationMatch::Ports(3306..3308);
        let at = |port: u16| Some(SocketAddr::from(([192, 0, 2, 1], port)));
        for (port, holds) in [(3305, false), (3306, true), (3307, true), (3308, false)] {
            assert_eq!(ports.holds(at(port)), holds, "{port}");
            assert_eq!(DestinationMatch::Not(Box::new(ports.clone())).holds(at(port)), !holds, "{port}");
        }
        let or = DestinationMatch::Or(vec![ports.clone(), DestinationMatch::Ports(25..26)]);
        assert!(or.holds(at(25)) && or.holds(at(3306)) && !or.holds(at(26)));
        let and = DestinationMatch::And(vec![DestinationMatch::Any, ports.clone()]);
        assert!(and.holds(at(3306)) && !and.holds(at(25)));
        assert!(ports.holds(None) && !DestinationMatch::Or(Vec::new()).holds(None));
    }
}

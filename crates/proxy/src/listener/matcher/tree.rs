//! `filter_chain_matcher`: a tree of conditions that names the filter chain of a connection.
//!
//! Compiled by `xds::network_matcher`; [`super::FilterChains`] asks it in place of the index where a listener has one.
//! Invariant: whatever the tree, matching ends, and a branch that leads nowhere counts as not taken
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/matching/matching_api>).

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use rustc_hash::FxHashMap;

use super::{ConnectionView, IpPrefix};
use crate::route::strings::StringMatch;

/// `Matcher`.
#[derive(Debug, Default)]
pub struct Tree {
    /// What is looked at.
    pub kind: Kind,
    /// `on_no_match`.
    pub otherwise: Option<Branch>,
}

/// `matcher_type`.
#[derive(Debug, Default)]
pub enum Kind {
    /// None: nothing ever matches.
    #[default]
    Nothing,
    /// `matcher_list`: the first that holds and leads somewhere.
    List(Vec<(Condition, Branch)>),
    /// `exact_match_map`.
    Exact(Input, FxHashMap<Box<str>, Branch>),
    /// `prefix_match_map`, longest first.
    Prefix(Input, Vec<(Box<str>, Branch)>),
    /// `IPMatcher`, longest first.
    Ranges(Input, Vec<Range>),
    /// `ServerNameMatcher`: a name, `*.` and its end, or `*` alone.
    Names(Input, FxHashMap<Box<str>, Arc<Branch>>),
}

/// One range of an `IPMatcher`.
#[derive(Debug)]
pub struct Range {
    /// Which addresses.
    pub range: IpPrefix,
    /// Shared by the ranges that were listed together.
    pub branch: Arc<Branch>,
    /// `exclusive`: looked at only where no closer range holds the address.
    pub exclusive: bool,
}

/// `OnMatch`.
#[derive(Debug)]
pub enum Branch {
    /// The filter chain of that name.
    Chain(Arc<str>),
    /// Go on there.
    Tree(Box<Tree>),
}

/// What of a connection is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `DestinationIPInput`
    DestinationIp,
    /// `DestinationPortInput`
    DestinationPort,
    /// `SourceIPInput`
    SourceIp,
    /// `SourcePortInput`
    SourcePort,
    /// `DirectSourceIPInput`
    DirectSourceIp,
    /// `SourceTypeInput`: `local` from the same machine.
    SourceType,
    /// `ServerNameInput`
    ServerName,
    /// `TransportProtocolInput`
    TransportProtocol,
    /// `ApplicationProtocolInput`: quoted, with commas between.
    ApplicationProtocol,
}

/// `Predicate`.
#[derive(Debug)]
pub enum Condition {
    /// `value_match`
    Text(Input, StringMatch),
    /// The `Ip` matcher.
    Within(Input, Vec<IpPrefix>),
    /// `or_matcher`
    Any(Vec<Condition>),
    /// `and_matcher`
    All(Vec<Condition>),
    /// `not_matcher`
    Not(Box<Condition>),
}

impl Tree {
    /// The name of the filter chain for a connection.
    pub fn find(&self, connection: &ConnectionView<'_>) -> Option<&Arc<str>> {
        let found = match &self.kind {
            Kind::Nothing => None,
            Kind::List(list) => {
                let holding = list.iter().filter(|(condition, _)| condition.holds(connection));
                { holding }.find_map(|(_, branch)| branch.find(connection))
            }
            Kind::Exact(input, map) => {
                input.of(connection).and_then(|text| map.get(&*text)?.find(connection))
            }
            Kind::Prefix(input, list) => input.of(connection).and_then(|text| {
                let mut fitting = list.iter().filter(|(prefix, _)| text.starts_with(&**prefix));
                fitting.find_map(|(_, branch)| branch.find(connection))
            }),
            Kind::Ranges(input, ranges) => input.address(connection).and_then(|address| {
                let holding = ranges.iter().filter(|range| range.range.contains(address)).enumerate();
                let asked = holding.filter(|(at, range)| *at == 0 || !range.exclusive);
                { asked }.find_map(|(_, range)| range.branch.find(connection))
            }),
            Kind::Names(input, names) => {
                let text = input.of(connection);
                text.and_then(|text| patterns(&text).find_map(|name| names.get(&*name)?.find(connection)))
            }
        };
        found.or_else(|| self.otherwise.as_ref()?.find(connection))
    }
}

/// The patterns that take a name, closest first.
fn patterns(name: &str) -> impl Iterator<Item = Box<str>> {
    let dots = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]).into());
    [Box::from(name)].into_iter().chain(dots).chain([Box::from("*")])
}

impl Branch {
    fn find(&self, connection: &ConnectionView<'_>) -> Option<&Arc<str>> {
        match self {
            Self::Chain(name) => Some(name),
            Self::Tree(tree) => tree.find(connection),
        }
    }
}

impl Input {
    /// True for addresses.
    pub fn is_address(self) -> bool {
        matches!(self, Self::DestinationIp | Self::SourceIp | Self::DirectSourceIp)
    }

    fn address(self, connection: &ConnectionView<'_>) -> Option<IpAddr> {
        match self {
            Self::DestinationIp => Some(connection.destination.ip()),
            Self::SourceIp => Some(connection.source.ip()),
            Self::DirectSourceIp => Some(connection.direct_source.ip()),
            _ => None,
        }
    }

    /// As text; `None` where there is nothing to look at.
    fn of<'a>(self, connection: &ConnectionView<'a>) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::DestinationIp | Self::SourceIp | Self::DirectSourceIp => {
                return self.address(connection).map(|address| address.to_string().into());
            }
            Self::DestinationPort => return Some(connection.destination.port().to_string().into()),
            Self::SourcePort => return Some(connection.source.port().to_string().into()),
            Self::SourceType => return connection.is_same_ip_or_loopback().then_some("local".into()),
            Self::ServerName => connection.server_name,
            Self::TransportProtocol => connection.transport_protocol,
            Self::ApplicationProtocol => {
                let quoted = connection.application_protocols.iter().map(|name| format!("'{name}'"));
                let quoted = quoted.collect::<Vec<_>>().join(",");
                return (!quoted.is_empty()).then_some(quoted.into());
            }
        };
        (!text.is_empty()).then_some(text.into())
    }
}

impl Condition {
    fn holds(&self, connection: &ConnectionView<'_>) -> bool {
        match self {
            Self::Text(input, condition) => input.of(connection).is_some_and(|text| condition.matches(&text)),
            Self::Within(input, ranges) => input
                .address(connection)
                .is_some_and(|address| ranges.iter().any(|range| range.contains(address))),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(connection)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(connection)),
            Self::Not(condition) => !condition.holds(connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str) -> Branch {
        Branch::Chain(name.into())
    }

    fn view(destination: &str, server_name: &'static str) -> ConnectionView<'static> {
        ConnectionView {
            destination: destination.parse().unwrap(),
            source: "192.0.2.7:1234".parse().unwrap(),
            direct_source: "192.0.2.7:1234".parse().unwrap(),
            server_name,
            transport_protocol: "raw_buffer",
            application_protocols: &[],
        }
    }

    fn found<'a>(tree: &'a Tree, destination: &str, server_name: &'static str) -> Option<&'a str> {
        tree.find(&view(destination, server_name)).map(|name| &**name)
    }

    #[test]
    fn a_branch_that_leads_nowhere_is_not_taken() {
        let nowhere = Branch::Tree(Box::default());
        let text = |input, text: &str| Condition::Text(input, StringMatch::Exact(text.into()));
        let tree = Tree {
            kind: Kind::List(vec![
                (text(Input::DestinationPort, "80"), nowhere),
                (Condition::Not(Box::new(text(Input::ServerName, "a"))), chain("b")),
            ]),
            otherwise: Some(chain("rest")),
        };
        assert_eq!(found(&tree, "10.0.0.1:80", ""), Some("b"));
        assert_eq!(found(&tree, "10.0.0.1:80", "a"), Some("rest"));
    }

    #[test]
    fn the_longest_prefix_comes_first_and_then_the_next() {
        let map = vec![("ab".into(), Branch::Tree(Box::default())), ("a".into(), chain("short"))];
        let tree = Tree { kind: Kind::Prefix(Input::ServerName, map), otherwise: None };
        assert_eq!(found(&tree, "10.0.0.1:80", "abc"), Some("short"));
        assert_eq!(found(&tree, "10.0.0.1:80", ""), None);
    }

    #[test]
    fn names_match_by_their_ends() {
        let names = ["a.b.c", "*.b.c", "*"].map(|name| (Box::from(name), Arc::new(chain(name))));
        let tree =
            Tree { kind: Kind::Names(Input::ServerName, names.into_iter().collect()), otherwise: None };
        for (name, expected) in [("a.b.c", "a.b.c"), ("x.b.c", "*.b.c"), ("y.x.b.c", "*.b.c"), ("b.c", "*")] {
            assert_eq!(found(&tree, "10.0.0.1:80", name), Some(expected));
        }
        assert_eq!(found(&tree, "10.0.0.1:80", ""), None);
    }

    #[test]
    fn ranges_may_be_for_those_that_no_closer_one_holds() {
        let range = |text: &str, len, branch: Branch, exclusive| Range {
            range: IpPrefix { address: text.parse().unwrap(), len },
            branch: Arc::new(branch),
            exclusive,
        };
        let tree = |exclusive| Tree {
            kind: Kind::Ranges(
                Input::DestinationIp,
                vec![
                    range("10.0.0.0", 24, Branch::Tree(Box::default()), false),
                    range("10.0.0.0", 8, chain("wide"), exclusive),
                ],
            ),
            otherwise: Some(chain("rest")),
        };
        assert_eq!(found(&tree(false), "10.0.0.1:80", ""), Some("wide"));
        assert_eq!(found(&tree(true), "10.0.0.1:80", ""), Some("rest"));
        assert_eq!(found(&tree(true), "10.0.1.1:80", ""), Some("wide"));
        assert_eq!(found(&tree(true), "11.0.1.1:80", ""), Some("rest"));
    }
}

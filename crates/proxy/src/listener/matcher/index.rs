//! The nested index behind filter chain matching: one map per condition, in Envoy's order.
//!
//! Only [`super::FilterChains`] uses it. Invariant: after `seal`, prefix tables are sorted, longest first.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::{ChainMatch, ConnectionView, IpPrefix, SourceType, mask};

/// Chain number in configured order.
type Chain = u32;

/// A map in which one key stands for "any".
#[derive(Debug)]
struct ByKey<K, T> {
    exact: FxHashMap<K, T>,
    any: Option<Box<T>>,
}

impl<K, T> Default for ByKey<K, T> {
    fn default() -> Self {
        Self { exact: FxHashMap::default(), any: None }
    }
}

impl<K: std::hash::Hash + Eq, T: Default> ByKey<K, T> {
    /// The entry of a key, `None` being any.
    fn entry(&mut self, key: Option<K>) -> &mut T {
        match key {
            Some(key) => self.exact.entry(key).or_default(),
            None => self.any.get_or_insert_with(Box::default),
        }
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.any.as_deref_mut())
    }
}

/// Address ranges, of which the longest that holds an address is the only one looked at.
#[derive(Debug)]
struct ByPrefix<T> {
    ranges: Vec<(IpPrefix, T)>,
}

impl<T> Default for ByPrefix<T> {
    fn default() -> Self {
        Self { ranges: Vec::new() }
    }
}

impl<T: Default> ByPrefix<T> {
    fn entry(&mut self, range: IpPrefix) -> &mut T {
        let widest = if range.address.is_ipv4() { 32 } else { 128 };
        let len = range.len.min(widest);
        let range = IpPrefix { address: mask(range.address, len), len };
        let at = match self.ranges.iter().position(|(r, _)| *r == range) {
            Some(at) => at,
            None => {
                self.ranges.push((range, T::default()));
                self.ranges.len() - 1
            }
        };
        &mut self.ranges[at].1
    }

    /// Longest first, so that the first that holds an address is the one.
    fn seal(&mut self) {
        self.ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.len));
    }

    fn find(&self, address: IpAddr) -> Option<&T> {
        self.ranges.iter().find(|(range, _)| range.contains(address)).map(|(_, value)| value)
    }
}

/// Destination port, then everything below it.
#[derive(Debug, Default)]
pub(super) struct Ports(ByKey<u16, ByPrefix<ServerNames>>);

type ServerNames = ByKey<Box<str>, Transports>;
type Transports = ByKey<Box<str>, Applications>;
type Applications = ByKey<Box<str>, DirectSources>;
type DirectSources = ByPrefix<SourceTypes>;
type Sources = ByPrefix<ByKey<u16, Option<Chain>>>;

#[derive(Debug, Default)]
struct SourceTypes {
    any: Option<Sources>,
    local: Option<Sources>,
    external: Option<Sources>,
}

impl Ports {
    /// Files a chain under every combination of its conditions; the chain that is there already is the error.
    pub(super) fn insert(&mut self, conditions: &ChainMatch, chain: Chain) -> Result<(), Chain> {
        let networks = self.0.entry(conditions.destination_port);
        for range in ranges(&conditions.prefix_ranges) {
            for name in keys(&conditions.server_names) {
                let transports = networks.entry(range).entry(name.map(server_name_key));
                let transport = &*conditions.transport_protocol;
                let applications = transports.entry((!transport.is_empty()).then(|| transport.into()));
                for protocol in keys(&conditions.application_protocols) {
                    let directs = applications.entry(protocol.map(|p| (**p).into()));
                    for range in ranges(&conditions.direct_source_prefix_ranges) {
                        insert_sources(directs.entry(range), conditions, chain)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes lookups possible; nothing is inserted afterwards.
    pub(super) fn seal(&mut self) {
        for networks in self.0.values_mut() {
            networks.seal();
            let names = networks.ranges.iter_mut().flat_map(|(_, names)| names.values_mut());
            let applications = names.flat_map(|transports| transports.values_mut());
            for directs in applications.flat_map(|applications| applications.values_mut()) {
                directs.seal();
                for (_, types) in &mut directs.ranges {
                    let sources = [&mut types.any, &mut types.local, &mut types.external];
                    sources.into_iter().flatten().for_each(ByPrefix::seal);
                }
            }
        }
    }

    pub(super) fn find(&self, connection: &ConnectionView<'_>) -> Option<Chain> {
        let networks = match self.0.exact.get(&connection.destination.port()) {
            Some(networks) => networks,
            None => self.0.any.as_deref()?,
        };
        let names = networks.find(connection.destination.ip())?;
        let transports = find_server_name(names, connection.server_name)?;
        let applications =
            transports.exact.get(connection.transport_protocol).or(transports.any.as_deref())?;
        let offered = connection.application_protocols.iter();
        let directs = offered
            .filter_map(|protocol| applications.exact.get(&**protocol))
            .next()
            .or(applications.any.as_deref())?;
        let types = directs.find(connection.direct_source.ip())?;
        let ports = find_sources(types, connection)?.find(connection.source.ip())?;
        match ports.exact.get(&connection.source.port()) {
            Some(chain) => *chain,
            None => *ports.any.as_deref()?,
        }
    }
}

fn insert_sources(types: &mut SourceTypes, conditions: &ChainMatch, chain: Chain) -> Result<(), Chain> {
    let sources = match conditions.source_type {
        SourceType::Any => &mut types.any,
        SourceType::SameIpOrLoopback => &mut types.local,
        SourceType::External => &mut types.external,
    };
    let sources = sources.get_or_insert_with(Sources::default);
    for range in ranges(&conditions.source_prefix_ranges) {
        for port in keys(&conditions.source_ports) {
            let place = sources.entry(range).entry(port.copied());
            match *place {
                // The same chain may say the same thing twice (repeated names, overlapping spellings of a range).
                Some(other) if other != chain => return Err(other),
                _ => *place = Some(chain),
            }
        }
    }
    Ok(())
}

/// Exact name, then ever shorter suffixes, then chains that ask for none.
fn find_server_name<'a>(names: &'a ServerNames, name: &str) -> Option<&'a Transports> {
    if !name.is_empty() {
        if let Some(found) = names.exact.get(name) {
            return Some(found);
        }
        let mut from = 1;
        while let Some(dot) = name.get(from..).and_then(|rest| rest.find('.')).map(|dot| dot + from) {
            if dot + 1 >= name.len() {
                break;
            }
            if let Some(found) = names.exact.get(&name[dot..]) {
                return Some(found);
            }
            from = dot + 1;
        }
    }
    names.any.as_deref()
}

fn find_sources<'a>(types: &'a SourceTypes, connection: &ConnectionView<'_>) -> Option<&'a Sources> {
    let specific = if types.local.is_none() && types.external.is_none() {
        &None
    } else if connection.is_same_ip_or_loopback() {
        &types.local
    } else {
        &types.external
    };
    specific.as_ref().or(types.any.as_ref())
}

/// `*.example.com` is filed as `.example.com`, which no SNI can be.
fn server_name_key(name: &std::sync::Arc<str>) -> Box<str> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix('*') {
        Some(suffix) => suffix.into(),
        None => name.into(),
    }
}

/// The ranges, or everything when there are none.
fn ranges(ranges: &[IpPrefix]) -> impl Iterator<Item = IpPrefix> {
    const ALL: [IpPrefix; 2] = [
        IpPrefix { address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), len: 0 },
        IpPrefix { address: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), len: 0 },
    ];
    let given = if ranges.is_empty() { &ALL[..] } else { ranges };
    given.iter().copied()
}

/// The keys, or one "any" when there are none.
fn keys<K>(keys: &[K]) -> impl Iterator<Item = Option<&K>> {
    let any = keys.is_empty().then_some(None);
    keys.iter().map(Some).chain(any)
}

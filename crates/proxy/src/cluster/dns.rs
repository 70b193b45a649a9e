//! Names to addresses for STRICT_DNS and LOGICAL_DNS clusters: one task per cluster that resolves, tells what changed,
//! and sleeps until the next time.
//!
//! Started by `xds::plane`. The system's resolver is asked (so `/etc/hosts` and `localhost` work); where TTLs are to be
//! respected, the name servers of `resolv.conf` are.
//! Invariant: a failed lookup keeps the addresses of before.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use crate::{
    cluster::{Address, endpoints::LocalityEndpoints},
    xds::{cluster::Dns, endpoint::HostTarget},
};

/// Lookups that may be under way at once in the process; each takes a thread while it waits.
static LOOKUPS: Semaphore = Semaphore::const_new(8);

/// `dns_lookup_family`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv6 if there is any, else IPv4.
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// IPv4 if there is any, else IPv6.
    PreferV4,
    /// Both.
    All,
}

/// Addresses of one name, and how long they are good if that is known.
type Answer = Result<(Vec<IpAddr>, Option<Duration>), String>;

/// Resolves for ever; `tell` gets the hosts after the first round, whatever came of it, and after every change.
pub async fn run(cluster: Arc<str>, dns: Arc<Dns>, mut tell: impl FnMut(Vec<LocalityEndpoints>) + Send) {
    let mut known: BTreeMap<Arc<str>, Vec<IpAddr>> = BTreeMap::new();
    let mut told = false;
    let mut failure_wait = dns.failure_refresh.0;
    loop {
        let (mut changed, mut failed, mut ttl) = (!told, false, None::<Duration>);
        for name in names(&dns) {
            match resolve(&name, &dns).await {
                Ok((found, good_for)) => {
                    ttl = ttl.into_iter().chain(good_for).min();
                    changed |= remember(&mut known, &name, found, dns.logical);
                }
                Err(error) => {
                    failed = true;
                    tracing::debug!(%cluster, %name, error, "name not resolved; what was known stays");
                }
            }
        }
        if changed {
            tell(hosts(&dns, &known));
            told = true;
        }
        let wait = if failed {
            let wait = failure_wait.mul_f64(0.5 + fastrand::f64() / 2.0);
            failure_wait = (failure_wait * 2).min(dns.failure_refresh.1);
            wait
        } else {
            failure_wait = dns.failure_refresh.0;
            ttl.filter(|_| dns.respect_ttl).unwrap_or(dns.refresh).max(Duration::from_millis(1))
        };
        tokio::time::sleep(wait).await;
    }
}

/// Each name once.
fn names(dns: &Dns) -> Vec<Arc<str>> {
    let hosts = dns.assignment.localities.iter().flat_map(|locality| &locality.hosts);
    let mut names: Vec<_> = hosts
        .filter_map(|host| match &host.target {
            HostTarget::Name(name, _) => Some(name.clone()),
            HostTarget::Address(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Takes an answer in; true when it changes something. A logical host stays with its address while that is among the
/// answers, so that its connections do.
fn remember(
    known: &mut BTreeMap<Arc<str>, Vec<IpAddr>>,
    name: &Arc<str>,
    mut found: Vec<IpAddr>,
    logical: bool,
) -> bool {
    let before = known.get(name);
    if logical {
        let current = before.and_then(|before| before.first()).filter(|address| found.contains(address));
        found = current.or(found.first()).copied().into_iter().collect();
    } else {
        found.sort_unstable();
        found.dedup();
    }
    if before == Some(&found) {
        return false;
    }
    known.insert(name.clone(), found);
    true
}

fn hosts(dns: &Dns, known: &BTreeMap<Arc<str>, Vec<IpAddr>>) -> Vec<LocalityEndpoints> {
    dns.assignment.resolve_with(|name, port| {
        let found = known.get(name).map(Vec::as_slice).unwrap_or_default();
        found.iter().map(|ip| Address::Socket((*ip, port).into())).collect()
    })
}

async fn resolve(name: &str, dns: &Dns) -> Answer {
    if let Ok(ip) = name.parse() {
        return Ok((vec![ip], None));
    }
    if dns.respect_ttl {
        let _permit = LOOKUPS.acquire().await.map_err(|error| error.to_string())?;
        if let Ok((found, ttl)) = ask_servers(name).await {
            return Ok((choose(&found, dns.family), ttl));
        }
    }
    Ok((lookup(name, dns.family).await?, None))
}

/// Addresses of a name, once, from the system's resolver; at least one.
pub async fn lookup(name: &str, family: Family) -> Result<Vec<IpAddr>, String> {
    let found = match is_below_localhost(name) {
        true => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        false => ask_system(name).await?,
    };
    match choose(&found, family) {
        none if none.is_empty() => Err("no address of the wanted family".to_owned()),
        found => Ok(found),
    }
}

async fn ask_system(name: &str) -> Result<Vec<IpAddr>, String> {
    let _permit = LOOKUPS.acquire().await.map_err(|error| error.to_string())?;
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| error.to_string())?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Names below `localhost` are this machine, and nobody is asked for them (RFC 6761, 6.3); as Envoy's resolver does.
fn is_below_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
    let suffix = b".localhost";
    name.len() > suffix.len() && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

/// The name servers of `resolv.conf`, for answers with a TTL.
async fn ask_servers(name: &str) -> Answer {
    let builder = hickory_resolver::TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
    let resolver = builder.build().map_err(|error| error.to_string())?;
    let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
    let ttl = found.valid_until().saturating_duration_since(Instant::now().into_std());
    Ok((found.iter().collect(), Some(ttl)))
}

fn choose(found: &[IpAddr], family: Family) -> Vec<IpAddr> {
    let of = |v4: bool| -> Vec<IpAddr> { found.iter().filter(|ip| ip.is_ipv4() == v4).copied().collect() };
    let prefer = |v4: bool| Some(of(v4)).filter(|found| !found.is_empty()).unwrap_or_else(|| of(!v4));
    match family {
        Family::V4 => of(true),
        Family::V6 => of(false),
        Family::Auto => prefer(false),
        Family::PreferV4 => prefer(true),
        Family::All => found.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::xds::endpoint::{Assignment, Host, LocalityHosts};

    fn dns(name: &str, family: Family) -> Arc<Dns> {
        let target = HostTarget::Name(name.into(), 80);
        let host = Host {
            logged: None,
            target,
            hostname: Some(name.into()),
            weight: 1,
            health: Default::default(),
            hash_key: None,
            metadata: None,
            check: None,
        };
        let locality = LocalityHosts { priority: 0, locality: None, weight: 0, hosts: vec![host] };
        Arc::new(Dns {
            assignment: Assignment { localities: vec![locality], overprovisioning: 140 },
            logical: false,
            refresh: Duration::from_secs(5),
            failure_refresh: (Duration::from_secs(5), Duration::from_secs(5)),
            respect_ttl: false,
            family,
        })
    }

    async fn first(dns: Arc<Dns>) -> Vec<LocalityEndpoints> {
        let (send, mut receive) = mpsc::unbounded_channel();
        let task = tokio::spawn(run("c".into(), dns, move |hosts| drop(send.send(hosts))));
        let hosts = receive.recv().await.unwrap();
        task.abort();
        hosts
    }

    #[tokio::test]
    async fn localhost_resolves() {
        let hosts = first(dns("localhost", Family::V4)).await;
        assert_eq!(hosts[0].hosts[0].address, Address::Socket(([127, 0, 0, 1], 80).into()));
        assert_eq!(hosts[0].hosts[0].hostname.as_deref(), Some("localhost"));
    }

    #[tokio::test]
    async fn names_below_localhost_are_this_machine() {
        for (name, wanted) in
            [("a.localhost", true), ("A.b.LocalHost.", true), (".localhost", false), ("alocalhost", false)]
        {
            assert_eq!(is_below_localhost(name), wanted, "{name}");
        }
        assert_eq!(lookup("shop.localhost", Family::V4).await, Ok(vec![IpAddr::from([127, 0, 0, 1])]));
        assert_eq!(lookup("shop.localhost", Family::V6).await, Ok(vec![Ipv6Addr::LOCALHOST.into()]));
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_told_as_nobody() {
        assert!(first(dns("no-such-name.invalid", Family::V4)).await[0].hosts.is_empty());
    }

    #[test]
    fn a_logical_host_stays_while_it_can() {
        let ip = |n| IpAddr::from([10, 0, 0, n]);
        let (mut known, name) = (BTreeMap::new(), Arc::from("a"));
        assert!(remember(&mut known, &name, vec![ip(1), ip(2)], true));
        assert!(!remember(&mut known, &name, vec![ip(2), ip(1)], true));
        assert!(remember(&mut known, &name, vec![ip(3)], true));
        assert_eq!(known[&name], [ip(3)]);
    }

    #[test]
    fn families() {
        let (four, six) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1]));
        for (family, wanted) in [
            (Family::Auto, vec![six]),
            (Family::PreferV4, vec![four]),
            (Family::V4, vec![four]),
            (Family::V6, vec![six]),
            (Family::All, vec![four, six]),
        ] {
            assert_eq!(choose(&[four, six], family), wanted);
        }
        assert_eq!(choose(&[four], Family::Auto), [four]);
    }
}

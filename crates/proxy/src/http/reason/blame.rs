//! Sentences that name the resource at fault, from names alone: said of requests that failed ([`super`]) and of those that
//! would ([`crate::explain`]).
//!
//! Invariant: both say the same words for the same fault.

/// Istio's cluster for destinations that are in nobody's registry where those are not let through.
const BLACK_HOLE: &str = "BlackHoleCluster";

/// Istio's route for hosts that are in nobody's registry where those are not let through.
pub const BLOCK_ALL: &str = "block_all";

/// `/apis/GROUP/VERSION/namespaces/NS/virtual-service/NAME` as `VirtualService NS/NAME`.
pub fn named(config: Option<&str>, otherwise: &str) -> String {
    let Some(config) = config else { return otherwise.to_owned() };
    let mut parts = config.rsplit('/');
    let (Some(name), Some(kind), Some(namespace)) = (parts.next(), parts.next(), parts.next()) else {
        return config.to_owned();
    };
    let words = kind.split('-').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    });
    format!("{} {namespace}/{name}", words.collect::<String>())
}

/// A cluster as those know it who wrote the mesh's resources.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// Istio's path of the DestinationRule.
    pub rule: Option<&'a str>,
    /// Subset; empty if it is the whole service.
    pub subset: &'a str,
    /// Host; the cluster's name if that is not one of Istio's.
    pub host: &'a str,
    /// Port; empty likewise.
    pub port: &'a str,
}

impl<'a> Destination<'a> {
    /// From the cluster's name (`outbound|PORT|SUBSET|HOST`) and its `config` in metadata.
    pub fn of(cluster: &'a str, rule: Option<&'a str>) -> Self {
        let mut fields = cluster.splitn(4, '|');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some("outbound" | "inbound"), Some(port), Some(subset), Some(host)) if !host.is_empty() => {
                Self { rule, subset, host, port }
            }
            _ => Self { rule, subset: "", host: cluster, port: "" },
        }
    }

    /// The rule that made the cluster what it is, else the service.
    pub fn text(&self) -> String {
        match (self.rule, self.subset) {
            (Some(rule), "") => named(Some(rule), ""),
            (Some(rule), subset) => format!("{}, subset {subset},", named(Some(rule), "")),
            (None, _) => self.service(),
        }
    }

    fn service(&self) -> String {
        if self.port.is_empty() { self.host.to_owned() } else { format!("{}:{}", self.host, self.port) }
    }

    /// There is nobody behind the cluster.
    pub fn no_endpoints(&self) -> String {
        match (self.rule, self.subset) {
            _ if self.host == BLACK_HOLE => not_in_registry("the address"),
            (Some(rule), subset) if !subset.is_empty() => {
                format!("{} has no endpoints for subset {subset}", named(Some(rule), ""))
            }
            _ => format!("{} has no endpoints", self.service()),
        }
    }

    /// Those behind the cluster are not well.
    pub fn none_healthy(&self, bad: usize, all: usize) -> String {
        format!("{} has no healthy endpoint: {bad} of {all} are not", self.text())
    }

    /// What a rule leads to does not exist.
    pub fn unknown(&self, rule: &str) -> String {
        match (self.port, self.subset) {
            ("", _) if self.host.is_empty() => {
                format!("{rule} takes the cluster from a header that the request does not have")
            }
            ("", _) => format!("{rule} leads to cluster {}, which does not exist", self.host),
            (port, "") => {
                format!("{rule} leads to {}, which has no port {port} or does not exist", self.host)
            }
            (_, subset) => {
                format!(
                    "{rule} leads to subset {subset} of {}, which no DestinationRule defines",
                    self.service()
                )
            }
        }
    }
}

/// Nobody here knows the host, and it is not for everybody to go anywhere.
pub fn not_in_registry(what: &str) -> String {
    format!("{what} belongs to no service that is visible here, and outboundTrafficPolicy is REGISTRY_ONLY")
}

/// No virtual host has the host among its domains.
pub fn no_host(host: &str) -> String {
    format!("no VirtualService or service here is for host {host}")
}

/// The virtual host has no rule for the request; `rule` is the resource that made it, if any did.
pub fn no_rule(rule: Option<&str>, virtual_host: &str, method: &str, path: &str) -> String {
    let who = named(rule, &format!("virtual host {virtual_host}"));
    format!("{who} has no rule that takes {method} {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "/apis/networking.istio.io/v1alpha3/namespaces/default/destination-rule/reviews";

    #[test]
    fn resources_are_named_as_users_write_them() {
        assert_eq!(named(Some(RULE), ""), "DestinationRule default/reviews");
        assert_eq!(named(None, "the route"), "the route");
        assert_eq!(named(Some("odd"), ""), "odd");
    }

    #[test]
    fn destinations_are_blamed_by_rule_else_by_service() {
        let subset = Destination::of("outbound|9080|v2|reviews.default.svc.cluster.local", Some(RULE));
        assert_eq!(subset.no_endpoints(), "DestinationRule default/reviews has no endpoints for subset v2");
        assert_eq!(
            subset.none_healthy(1, 1),
            "DestinationRule default/reviews, subset v2, has no healthy endpoint: 1 of 1 are not"
        );
        let whole = Destination::of("outbound|9080||reviews.example", None);
        assert_eq!(whole.no_endpoints(), "reviews.example:9080 has no endpoints");
        let rule = "VirtualService default/shop";
        assert_eq!(
            whole.unknown(rule),
            "VirtualService default/shop leads to reviews.example, which has no port 9080 or does not exist"
        );
        assert_eq!(
            Destination::of("outbound|9080|v9|reviews.example", None).unknown(rule),
            "VirtualService default/shop leads to subset v9 of reviews.example:9080, which no DestinationRule defines"
        );
        assert!(Destination::of(BLACK_HOLE, None).no_endpoints().contains("REGISTRY_ONLY"));
        assert_eq!(Destination::of("c", None).no_endpoints(), "c has no endpoints");
    }
}

//! Copies of requests (VS-020…VS-023).

use meltemi_config::networking::virtual_service::{HttpRoute, Percent};

use super::{Place, View};
use crate::model::route::{Fraction, Mirror};
use crate::snapshot::virtual_service::Resolved;

impl View<'_> {
    /// Who gets copies of a rule's requests.
    pub(super) fn mirrors(&self, resolved: &Resolved, rule: &HttpRoute, place: Place<'_>) -> Vec<Mirror> {
        let first = rule.mirror.iter().zip(share(rule));
        let more = rule.mirrors.iter().filter_map(|mirror| {
            Some((mirror.destination.as_ref()?, percentage(mirror.percentage.as_ref())?))
        });
        first
            .chain(more)
            .map(|(to, share)| Mirror { cluster: self.destination_cluster(resolved, to, place.port), share })
            .collect()
    }
}

/// Share of the one in `mirror`; `None`: nothing is copied.
fn share(rule: &HttpRoute) -> Option<Fraction> {
    match (&rule.mirror_percentage, rule.mirror_percent) {
        (None, Some(0)) => None,
        (None, Some(percent)) => Some(Fraction::Percent(percent)),
        (share, _) => percentage(share.as_ref()),
    }
}

/// Unset: all of them; zero: none.
fn percentage(share: Option<&Percent>) -> Option<Fraction> {
    match share {
        None => Some(Fraction::Percent(100)),
        Some(percent) if percent.value > 0.0 => Some(super::fault::million(percent.value)),
        Some(_) => None,
    }
}

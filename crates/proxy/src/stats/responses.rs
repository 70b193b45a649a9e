//! Responses of a cluster: by code and time, apart for requests from inside and outside.
//!
//! The connection manager counts each response once; Envoy's three sets of names are told when they are read.
//! Invariant: what stands without `internal.` or `external.` is the sum of both.

use super::{Codes, Group, Histogram, Stat, Visitor, sum};

/// `cluster.<stat_name>.`, `.internal.` and `.external.`: what one worker passed on from a cluster.
#[derive(Debug, Default)]
pub struct ResponseStats {
    /// To requests with `x-envoy-internal`.
    pub internal: Responses,
    /// To all others.
    pub external: Responses,
}

/// Responses and how long they took.
#[derive(Debug, Default)]
pub struct Responses {
    /// `upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_completed`.
    pub upstream_rq: Codes,
    /// `upstream_rq_time`, in milliseconds.
    pub upstream_rq_time: Histogram,
}

impl Group for ResponseStats {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (prefix, responses) in [("internal", &self.internal), ("external", &self.external)] {
            responses.visit(&mut |name, sample| visitor(&format!("{prefix}.{name}"), sample));
        }
        let both: [&dyn Group; 2] = [&self.internal, &self.external];
        sum(both).into_iter().for_each(|(name, sample)| visitor(&name, sample));
    }

    fn reset(&self) {
        self.internal.reset();
        self.external.reset();
    }
}

impl Group for Responses {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.upstream_rq.visit("upstream_rq", visitor);
        // As in Envoy, there is none before the first response.
        if !self.upstream_rq_time.is_empty() {
            self.upstream_rq_time.visit("upstream_rq_time", visitor);
        }
    }

    fn reset(&self) {
        Stat::reset(&self.upstream_rq);
    }
}

//! Which records a log takes.
//!
//! Invariant: a filter that we cannot decide is refused when it is compiled, never assumed.

use meltemi_xds::pb::envoy::config::accesslog::v3::{
    AccessLogFilter, ComparisonFilter, access_log_filter::FilterSpecifier, comparison_filter::Op,
};

use crate::{access_log::record::Record, error::FLAGS};

/// A compiled `AccessLogFilter`.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    Status(Op, u64),
    Duration(Op, u64),
    /// All but Envoy's health checks, of which there are none here yet.
    NotHealthCheck,
    /// Any of these flags; with zero, any flag at all.
    Flags(u32),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

impl Filter {
    /// Compiles a filter; the error names what is not supported.
    pub(super) fn compile(filter: &AccessLogFilter) -> Result<Self, String> {
        let specifier = filter.filter_specifier.as_ref().ok_or("an access log filter without a kind")?;
        Ok(match specifier {
            FilterSpecifier::StatusCodeFilter(status) => {
                let (op, value) = comparison(status.comparison.as_ref())?;
                Self::Status(op, value)
            }
            FilterSpecifier::DurationFilter(duration) => {
                let (op, value) = comparison(duration.comparison.as_ref())?;
                Self::Duration(op, value)
            }
            FilterSpecifier::NotHealthCheckFilter(_) => Self::NotHealthCheck,
            FilterSpecifier::ResponseFlagFilter(flags) => Self::Flags(flag_bits(&flags.flags)?),
            FilterSpecifier::AndFilter(and) => Self::And(all(&and.filters)?),
            FilterSpecifier::OrFilter(or) => Self::Or(all(&or.filters)?),
            other => return Err(format!("access log filter {} is not supported", name(other))),
        })
    }

    /// True when the record is to be logged.
    pub(super) fn passes(&self, record: &Record<'_>) -> bool {
        match self {
            Self::Status(op, value) => compare(*op, u64::from(record.status), *value),
            Self::Duration(op, value) => {
                let millis = record.times.total.map_or(0, |total| total.as_millis() as u64);
                compare(*op, millis, *value)
            }
            Self::NotHealthCheck => true,
            Self::Flags(0) => record.flags.is_printed(),
            Self::Flags(bits) => record.flags.has(*bits),
            Self::And(filters) => filters.iter().all(|filter| filter.passes(record)),
            Self::Or(filters) => filters.iter().any(|filter| filter.passes(record)),
        }
    }
}

fn all(filters: &[AccessLogFilter]) -> Result<Vec<Filter>, String> {
    filters.iter().map(Filter::compile).collect()
}

fn comparison(comparison: Option<&ComparisonFilter>) -> Result<(Op, u64), String> {
    let comparison = comparison.ok_or("an access log filter without a comparison")?;
    let op = Op::try_from(comparison.op).map_err(|_| format!("unknown comparison {}", comparison.op))?;
    let value = comparison.value.as_ref().ok_or("a comparison without a value")?;
    Ok((op, u64::from(value.default_value)))
}

fn compare(op: Op, left: u64, right: u64) -> bool {
    match op {
        Op::Eq => left == right,
        Op::Ge => left >= right,
        Op::Le => left <= right,
        Op::Ne => left != right,
    }
}

fn flag_bits(names: &[String]) -> Result<u32, String> {
    names.iter().try_fold(0, |bits, name| {
        let flag = FLAGS.iter().find(|(_, short, _)| short == name);
        flag.map(|(bit, _, _)| bits | bit)
            .ok_or_else(|| format!("unknown response flag {name} in an access log filter"))
    })
}

fn name(specifier: &FilterSpecifier) -> &'static str {
    match specifier {
        FilterSpecifier::TraceableFilter(_) => "traceable_filter",
        FilterSpecifier::RuntimeFilter(_) => "runtime_filter",
        FilterSpecifier::HeaderFilter(_) => "header_filter",
        FilterSpecifier::GrpcStatusFilter(_) => "grpc_status_filter",
        FilterSpecifier::MetadataFilter(_) => "metadata_filter",
        FilterSpecifier::LogTypeFilter(_) => "log_type_filter",
        FilterSpecifier::ExtensionFilter(_) => "extension_filter",
        _ => "of this kind",
    }
}

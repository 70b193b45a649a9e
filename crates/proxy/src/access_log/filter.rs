//! Which records a log takes.
//!
//! Invariant: a filter that we cannot decide is refused when it is compiled, never assumed.

use meltemi_xds::{
    pb::envoy::{
        config::accesslog::v3::{
            AccessLogFilter, ComparisonFilter, ExtensionFilter, RuntimeFilter,
            access_log_filter::FilterSpecifier, comparison_filter::Op, extension_filter::ConfigType,
        },
        data::accesslog::v3::AccessLogType,
        extensions::access_loggers::filters::cel::v3::ExpressionFilter,
    },
    unpack,
};
use prost::Name;

use crate::{
    access_log::{facts, record::Record},
    cel::Expression,
    error::FLAGS,
    http::message::View,
    route::matcher::HeaderMatch,
    xds::{Context, fields, matchers},
};

/// A compiled `AccessLogFilter`.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    Status(Op, u64),
    Duration(Op, u64),
    /// All but Envoy's health checks, of which there are none here yet.
    All,
    /// Requests that are traced (none is), and metadata that is not there.
    None,
    /// Any of these flags; with zero, any flag at all.
    Flags(u32),
    Header(HeaderMatch),
    /// A share, of request ids or of random numbers.
    Share {
        share: u64,
        of: u64,
        random: bool,
    },
    /// Any of these, or none of them.
    Grpc(Vec<u32>, bool),
    Kind(Vec<i32>, bool),
    Expression(Expression),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

impl Filter {
    /// Compiles a filter; the error names what is not supported.
    pub(super) fn compile(filter: &AccessLogFilter, context: &mut Context) -> Result<Self, String> {
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
            FilterSpecifier::NotHealthCheckFilter(_) => Self::All,
            // No request is traced.
            FilterSpecifier::TraceableFilter(_) => Self::None,
            FilterSpecifier::RuntimeFilter(filter) => share(filter)?,
            FilterSpecifier::HeaderFilter(filter) => {
                let header = filter.header.as_ref().ok_or("header_filter without a header")?;
                Self::Header(matchers::header(header, context).map_err(|error| error.to_string())?)
            }
            FilterSpecifier::ResponseFlagFilter(flags) => Self::Flags(flag_bits(&flags.flags)?),
            FilterSpecifier::GrpcStatusFilter(filter) => {
                let numbers = filter.statuses.iter().filter_map(|status| u32::try_from(*status).ok());
                Self::Grpc(numbers.collect(), filter.exclude)
            }
            // No filter leaves metadata, so that what is asked for is never found.
            FilterSpecifier::MetadataFilter(filter) => {
                match fields::flag(filter.match_if_key_not_found.as_ref(), true) {
                    true => Self::All,
                    false => Self::None,
                }
            }
            FilterSpecifier::LogTypeFilter(filter) => {
                let known = filter.types.iter().all(|kind| AccessLogType::try_from(*kind).is_ok());
                if !known {
                    return Err("log_type_filter: an unknown type".to_owned());
                }
                Self::Kind(filter.types.clone(), filter.exclude)
            }
            FilterSpecifier::ExtensionFilter(filter) => extension(filter)?,
            FilterSpecifier::AndFilter(and) => Self::And(all(&and.filters, context)?),
            FilterSpecifier::OrFilter(or) => Self::Or(all(&or.filters, context)?),
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
            Self::All => true,
            Self::None => false,
            Self::Flags(0) => record.flags.is_printed(),
            Self::Flags(bits) => record.flags.has(*bits),
            Self::Header(header) => record.request.is_some_and(|head| {
                let random = record.info.map_or(0, |info| info.random);
                header.matches(&View { head, tls: false, random })
            }),
            Self::Share { share, of, random } => drawn(record, *random) % of < *share,
            // As in Envoy, what says nothing is UNKNOWN.
            Self::Grpc(statuses, exclude) => {
                statuses.contains(&facts::grpc_status(record).unwrap_or(2)) != *exclude
            }
            Self::Kind(kinds, exclude) => kinds.contains(&record.kind.named().1) != *exclude,
            Self::Expression(expression) => expression.holds(record),
            Self::And(filters) => filters.iter().all(|filter| filter.passes(record)),
            Self::Or(filters) => filters.iter().any(|filter| filter.passes(record)),
        }
    }
}

fn all(filters: &[AccessLogFilter], context: &mut Context) -> Result<Vec<Filter>, String> {
    filters.iter().map(|filter| Filter::compile(filter, context)).collect()
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

fn share(filter: &RuntimeFilter) -> Result<Filter, String> {
    let percent = filter.percent_sampled.unwrap_or_default();
    let (share, of) = fields::fraction(&percent).map_err(|error| error.to_string())?;
    let random = filter.use_independent_randomness;
    Ok(Filter::Share { share: u64::from(share), of: u64::from(of.max(1)), random })
}

/// A number that is the same for all who see the request's id, where it has one and that is wanted.
fn drawn(record: &Record<'_>, random: bool) -> u64 {
    let id = record.request.filter(|_| !random).and_then(|head| head.headers.get_named("x-request-id"));
    let number = id.and_then(|id| u64::from_str_radix(std::str::from_utf8(id.get(..8)?).ok()?, 16).ok());
    number.unwrap_or_else(|| fastrand::u64(..))
}

fn flag_bits(names: &[String]) -> Result<u32, String> {
    // Known to Envoy, of filters that there are not here: never set.
    const FOREIGN: [&str; 9] = ["LH", "RL", "UAEX", "RLSE", "IH", "RFCF", "NFCF", "DO", "UDO"];
    names.iter().try_fold(0, |bits, name| {
        let flag = FLAGS.iter().find(|(_, short, _)| short == name);
        match flag {
            Some((bit, _, _)) => Ok(bits | bit),
            // Keeps "none of those" apart from "any".
            None if FOREIGN.contains(&name.as_str()) => Ok(bits | 1 << 31),
            None => Err(format!("unknown response flag {name} in an access log filter")),
        }
    })
}

fn extension(filter: &ExtensionFilter) -> Result<Filter, String> {
    match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) if any.type_url == ExpressionFilter::type_url() => {
            let config: ExpressionFilter = unpack(any).map_err(|error| error.to_string())?;
            Ok(Filter::Expression(Expression::compile(&config.expression)?))
        }
        Some(ConfigType::TypedConfig(any)) => {
            Err(format!("access log filter {} ({}) is not supported", filter.name, any.type_url))
        }
        None => Err(format!("access log filter {} has no typed_config", filter.name)),
    }
}

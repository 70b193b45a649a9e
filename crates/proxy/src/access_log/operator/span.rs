//! Durations between two moments of a request or connection.
//!
//! Invariant: a moment that never came, or an end before its beginning, is no value.

use std::time::{Duration, Instant};

use super::write::integer;
use crate::{
    access_log::{facts, record::Record},
    http::clock,
};

/// A duration that a format asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span {
    Total,
    Request,
    RequestSent,
    Response,
    ResponseSent,
    PoolReady,
    /// Of HTTP/3 and TLS: never.
    Never,
    /// `COMMON_DURATION`.
    Between(Point, Point, Precision),
}

/// A moment. What Envoy knows and we do not measure is `Never`, as is what only filters of its own set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    RequestBegin,
    RequestEnd,
    ConnectBegin,
    ConnectEnd,
    UpstreamRequestBegin,
    UpstreamRequestEnd,
    ResponseBegin,
    ResponseEnd,
    AnswerBegin,
    End,
    ConnectionBegin,
    ConnectionEnd,
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Precision {
    Millis,
    Micros,
    Nanos,
}

impl Span {
    /// By the command's name; `None`: it is about no duration.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Option<Self>, String> {
        let span = match name {
            "DURATION" => Self::Total,
            "REQUEST_DURATION" => Self::Request,
            "REQUEST_TX_DURATION" => Self::RequestSent,
            "RESPONSE_DURATION" => Self::Response,
            "RESPONSE_TX_DURATION" => Self::ResponseSent,
            "UPSTREAM_CONNECTION_POOL_READY_DURATION" => Self::PoolReady,
            "ROUNDTRIP_DURATION" | "DOWNSTREAM_HANDSHAKE_DURATION" => Self::Never,
            "COMMON_DURATION" => return between(argument.unwrap_or_default()).map(Some),
            _ => return Ok(None),
        };
        if argument.is_some() {
            return Err("takes no argument".to_owned());
        }
        Ok(Some(span))
    }

    /// Appends it.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &Record<'_>) -> bool {
        let times = &record.times;
        let span = match self {
            Self::Total => times.total,
            Self::Request => times.request,
            Self::RequestSent => times.request_sent,
            Self::Response => times.response,
            Self::ResponseSent => {
                times.total.zip(times.response).map(|(total, response)| total.saturating_sub(response))
            }
            Self::PoolReady => facts::pool_ready(record),
            Self::Never => None,
            Self::Between(from, to, precision) => {
                let span =
                    from.of(record).zip(to.of(record)).and_then(|(from, to)| to.checked_duration_since(from));
                return span.is_some_and(|span| integer(out, precision.of(span)));
            }
        };
        span.is_some_and(|span| integer(out, Precision::Millis.of(span)))
    }
}

fn between(argument: &str) -> Result<Span, String> {
    let parts: Vec<_> = argument.split(':').collect();
    let (from, to, precision) = match parts[..] {
        [from, to] => (from, to, "ms"),
        [from, to, precision] => (from, to, precision),
        _ => return Err("takes START:END:PRECISION".to_owned()),
    };
    let precision = match precision {
        "ms" => Precision::Millis,
        "us" => Precision::Micros,
        "ns" => Precision::Nanos,
        other => return Err(format!("{other} is no precision")),
    };
    Ok(Span::Between(Point::named(from), Point::named(to), precision))
}

impl Point {
    fn named(name: &str) -> Self {
        match name {
            "DS_RX_BEG" => Self::RequestBegin,
            "DS_RX_END" => Self::RequestEnd,
            "US_CX_BEG" => Self::ConnectBegin,
            "US_CX_END" => Self::ConnectEnd,
            "US_TX_BEG" => Self::UpstreamRequestBegin,
            "US_TX_END" => Self::UpstreamRequestEnd,
            "US_RX_BEG" | "US_RX_BODY_BEG" => Self::ResponseBegin,
            "US_RX_END" => Self::ResponseEnd,
            "DS_TX_BEG" => Self::AnswerBegin,
            "DS_TX_END" => Self::End,
            "DS_CX_BEG" => Self::ConnectionBegin,
            "DS_CX_END" => Self::ConnectionEnd,
            _ => Self::Never,
        }
    }

    fn of(self, record: &Record<'_>) -> Option<Instant> {
        if let Some(outcome) = record.outcome {
            let begin = clock::now().checked_sub(record.times.total.unwrap_or_default())?;
            return match self {
                Self::ConnectionBegin => Some(begin),
                Self::ConnectionEnd => Some(clock::now()),
                Self::ConnectBegin => outcome.connect.map(|(begin, _)| begin),
                Self::ConnectEnd => outcome.connect.map(|(_, end)| end),
                _ => None,
            };
        }
        let info = record.info?;
        match self {
            Self::RequestBegin => info.start,
            Self::RequestEnd => info.request_end,
            Self::UpstreamRequestBegin => info.upstream_start,
            Self::UpstreamRequestEnd => info.upstream_request_end,
            Self::ResponseBegin => info.upstream_response,
            Self::ResponseEnd => info.upstream_end,
            Self::AnswerBegin => info.downstream_start,
            Self::End => info.start?.checked_add(record.times.total?),
            // Pooled connections do not keep theirs.
            Self::ConnectBegin
            | Self::ConnectEnd
            | Self::ConnectionBegin
            | Self::ConnectionEnd
            | Self::Never => None,
        }
    }
}

impl Precision {
    fn of(self, span: Duration) -> u64 {
        let value = match self {
            Self::Millis => span.as_millis(),
            Self::Micros => span.as_micros(),
            Self::Nanos => span.as_nanos(),
        };
        u64::try_from(value).unwrap_or(u64::MAX)
    }
}

//! Faults of a rule (VS-105…VS-114).

use meltemi_config::networking::virtual_service::{
    FaultAbort, FaultAbortType, FaultDelay, FaultDelayType, HttpFaultInjection, grpc_status,
};

use crate::model::route::{AbortStatus, Fault, Fraction};

/// The faults; `None` when nothing of them can be done.
pub(super) fn fault(config: &HttpFaultInjection) -> Option<Fault> {
    let delay = config.delay.as_ref().and_then(delay);
    let abort = config.abort.as_ref().and_then(abort);
    (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort })
}

fn delay(config: &FaultDelay) -> Option<(std::time::Duration, Fraction)> {
    let Some(FaultDelayType::FixedDelay(pause)) = &config.delay else { return None };
    let deprecated = u32::try_from(config.percent.unwrap_or(0)).unwrap_or(0);
    let share = config.percentage.as_ref().map(|percent| million(percent.value));
    Some((pause.0, share.unwrap_or(Fraction::Percent(deprecated))))
}

fn abort(config: &FaultAbort) -> Option<(AbortStatus, Option<Fraction>)> {
    let status = match config.error.as_ref()? {
        FaultAbortType::HttpStatus(status) => AbortStatus::Http(u32::try_from(*status).ok()?),
        FaultAbortType::GrpcStatus(word) => AbortStatus::Grpc(grpc_status(word)?),
        FaultAbortType::Http2Error(_) => return None,
    };
    Some((status, config.percentage.as_ref().map(|percent| million(percent.value))))
}

/// A percentage in millionths, cut off as Istio does.
pub(super) fn million(percent: f64) -> Fraction {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    Fraction::Million((percent * 10_000.0).clamp(0.0, 1_000_000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_four_decimals() {
        assert_eq!(million(0.1), Fraction::Million(1000));
        assert_eq!(million(100.0), Fraction::Million(1_000_000));
        assert_eq!(million(-1.0), Fraction::Million(0));
    }
}

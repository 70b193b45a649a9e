//! Why a request or connection failed, born with blame: status, response flag, details and metrics derive from here.

use std::fmt;

/// Whose doing it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client: bad framing, gone, too slow.
    Downstream,
    /// The endpoint: refused, reset, too slow.
    Upstream,
    /// This proxy's configuration or limits.
    Local,
}

/// Envoy's response flags, as bits; a request may collect several. They are printed in the order in which they came, as Envoy
/// does: `URX,UF` of a request whose last retry failed, `UF,URX` of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    bits: u32,
    /// The bits' numbers from 1, five bits each, the first in the lowest; six are remembered.
    order: u32,
}

/// (bit, short name as in access logs, long name).
pub const FLAGS: &[(u32, &str, &str)] = &[
    (Flags::NO_HEALTHY_UPSTREAM, "UH", "NoHealthyUpstream"),
    (Flags::UPSTREAM_CONNECTION_FAILURE, "UF", "UpstreamConnectionFailure"),
    (Flags::UPSTREAM_OVERFLOW, "UO", "UpstreamOverflow"),
    (Flags::NO_ROUTE, "NR", "NoRouteFound"),
    (Flags::DELAY_INJECTED, "DI", "DelayInjected"),
    (Flags::FAULT_INJECTED, "FI", "FaultInjected"),
    (Flags::RETRY_LIMIT_EXCEEDED, "URX", "UpstreamRetryLimitExceeded"),
    (Flags::NO_CLUSTER, "NC", "NoClusterFound"),
    (Flags::DURATION_TIMEOUT, "DT", "DurationTimeout"),
    (Flags::DOWNSTREAM_CONNECTION_TERMINATION, "DC", "DownstreamConnectionTermination"),
    (Flags::LOCAL_RESET, "LR", "LocalReset"),
    (Flags::UPSTREAM_REMOTE_RESET, "UR", "UpstreamRemoteReset"),
    (Flags::UPSTREAM_CONNECTION_TERMINATION, "UC", "UpstreamConnectionTermination"),
    (Flags::UPSTREAM_REQUEST_TIMEOUT, "UT", "UpstreamRequestTimeout"),
    (Flags::STREAM_IDLE_TIMEOUT, "SI", "StreamIdleTimeout"),
    (Flags::DOWNSTREAM_PROTOCOL_ERROR, "DPE", "DownstreamProtocolError"),
    (Flags::UPSTREAM_PROTOCOL_ERROR, "UPE", "UpstreamProtocolError"),
    (Flags::UPSTREAM_MAX_STREAM_DURATION, "UMSDR", "UpstreamMaxStreamDurationReached"),
    (Flags::OVERLOAD, "OM", "OverloadManagerTerminated"),
    (Flags::DOWNSTREAM_REMOTE_RESET, "DR", "DownstreamRemoteReset"),
    (Flags::DNS_RESOLUTION_FAILED, "DF", "DnsResolutionFailed"),
];

impl Flags {
    /// UH
    pub const NO_HEALTHY_UPSTREAM: u32 = 1;
    /// UF
    pub const UPSTREAM_CONNECTION_FAILURE: u32 = 1 << 1;
    /// UO
    pub const UPSTREAM_OVERFLOW: u32 = 1 << 2;
    /// NR
    pub const NO_ROUTE: u32 = 1 << 3;
    /// URX
    pub const RETRY_LIMIT_EXCEEDED: u32 = 1 << 4;
    /// NC
    pub const NO_CLUSTER: u32 = 1 << 5;
    /// DT
    pub const DURATION_TIMEOUT: u32 = 1 << 6;
    /// DC
    pub const DOWNSTREAM_CONNECTION_TERMINATION: u32 = 1 << 7;
    /// LR
    pub const LOCAL_RESET: u32 = 1 << 8;
    /// UR
    pub const UPSTREAM_REMOTE_RESET: u32 = 1 << 9;
    /// UC
    pub const UPSTREAM_CONNECTION_TERMINATION: u32 = 1 << 10;
    /// UT
    pub const UPSTREAM_REQUEST_TIMEOUT: u32 = 1 << 11;
    /// SI
    pub const STREAM_IDLE_TIMEOUT: u32 = 1 << 12;
    /// DPE
    pub const DOWNSTREAM_PROTOCOL_ERROR: u32 = 1 << 13;
    /// UPE
    pub const UPSTREAM_PROTOCOL_ERROR: u32 = 1 << 14;
    /// UMSDR
    pub const UPSTREAM_MAX_STREAM_DURATION: u32 = 1 << 15;
    /// OM
    pub const OVERLOAD: u32 = 1 << 16;
    /// DR
    pub const DOWNSTREAM_REMOTE_RESET: u32 = 1 << 17;
    /// DI
    pub const DELAY_INJECTED: u32 = 1 << 18;
    /// FI
    pub const FAULT_INJECTED: u32 = 1 << 19;
    /// DF
    pub const DNS_RESOLUTION_FAILED: u32 = 1 << 20;

    /// An HTTP stream that took longer than it may. Envoy has no flag for it, so it is not printed.
    pub const STREAM_TOO_LONG: u32 = 1 << 21;
    /// A connection of bytes on which nothing moved. The same.
    pub const CONNECTION_IDLE: u32 = 1 << 22;
    /// Bits of [`FLAGS`].
    const PRINTED: u32 = (1 << 21) - 1;
    /// How many are remembered in order.
    const REMEMBERED: u32 = 6;

    /// These, lower bits first.
    pub fn of(flags: u32) -> Self {
        let mut all = Self::default();
        all.set(flags);
        all
    }

    /// Adds flags.
    pub fn set(&mut self, flags: u32) {
        let mut new = flags & !self.bits & Self::PRINTED;
        self.bits |= flags;
        while new != 0 {
            let number = new.trailing_zeros();
            new &= new - 1;
            let free = (0..Self::REMEMBERED).find(|place| (self.order >> (place * 5)) & 31 == 0);
            if let Some(place) = free {
                self.order |= (number + 1) << (place * 5);
            }
        }
    }

    /// True when any of `flags` is set.
    pub fn has(self, flags: u32) -> bool {
        self.bits & flags != 0
    }

    /// True when nothing is set.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Those that are not in `others`.
    pub fn without(self, others: Self) -> Self {
        Self::of(self.bits & !others.bits)
    }

    /// True when there is something to print.
    pub fn is_printed(self) -> bool {
        self.has(Self::PRINTED)
    }

    /// Entries of [`FLAGS`], in the order in which they came.
    pub fn entries(self) -> impl Iterator<Item = &'static (u32, &'static str, &'static str)> {
        let number_at = move |place: u32| ((self.order >> (place * 5)) & 31).checked_sub(1);
        let remembered = (0..Self::REMEMBERED).filter_map(number_at).map(|number| 1_u32 << number);
        let rest = self.bits & Self::PRINTED & !remembered.clone().fold(0, |all, bit| all | bit);
        let find = |bit| FLAGS.iter().find(|(known, ..)| *known == bit);
        remembered.filter_map(find).chain(FLAGS.iter().filter(move |(bit, ..)| rest & bit != 0))
    }
}

impl fmt::Display for Flags {
    /// As Envoy prints them: short names joined by commas, `-` when none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;
        for (_, short, _) in self.entries() {
            if any {
                f.write_str(",")?;
            }
            f.write_str(short)?;
            any = true;
        }
        if any { Ok(()) } else { f.write_str("-") }
    }
}

/// Why a stream ended before its time; the words are Envoy's (`StreamResetReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// The connection could not be made.
    RemoteConnectionFailure,
    /// Our side could not even try (no descriptor, no source address).
    LocalConnectionFailure,
    /// `connect_timeout`.
    ConnectionTimeout,
    /// The connection ended under the stream.
    ConnectionTermination,
    /// The peer reset the stream.
    RemoteReset,
    /// The peer reset the stream and says that it did nothing (HTTP/2 REFUSED_STREAM, or GOAWAY below its id).
    RemoteRefusedStreamReset,
    /// We reset the stream.
    LocalReset,
    /// A circuit breaker.
    Overflow,
    /// What the peer sent is not HTTP.
    ProtocolError,
}

impl ResetReason {
    /// As in response bodies and `%RESPONSE_CODE_DETAILS%` (there with underscores).
    pub const fn text(self) -> &'static str {
        match self {
            Self::RemoteConnectionFailure => "remote connection failure",
            Self::LocalConnectionFailure => "local connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStreamReset => "remote refused stream reset",
            Self::LocalReset => "local reset",
            Self::Overflow => "overflow",
            Self::ProtocolError => "protocol error",
        }
    }

    /// The flag that an upstream reset of this kind leaves on the request.
    pub const fn upstream_flag(self) -> u32 {
        match self {
            Self::RemoteConnectionFailure | Self::LocalConnectionFailure | Self::ConnectionTimeout => {
                Flags::UPSTREAM_CONNECTION_FAILURE
            }
            Self::ConnectionTermination => Flags::UPSTREAM_CONNECTION_TERMINATION,
            Self::RemoteReset | Self::RemoteRefusedStreamReset => Flags::UPSTREAM_REMOTE_RESET,
            Self::LocalReset => Flags::LOCAL_RESET,
            Self::Overflow => Flags::UPSTREAM_OVERFLOW,
            Self::ProtocolError => Flags::UPSTREAM_PROTOCOL_ERROR,
        }
    }
}

/// A stream that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamError {
    /// Whose doing.
    pub side: Side,
    /// How it ended.
    pub reason: ResetReason,
    /// Envoy's detail, such as `http1.codec_error`; empty when the reason says all.
    pub details: &'static str,
    /// What the system said, where it said something.
    pub io: Option<std::io::ErrorKind>,
}

impl StreamError {
    /// An error without details.
    pub const fn new(side: Side, reason: ResetReason) -> Self {
        Self { side, reason, details: "", io: None }
    }

    /// A violation of the protocol.
    pub const fn protocol(side: Side, details: &'static str) -> Self {
        Self { side, reason: ResetReason::ProtocolError, details, io: None }
    }

    /// The connection ended; `error` says how, if not simply closed.
    pub fn terminated(side: Side, error: Option<&std::io::Error>) -> Self {
        let io = error.map(std::io::Error::kind);
        Self { side, reason: ResetReason::ConnectionTermination, details: "", io }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())?;
        if !self.details.is_empty() {
            write!(f, " ({})", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for StreamError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_printed_in_the_order_in_which_they_came() {
        let mut flags = Flags::default();
        assert_eq!(flags.to_string(), "-");
        flags.set(Flags::RETRY_LIMIT_EXCEEDED);
        flags.set(Flags::UPSTREAM_CONNECTION_FAILURE | Flags::STREAM_TOO_LONG);
        flags.set(Flags::RETRY_LIMIT_EXCEEDED);
        assert_eq!(flags.to_string(), "URX,UF");
        assert!(flags.has(Flags::STREAM_TOO_LONG) && flags.is_printed());
        assert!(!Flags::of(Flags::CONNECTION_IDLE).is_printed());
    }

    #[test]
    fn none_is_lost_when_there_are_many() {
        let all = FLAGS.iter().fold(0, |all, (bit, ..)| all | bit);
        assert_eq!(all, Flags::PRINTED);
        let mut flags = Flags::default();
        flags.set(Flags::DNS_RESOLUTION_FAILED);
        flags.set(all);
        assert_eq!(flags.entries().count(), FLAGS.len());
        assert!(flags.to_string().starts_with("DF,UH,UF,"));
    }
}

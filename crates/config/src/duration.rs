//! Spans of time as documents write them: `1.5s` (protobuf) and `1h2m3s4ms` (Go).

use std::fmt;

use crate::Str;
use crate::decode::{Decode, Decoder, Shape};
use crate::path::Path;
use crate::tree::{Node, Value};

/// A span of time, not negative. Dereferences to the standard library's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub std::time::Duration);

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not written as one.
    #[error("{0:?} is not a duration")]
    Malformed(String),
    /// Below zero.
    #[error("{0:?} is below zero")]
    Negative(String),
}

impl Duration {
    /// Nothing.
    pub const ZERO: Duration = Duration(std::time::Duration::ZERO);

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(std::time::Duration::from_millis(millis))
    }
}

impl std::str::FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        let body = text.strip_prefix(['+', '-']).unwrap_or(text);
        if body.is_empty() {
            return Err(malformed());
        }
        let mut rest = body;
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let (part, after) = part(rest).ok_or_else(malformed)?;
            nanos = nanos.checked_add(part).ok_or_else(malformed)?;
            rest = after;
        }
        if text.starts_with('-') && nanos > 0 {
            return Err(DurationError::Negative(text.to_owned()));
        }
        // Go's limit, and protobuf's is higher: about 292 years.
        let nanos = u64::try_from(nanos).ok().filter(|n| i64::try_from(*n).is_ok()).ok_or_else(malformed)?;
        Ok(Duration(std::time::Duration::from_nanos(nanos)))
    }
}

/// One number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Option<(u128, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 18 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(18)];
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let scale = 10u128.pow(fraction.len() as u32);
    Some((whole * unit + part * unit / scale, rest))
}

impl fmt::Display for Duration {
    /// Protobuf's JSON form: seconds with as many digits as it takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        match nanos {
            0 => write!(f, "{seconds}s"),
            _ => write!(f, "{seconds}.{}s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

impl std::ops::Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &std::time::Duration {
        &self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Duration(duration)
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Decode for Duration {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let Value::Scalar(scalar) = &node.value else {
            cx.wrong_type(node, path, "a duration such as 1.5s");
            return None;
        };
        // A bare `0` means the same with every unit.
        let error = match scalar.text.parse::<Duration>() {
            Ok(duration) => return Some(duration),
            Err(error) => error,
        };
        let hint = match error {
            DurationError::Negative(_) => None,
            DurationError::Malformed(_) => Some(hint(&scalar.text)),
        };
        cx.error(node, path, error.to_string(), hint);
        None
    }

    fn shape() -> Shape {
        Shape::Duration
    }
}

fn hint(text: &str) -> String {
    let days = |text: &str| text.strip_suffix('d').and_then(|n| n.parse::<u64>().ok());
    if text.parse::<f64>().is_ok() {
        return format!("give a unit, such as {text}s");
    }
    match days(text) {
        Some(days) => format!("there is no unit `d`; write {}h", days.saturating_mul(24)),
        None => "numbers with units h, m, s or ms, such as 1.5s or 1h30m".into(),
    }
}

/// The shared text of a duration, for those that print it often.
pub fn shared(duration: Duration) -> Str {
    duration.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_protobuf_and_go_forms() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("1s", 1_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1h2m3s4ms", 3_723_004_000_000),
            ("0.000000001s", 1),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("-0s", 0),
            ("+5s", 5_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Duration(std::time::Duration::from_nanos(nanos))), "{text}");
        }
        for text in
            ["", "5", "s", "1d", "1 s", "1.2.3s", "-", "one", "1s2", "99999999999999999999h", "9999999999h"]
        {
            assert!(matches!(text.parse::<Duration>(), Err(DurationError::Malformed(_))), "{text}");
        }
        assert!(matches!("-1s".parse::<Duration>(), Err(DurationError::Negative(_))));
    }

    #[test]
    fn prints_protobuf_form() {
        for (text, printed) in [("1h", "3600s"), ("1ms", "0.001s"), ("0", "0s"), ("1.25s", "1.25s")] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), printed);
        }
    }
}

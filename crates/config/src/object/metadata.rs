//! Metadata of objects, as far as a mesh reads it.

use std::collections::BTreeMap;
use std::fmt;

use crate::Str;
use crate::decode::macros::message;
use crate::decode::{Decode, Decoder, Shape};
use crate::labels::Labels;
use crate::path::Path;
use crate::tree::Node;

message! {
    /// Name, labels and age of an object. Fields that only an API server cares for are read and dropped.
    pub struct Metadata {
        /// Name.
        name: Str = "name";
        /// Namespace; filled in by the loader; empty for cluster-scoped kinds.
        namespace: Str = "namespace";
        /// Labels.
        labels: Labels = "labels";
        /// Annotations.
        annotations: BTreeMap<Str, Str> = "annotations";
        /// Age; absent: one time common to all such objects, before all others.
        creation_timestamp: Option<Timestamp> = "creationTimestamp";
        /// Version of the object in its store.
        resource_version: Option<Str> = "resourceVersion";
        /// Version of its content.
        generation: i64 = "generation";
        /// Unique id.
        uid: Option<Str> = "uid";
        /// Prefix of a name to be made.
        generate_name: Option<Str> = "generateName";
        /// Set while it is being deleted.
        deletion_timestamp: Option<Timestamp> = "deletionTimestamp";
        /// Skipped.
        deletion_grace_period_seconds: Skipped = "deletionGracePeriodSeconds";
        /// Skipped.
        finalizers: Skipped = "finalizers";
        /// Skipped.
        managed_fields: Skipped = "managedFields";
        /// Skipped.
        owner_references: Skipped = "ownerReferences";
        /// Skipped.
        self_link: Skipped = "selfLink";
    }
}

/// A field that is known and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Skipped;

impl Decode for Skipped {
    fn decode(_: &Node<'_>, _: &mut Decoder, _: &Path<'_>) -> Option<Self> {
        Some(Skipped)
    }

    fn shape() -> Shape {
        Shape::Any
    }
}

/// A time in seconds since 1970, as Kubernetes writes it (`2026-11-21T08:00:00Z`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl std::str::FromStr for Timestamp {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        parse(text).map(Timestamp).ok_or(())
    }
}

/// RFC 3339, fractions of seconds dropped.
fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        text[from..to].bytes().all(|b| b.is_ascii_digit()).then(|| text[from..to].parse().ok()).flatten()
    };
    if [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().any(|(at, wanted)| bytes[*at] != *wanted) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let digits = |part: &str| part.parse::<i64>().ok();
            let minutes = digits(&zone[1..3])? * 60 + digits(&zone[4..6])?;
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset)
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        // The inverse of `days`.
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Decode for Timestamp {
    fn decode(node: &Node<'_>, cx: &mut Decoder, path: &Path<'_>) -> Option<Self> {
        let time = node.text().and_then(|text| text.parse().ok());
        if time.is_none() {
            cx.wrong_type(node, path, "a time such as 2026-11-21T08:00:00Z");
        }
        time
    }

    fn shape() -> Shape {
        Shape::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T08:00:00Z", 1_795_248_000),
            ("2000-02-29T12:30:45.123Z", 951_827_445),
            ("2026-11-21T09:00:00+01:00", 1_795_248_000),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(seconds)), "{text}");
        }
        assert_eq!(Timestamp(951_827_445).to_string(), "2000-02-29T12:30:45Z");
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-21T08:00:00", "2026-11-21 08-00-00Z"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}

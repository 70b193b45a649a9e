//! Durations and timestamps: reading them, and the parts that expressions ask for.
//!
//! Invariant: time is nanoseconds; what does not fit has no value.

use crate::http::clock;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;
/// Years 1 to 9999, as protocol buffers have them, in seconds.
const EARLIEST: i128 = -62_135_596_800;
const LATEST: i128 = 253_402_300_799;

/// `getHours()` and the like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Year,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    /// By the function's name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "getFullYear" => Self::Year,
            "getMonth" => Self::Month,
            "getDate" => Self::Date,
            "getDayOfMonth" => Self::DayOfMonth,
            "getDayOfWeek" => Self::DayOfWeek,
            "getDayOfYear" => Self::DayOfYear,
            "getHours" => Self::Hours,
            "getMinutes" => Self::Minutes,
            "getSeconds" => Self::Seconds,
            "getMilliseconds" => Self::Milliseconds,
            _ => return None,
        })
    }

    /// Of a timestamp, so many seconds east of UTC.
    pub(super) fn of_time(self, at: i128, zone: i64) -> Option<i64> {
        let at = at + i128::from(zone) * SECOND;
        let days = at.div_euclid(DAY);
        let within = at.rem_euclid(DAY);
        // Counted from a day that lies before all others, since the calendar counts upwards: 400 years have 146,097 days.
        let shifted = u64::try_from(days + 5 * 146_097).ok()?;
        let (year, month, day) = clock::civil(shifted);
        let year = year as i64 - 2000;
        let value = match self {
            Self::Year => i128::from(year),
            Self::Month => i128::from(month) - 1,
            Self::Date => i128::from(day),
            Self::DayOfMonth => i128::from(day) - 1,
            Self::DayOfWeek => (days + 4).rem_euclid(7),
            Self::DayOfYear => day_of_year(year, month, day),
            Self::Hours => within / (3600 * SECOND),
            Self::Minutes => within / (60 * SECOND) % 60,
            Self::Seconds => within / SECOND % 60,
            Self::Milliseconds => within / 1_000_000 % 1000,
        };
        i64::try_from(value).ok()
    }

    /// Of a duration: the whole of it in hours, minutes, seconds.
    pub(super) fn of_duration(self, nanos: i64) -> Option<i64> {
        Some(match self {
            Self::Hours => nanos / 3_600_000_000_000,
            Self::Minutes => nanos / 60_000_000_000,
            Self::Seconds => nanos / 1_000_000_000,
            Self::Milliseconds => nanos / 1_000_000 % 1000,
            _ => return None,
        })
    }
}

fn day_of_year(year: i64, month: u64, day: u64) -> i128 {
    const BEFORE: [i128; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = BEFORE.get(month as usize - 1).copied().unwrap_or_default();
    before + i128::from(leap && month > 2) + i128::from(day) - 1
}

/// `UTC` or `+02:00`, in seconds. Names of places would need their tables.
pub(super) fn zone(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "GMT" | "Z" | "") {
        return Some(0);
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let digits = |text: &str| text.parse::<u8>().ok().map(i64::from);
    Some(sign * (digits(hours)? * 3600 + digits(minutes).filter(|minutes| *minutes < 60)? * 60))
}

/// `1h30m`, `1.5s`, `-10ms` in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(len);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let unit: i128 = match unit {
            "h" => 3600 * SECOND,
            "m" => 60 * SECOND,
            "s" => SECOND,
            "ms" => 1_000_000,
            "us" | "\u{b5}s" => 1000,
            "ns" => 1,
            _ => return None,
        };
        total = total.checked_add(scaled(number, unit)?)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A decimal number of units.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || number.len() > 18 {
        return None;
    }
    let parse = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(parse(whole)? * unit + parse(fraction)? * unit / scale)
}

/// RFC 3339 in nanoseconds since the epoch.
pub(super) fn timestamp(text: &str) -> Option<i128> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i128>().ok())?
    };
    let separators = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    if !separators.iter().all(|(at, sign)| text.get(*at..*at + 1) == Some(*sign))
        || !matches!(text.get(10..11), Some("T" | "t" | " "))
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return None;
        }
        nanos = format!("{:0<9}", &fraction[..len.min(9)]).parse::<i128>().ok()?;
        rest = &fraction[len..];
    }
    let zone = match rest {
        "Z" | "z" => 0,
        offset if offset.starts_with(['+', '-']) => zone(offset)?,
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - i128::from(zone);
    (EARLIEST..=LATEST).contains(&seconds).then_some(seconds * SECOND + nanos)
}

/// Days since the epoch of a date of the Gregorian calendar.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Date and time of day in UTC: year, month, day, seconds of the day, nanoseconds.
pub(super) fn split(at: i128) -> (i64, u64, u64, u64, u64) {
    let days = at.div_euclid(DAY);
    let within = at.rem_euclid(DAY);
    let (year, month, day) = clock::civil(u64::try_from(days + 5 * 146_097).unwrap_or_default());
    (year as i64 - 2000, month, day, (within / SECOND) as u64, (within % SECOND) as u64)
}

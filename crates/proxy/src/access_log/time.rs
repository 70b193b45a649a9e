//! `%START_TIME(…)%`: strftime as Envoy extends it, for UTC.
//!
//! Invariant: the default format is `%Y-%m-%dT%H:%M:%E3SZ`, and its date part is formatted once per second and thread.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::http::clock;

/// A compiled time format.
#[derive(Debug, Clone)]
pub(super) struct TimeFormat(Option<Arc<[Piece]>>);

#[derive(Debug, Clone)]
enum Piece {
    Text(Box<str>),
    Field(char),
    /// `%f`, `%3f`, `%E3S`-like fractions: digits.
    Fraction(usize),
    /// `%E*S`: a point and as many digits as there are.
    Digits,
}

thread_local! {
    /// The second last formatted by default, and its text up to the fraction.
    static SECOND: RefCell<(u64, [u8; 20])> = const { RefCell::new((u64::MAX, [0; 20])) };
}

impl TimeFormat {
    /// Empty means the default.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let mut pieces = Pieces::default();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                pieces.literal.push(c);
                continue;
            }
            match chars.next() {
                Some('%') | None => pieces.literal.push('%'),
                // A line has no line breaks inside.
                Some('n') => return Err("a line break in a time".to_owned()),
                Some('t') => pieces.literal.push('\t'),
                Some('f') => pieces.push(Piece::Fraction(9)),
                // %E3S, %E*S: seconds with digits.
                Some('E') => {
                    let digits = chars.next();
                    chars.next();
                    pieces.push(Piece::Field('S'));
                    match digits.and_then(|digit| digit.to_digit(10)) {
                        Some(0) => {}
                        Some(digits) => {
                            pieces.literal.push('.');
                            pieces.push(Piece::Fraction(digits as usize));
                        }
                        None => pieces.push(Piece::Digits),
                    }
                }
                Some(digit @ '1'..='9') if chars.peek() == Some(&'f') => {
                    chars.next();
                    pieces.push(Piece::Fraction(digit as usize - '0' as usize));
                }
                Some(field) => match composite(field) {
                    Some(parts) => parts.chars().for_each(|part| match part {
                        part if part.is_ascii_alphabetic() => pieces.push(Piece::Field(part)),
                        sign => pieces.literal.push(sign),
                    }),
                    None => pieces.push(Piece::Field(field)),
                },
            }
        }
        pieces.close();
        Ok(Self(Some(pieces.done.into())))
    }

    /// Appends the time.
    pub(super) fn write(&self, out: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
        let Some(pieces) = &self.0 else {
            return write_default(out, seconds, nanos);
        };
        for piece in &**pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Fraction(digits) => out.extend_from_slice(&fraction(nanos)[..*digits]),
                Piece::Digits => {
                    let digits = fraction(nanos);
                    let len = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
                    if len > 0 {
                        out.push(b'.');
                        out.extend_from_slice(&digits[..len]);
                    }
                }
                Piece::Field(field) => write_field(out, *field, seconds),
            }
        }
    }
}

/// A format while it is compiled.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    literal: String,
}

impl Pieces {
    fn push(&mut self, piece: Piece) {
        self.close();
        self.done.push(piece);
    }

    fn close(&mut self) {
        if !self.literal.is_empty() {
            self.done.push(Piece::Text(std::mem::take(&mut self.literal).into()));
        }
    }
}

/// What stands for several fields with signs between them, in the C locale.
fn composite(field: char) -> Option<&'static str> {
    Some(match field {
        'F' => "Y-m-d",
        'T' | 'X' => "H:M:S",
        'R' => "H:M",
        'D' | 'x' => "m/d/y",
        'r' => "I:M:S p",
        'c' => "a b e H:M:S Y",
        _ => return None,
    })
}

fn write_default(out: &mut Vec<u8>, seconds: u64, nanos: u32) {
    SECOND.with_borrow_mut(|(formatted, text)| {
        if *formatted != seconds {
            *formatted = seconds;
            let mut fresh = Vec::with_capacity(20);
            for (field, after) in
                [('Y', b'-'), ('m', b'-'), ('d', b'T'), ('H', b':'), ('M', b':'), ('S', b'.')]
            {
                write_field(&mut fresh, field, seconds);
                fresh.push(after);
            }
            // Years beyond 9999 would not fit; such clocks get a cut date, not a panic.
            fresh.resize(20, b'.');
            text.copy_from_slice(&fresh);
        }
        out.extend_from_slice(text);
    });
    out.extend_from_slice(&fraction(nanos)[..3]);
    out.push(b'Z');
}

fn fraction(nanos: u32) -> [u8; 9] {
    let (mut digits, mut rest) = ([b'0'; 9], nanos);
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

fn write_field(out: &mut Vec<u8>, field: char, seconds: u64) {
    let (year, month, day) = clock::civil(seconds / 86_400);
    let date = clock::imf_fixdate(seconds);
    let (weekday, month_name) = (&date[..3], &date[8..11]);
    match field {
        'Y' => padded(out, year, 4),
        'y' => padded(out, year % 100, 2),
        'm' => padded(out, month, 2),
        'd' => padded(out, day, 2),
        'e' => {
            if day < 10 {
                out.push(b' ');
            }
            padded(out, day, 1);
        }
        'H' => padded(out, seconds / 3600 % 24, 2),
        'M' => padded(out, seconds / 60 % 60, 2),
        'S' => padded(out, seconds % 60, 2),
        's' => padded(out, seconds, 1),
        'a' => out.extend_from_slice(weekday),
        'b' | 'h' => out.extend_from_slice(month_name),
        'A' => out.extend_from_slice(DAYS[weekday_number(seconds) as usize].as_bytes()),
        'B' => out.extend_from_slice(MONTHS[month as usize - 1].as_bytes()),
        'C' => padded(out, year / 100, 2),
        'I' => padded(out, (seconds / 3600 + 11) % 12 + 1, 2),
        'p' => out.extend_from_slice(if seconds / 3600 % 24 < 12 { b"AM" } else { b"PM" }),
        'j' => padded(out, day_of_year(year, month, day) + 1, 3),
        'u' => padded(out, (weekday_number(seconds) + 6) % 7 + 1, 1),
        'w' => padded(out, weekday_number(seconds), 1),
        'U' => padded(out, (day_of_year(year, month, day) + 7 - weekday_number(seconds)) / 7, 2),
        'W' => padded(out, (day_of_year(year, month, day) + 7 - (weekday_number(seconds) + 6) % 7) / 7, 2),
        'Z' => out.extend_from_slice(b"UTC"),
        'z' => out.extend_from_slice(b"+0000"),
        other => {
            // As strftime: what it does not know stays.
            out.push(b'%');
            out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// 0 on Sundays.
fn weekday_number(seconds: u64) -> u64 {
    (seconds / 86_400 + 4) % 7
}

/// 0 on the first of January.
fn day_of_year(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    BEFORE[month as usize - 1] + u64::from(leap && month > 2) + day - 1
}

fn padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    out.resize(out.len() + width.saturating_sub(text.len()), b'0');
    out.extend_from_slice(text.as_bytes());
}

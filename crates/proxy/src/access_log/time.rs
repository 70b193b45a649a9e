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
}

thread_local! {
    /// The second last formatted by default, and its text up to the fraction.
    static SECOND: RefCell<(u64, [u8; 20])> = const { RefCell::new((u64::MAX, [0; 20])) };
}

impl TimeFormat {
    /// Empty means the default.
    pub(super) fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self(None);
        }
        let (mut pieces, mut chars) = (Vec::new(), text.chars().peekable());
        let mut literal = String::new();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let piece = match chars.next() {
                Some('%') | None => {
                    literal.push('%');
                    continue;
                }
                Some('f') => Piece::Fraction(9),
                Some('E') => {
                    // %E3S: seconds with three digits.
                    let digits = chars.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0) as usize;
                    chars.next();
                    push(&mut pieces, &mut literal, Piece::Field('S'));
                    literal.push('.');
                    Piece::Fraction(digits)
                }
                Some(digit @ '1'..='9') if chars.peek() == Some(&'f') => {
                    chars.next();
                    Piece::Fraction(digit as usize - '0' as usize)
                }
                Some(field) => Piece::Field(field),
            };
            push(&mut pieces, &mut literal, piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Self(Some(pieces.into()))
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
                Piece::Field(field) => write_field(out, *field, seconds),
            }
        }
    }
}

fn push(pieces: &mut Vec<Piece>, literal: &mut String, piece: Piece) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal).into()));
    }
    pieces.push(piece);
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
        'F' => ['Y', '-', 'm', '-', 'd'].into_iter().for_each(|part| write_field(out, part, seconds)),
        'T' => ['H', ':', 'M', ':', 'S'].into_iter().for_each(|part| write_field(out, part, seconds)),
        'Z' => out.extend_from_slice(b"UTC"),
        'z' => out.extend_from_slice(b"+0000"),
        other => {
            // As strftime: what it does not know stays; separators pass through the two composites above.
            if !matches!(other, '-' | ':') {
                out.push(b'%');
            }
            out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    out.resize(out.len() + width.saturating_sub(text.len()), b'0');
    out.extend_from_slice(text.as_bytes());
}

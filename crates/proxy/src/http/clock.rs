//! Coarse time: one clock read per wakeup of a worker thread, one date text per second.
//!
//! The worker's runtime calls [`woke`] from `on_thread_unpark`; everything on the request path asks [`now`].
//! Invariants: time never goes back, and never stands still. A thread that always has work never waits, so it is never
//! woken: after [`READS`] uses a reading is old, and [`now`] reads the clock too. Without the hook (tests, other threads) each does.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// So often a reading is used again.
const READS: u32 = 256;

thread_local! {
    static CACHED: Cell<Option<Reading>> = const { Cell::new(None) };
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    left: u32,
}

/// Says that this thread has just come back from waiting: the next [`now`] reads the clock.
pub fn woke() {
    HOOKED.set(true);
    CACHED.set(None);
}

/// Reads the clock: whoever asks [`now`] afterwards is told this or later. For who compares with times of another clock, such
/// as the runtime's.
pub fn read() -> Instant {
    CACHED.set(None);
    now()
}

/// The time of this wakeup.
#[inline]
pub fn now() -> Instant {
    if let Some(Reading { at, left: left @ 1.. }) = CACHED.get() {
        CACHED.set(Some(Reading { at, left: left - 1 }));
        return at;
    }
    let at = Instant::now();
    if HOOKED.get() {
        CACHED.set(Some(Reading { at, left: READS }));
    }
    at
}

/// Wall-clock time that follows [`now`]: the `date` header and the start times of records.
#[derive(Debug)]
pub struct WallClock {
    base: Cell<(Instant, SystemTime)>,
    /// `date` holds until then.
    until: Cell<Instant>,
    date: RefCell<[u8; 29]>,
}

impl WallClock {
    /// A clock that has just been set.
    pub fn new() -> Self {
        let now = now();
        let clock = Self {
            base: Cell::new((now, UNIX_EPOCH)),
            until: Cell::new(now),
            date: RefCell::new([b' '; 29]),
        };
        clock.refresh(now);
        clock
    }

    /// The wall-clock time of an instant of the last hours.
    pub fn time(&self, at: Instant) -> SystemTime {
        let (base, time) = self.base.get();
        match at.checked_duration_since(base) {
            Some(after) => time + after,
            None => time - base.duration_since(at),
        }
    }

    /// Calls `use_date` with the current IMF-fixdate.
    #[inline]
    pub fn with_date<R>(&self, use_date: impl FnOnce(&[u8]) -> R) -> R {
        let now = now();
        if now >= self.until.get() {
            self.refresh(now);
        }
        use_date(&self.date.borrow()[..])
    }

    fn refresh(&self, now: Instant) {
        let time = SystemTime::now();
        self.base.set((now, time));
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.until.set(now + Duration::from_nanos(1_000_000_000 - u64::from(since.subsec_nanos())));
        *self.date.borrow_mut() = imf_fixdate(since.as_secs());
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
pub fn imf_fixdate(seconds: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    two(&mut date[5..7], day);
    date[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two(&mut date[12..14], year / 100);
    two(&mut date[14..16], year % 100);
    two(&mut date[17..19], seconds / 3600 % 24);
    two(&mut date[20..22], seconds / 60 % 60);
    two(&mut date[23..25], seconds % 60);
    date
}

fn two(out: &mut [u8], n: u64) {
    out[0] = b'0' + (n / 10 % 10) as u8;
    out[1] = b'0' + (n % 10) as u8;
}

/// Days since 1970 to (year, month, day); <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_in_a_thread_that_never_waits() {
        woke();
        let first = now();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(now(), first);
        assert!((0..READS).any(|_| now() >= first + Duration::from_millis(2)));
    }

    #[test]
    fn dates_are_those_of_the_rfc() {
        assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&imf_fixdate(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_fixdate(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
    }
}

//! Windows of the calendar, in UTC: an hour, a day, a month. Each has a number, which grows by one from one to the next.

use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    Hour,
    Day,
    Month,
}

/// The numbers of the windows that a moment is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers([u32; 3]);

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

impl Window {
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// When the window of this number begins, in seconds since 1970.
    pub fn begins(self, number: u32) -> u64 {
        let number = u64::from(number);
        match self {
            Self::Hour => number * HOUR,
            Self::Day => number * DAY,
            Self::Month => days_before(number) * DAY,
        }
    }
}

impl Numbers {
    pub fn at(now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::at_second(since.as_secs())
    }

    pub fn at_second(second: u64) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let days = second / DAY;
        Self([number(second / HOUR), number(days), number(month_of(days))])
    }

    pub fn of(&self, window: Window) -> u32 {
        self.0[window as usize]
    }
}

/// The number of a day's month since January 1970. The calendar repeats itself every 400 years, and a year that begins in March has its leap
/// day at its end (Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013: `civil_from_days`).
fn month_of(days: u64) -> u64 {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    // From March of the year 0 to January of 1970.
    (era * 400 + year) * 12 + month + 2 - 1970 * 12
}

/// The days before a month, since 1970 (`days_from_civil` there).
fn days_before(month: u64) -> u64 {
    let month = month + 1970 * 12 - 2;
    let (year, month) = (month / 12, month % 12);
    let of_year = (153 * month + 2) / 5;
    year / 400 * 146_097 + (year % 400 * 365 + year % 400 / 4 - year % 400 / 100) + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 of the first of each, and the number of its month.
    const MONTHS: [(u64, u64); 6] = [
        (0, 0),
        // February and March of 2000, a leap year; January 2026; December 2026; March 2100, no leap year.
        (949_363_200, 30 * 12 + 1),
        (951_868_800, 30 * 12 + 2),
        (1_767_225_600, 56 * 12),
        (1_796_083_200, 56 * 12 + 11),
        (4_107_542_400, 130 * 12 + 2),
    ];

    #[test]
    fn months_begin_where_the_calendar_has_it() {
        for (begins, month) in MONTHS {
            assert_eq!(days_before(month) * DAY, begins, "{month}");
            assert_eq!(month_of(begins / DAY), month, "{begins}");
        }
        for (begins, month) in &MONTHS[1..] {
            assert_eq!(month_of(begins / DAY - 1), month - 1, "the day before {begins}");
        }
    }

    #[test]
    fn every_moment_is_in_the_window_of_its_number() {
        for second in (0..8_000_000_000_u64).step_by(3_333_333) {
            let numbers = Numbers::at_second(second);
            for window in Window::ALL {
                let number = numbers.of(window);
                let range = window.begins(number)..window.begins(number + 1);
                assert!(range.contains(&second), "{second} {window:?}");
            }
        }
    }
}

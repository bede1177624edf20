//! What a server says about when to come back.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// `retry-after-ms` (milliseconds), else `Retry-After` in seconds or as an HTTP date (RFC 9110 §10.2.3). Nonsense is as if
/// nothing was said; a date in the past means now. `now` counts only where the answer has no `date`: two readings of the
/// server's clock do not differ by how wrong ours is.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str, unit: f64| {
        let number = text.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    if let Some(time) = text("retry-after-ms").and_then(|ms| number(ms, 1e-3)) {
        return Some(time);
    }
    let said = text("retry-after")?;
    if let Some(time) = number(said, 1.0) {
        return Some(time);
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now = text("date").and_then(date).unwrap_or(now);
    Some(date(said)?.duration_since(now).unwrap_or(Duration::ZERO))
}

/// `x-should-retry`: the server's own word on it.
pub fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    const NOW: u64 = 1_700_000_000; // Tue, 14 Nov 2023 22:13:20 GMT

    fn all_said(fields: &[(&'static str, &str)]) -> Option<Duration> {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        retry_after(&fields.collect(), SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn said(name: &'static str, value: &str) -> Option<Duration> {
        all_said(&[(name, value)])
    }

    #[test]
    fn seconds_milliseconds_and_dates_are_understood() {
        assert_eq!(said("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(said("retry-after", " 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(said("retry-after-ms", "1250"), Some(Duration::from_millis(1250)));
        assert_eq!(said("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(said("retry-after", "Tue, 14 Nov 2023 22:13:10 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_as_if_nothing_was_said() {
        let dates =
            ["Tue, 32 Nov 2023 22:13:30 GMT", "2023-11-14T22:13:30Z", "Tue, 14 Nov 9999999 22:13:30 GMT"];
        for nonsense in
            ["soon", "-1", "-0.001", "NaN", "inf", "1e300", "", "1 2", "0x10"].into_iter().chain(dates)
        {
            assert_eq!(said("retry-after", nonsense), None, "{nonsense}");
            assert_eq!(said("retry-after-ms", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_year_and_more_is_told_as_it_was_said_for_the_cap_to_refuse() {
        let year = Duration::from_secs(31_536_000);
        assert_eq!(said("retry-after", "31536000"), Some(year));
        assert_eq!(said("retry-after", "1e15"), Some(Duration::from_secs(1_000_000_000_000_000)));
        assert_eq!(said("retry-after", "Wed, 13 Nov 2024 22:13:20 GMT"), Some(year));
        assert!(said("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT") > Some(7000 * year));
    }

    #[test]
    fn milliseconds_win_over_seconds_unless_they_are_nonsense() {
        for (ms, seconds, wanted) in
            [("100", "3600", 100), ("0", "5", 0), ("-1", "2", 2000), ("1e300", "2", 2000), ("", "2", 2000)]
        {
            let wait = all_said(&[("retry-after-ms", ms), ("retry-after", seconds)]);
            assert_eq!(wait, Some(Duration::from_millis(wanted)), "{ms} {seconds}");
        }
        assert_eq!(all_said(&[("retry-after", "2"), ("retry-after", "9")]), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_date_is_read_by_the_servers_clock_however_wrong_ours_is() {
        let wait = |date| all_said(&[("date", date), ("retry-after", "Sat, 01 Jan 2000 00:00:10 GMT")]);
        assert_eq!(wait("Sat, 01 Jan 2000 00:00:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("Sat, 01 Jan 2000 00:00:11 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("yesterday"), Some(Duration::ZERO), "by ours, where the server's is nonsense");
    }
}
